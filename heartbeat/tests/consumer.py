"""Somebody who receives alarms over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Consumer:
    """Takes Slack's messages at `url` and answers with `status`; `meanwhile` is called before it answers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.status = 200
        self.meanwhile: Callable[[], None] | None = None
        consumer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                consumer.texts.append(json.loads(body)["text"])
                if consumer.meanwhile is not None:
                    consumer.meanwhile()
                self.send_response(consumer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/secret"

    def take(self) -> list[str]:
        """What came since the last time."""
        texts, self.texts = self.texts, []
        return texts


@contextmanager
def listening() -> Iterator[Consumer]:
    consumer = Consumer()
    thread = Thread(target=consumer.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.server.shutdown()
        consumer.server.server_close()
        thread.join()
