"""A real server in a thread, and requests over plain sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from synchronizer.wire import ServerWire

Start = Callable[..., Callable[[bytes], None]]
WSGI = Callable[[dict[str, Any], Start], Iterable[bytes]]


@contextmanager
def serving(application: Any, http: Any = "httptools") -> Iterator[int]:
    """The port of a server of an ASGI application, with the event loop and the parsers that the hub's has."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        lifespan="off",
        http=http,
        ws=ServerWire,
        loop="uvloop",
        log_level="warning",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def talk(port: int, *parts: bytes, pause: float = 0.0) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, in parts, and read until the server closes: status, headers and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        while more := connection.recv(65_536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request that ends its connection."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body
