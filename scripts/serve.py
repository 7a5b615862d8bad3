"""One server process: HTTP and websockets, ended without losing a request (`runserver.sh`).

    python -m scripts.serve --host 127.0.0.1 --port 8123
    python -m scripts.serve --fd 3 --other-fd 4 --ready-file run/server.ready

With `--fd` it serves sockets that somebody else opened and keeps open: a connection that comes while this process
ends waits in the socket's queue for the next one. With `--other-fd` it also takes what waits for more than a moment
in the sockets of other processes, which are busy or gone. After SIGTERM it takes no new connections, tells clients
with each answer to connect anew, and closes the connections that are still idle after HUB_DRAIN_SECONDS. Websockets
are closed at once with code 1012 (service restart).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import uvicorn

from operator_api import collector
from synchronizer.wire import ServerWire

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep an idle connection, so that it is they who close it."""
FRAME_BYTES = 65_536
"""A longer frame of a client ends its connection; requests have half as many characters at most."""
ANSWER_SECONDS = 25
"""Longest wait for requests that are under way at the end."""
OPEN_FILES = 65_536
POLL = 0.05
FIRST_REQUEST = "/health/live"
"""Asked for before the first connection is taken: it loads what the first request would wait for."""


class Draining:
    """The application; while `active`, its answers ask clients to connect anew."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.active = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if self.active and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self.application(scope, receive, answer if scope["type"] == "http" else send)


class DrainingServer(uvicorn.Server):
    """A server that ends in two steps: first it is left by its clients, then it closes what is idle."""

    def __init__(
        self,
        config: uvicorn.Config,
        application: Draining,
        drain_seconds: float,
        ready_file: Path | None,
        others: Sequence[socket.socket] = (),
    ) -> None:
        super().__init__(config)
        self.application = application
        self.drain_seconds = drain_seconds
        self.ready_file = ready_file
        self.others = others
        self._helping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        status = await first_request(self.application, host_name())
        if status == 500:
            sys.exit("the application fails at its first request; see the lines above")
        collector.spare()
        await super().startup(sockets)
        self._helping = asyncio.create_task(self._help())
        if self.ready_file is not None:
            self.ready_file.write_text(str(os.getpid()), encoding="ascii")

    async def _help(self) -> None:
        """Take the connections that wait for other processes, now and then: who is well takes his at once."""
        loop = asyncio.get_running_loop()
        for opened in self.others:
            opened.setblocking(False)
        while self.others:
            await asyncio.sleep(POLL)
            for opened in self.others:
                for connection in waiting(opened):
                    try:
                        await loop.connect_accepted_socket(self._protocol, connection)
                    except Exception:  # one that fails is no reason to leave the others waiting
                        connection.close()
                        logger.exception("a connection was lost as it was taken")

    def _protocol(self) -> asyncio.Protocol:
        """That of a connection taken for another process, made as uvicorn makes its own."""
        made: asyncio.Protocol = cast(Any, self.config.http_protocol_class)(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.others = ()
        if self._helping is not None:
            await self._helping  # what it took is served, too
        for server in self.servers:
            server.close()
        self.application.active = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, ServerWire):
                connection.shutdown()
        deadline = asyncio.get_running_loop().time() + self.drain_seconds
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL)
        await super().shutdown(sockets)


def host_name() -> str:
    """A name that the hub answers to: the first of ALLOWED_HOSTS."""
    return os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".") or "localhost"


async def first_request(application: Application, host: str) -> int:
    """The status of a first request, made inside this process; 500 if the application raised."""
    status = 500
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": FIRST_REQUEST,
        "raw_path": FIRST_REQUEST.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await application(scope, receive, send)
    return status


def raise_open_files() -> None:
    """Let this process have as many connections as the system allows, at most OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def load() -> tuple[Application, type[asyncio.Protocol]]:
    """The hub's ASGI application and the protocol of its HTTP connections. Raises ImproperlyConfigured."""
    from operator_api.asgi import HubProtocol, application

    return cast(Application, application), HubProtocol


def waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait, until there are none or this process has as many as it may."""
    with suppress(OSError):
        while True:
            yield listening.accept()[0]


def passed_on(numbers: Sequence[int] | None) -> list[socket.socket]:
    """Sockets by their numbers as open files."""
    return [socket.socket(fileno=number) for number in numbers or ()]


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--fd", type=int, action="append", help="a listening socket that was passed on")
    parser.add_argument("--other-fd", type=int, action="append", help="one that another process listens on")
    parser.add_argument("--ready-file", type=Path, help="gets this process's number once it serves")
    options = parser.parse_args()
    raise_open_files()
    drain_seconds = float(os.environ.get("HUB_DRAIN_SECONDS", "") or 0)
    loaded, protocol = load()
    application = Draining(loaded)
    config = uvicorn.Config(
        application,
        host=options.host,
        port=options.port,
        interface="asgi3",
        loop="uvloop",
        http=protocol,
        ws=ServerWire,
        ws_max_size=FRAME_BYTES,
        ws_per_message_deflate=False,  # a frame is made once for all, and memory is three times as long
        lifespan="off",
        access_log=False,
        log_config=None,  # the settings say what a log line looks like
        proxy_headers=False,  # the application does that, for HUB_TRUSTED_PROXIES
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=ANSWER_SECONDS if drain_seconds else 5,
    )
    others = passed_on(options.other_fd)
    server = DrainingServer(config, application, drain_seconds, options.ready_file, others)
    server.run(passed_on(options.fd) or None)
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
