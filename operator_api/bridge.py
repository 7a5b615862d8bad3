"""Django's WSGI application under an ASGI server: a request a thread.

The event loop reads a request, a thread of a fixed set makes its answer, and the loop sends it: two hand-overs a
request. The threads never wait for a client, so slow ones hold none, and each keeps its database connection: under
Django's own ASGI handler psycopg2 opens one a request and a burst exhausts PostgreSQL.

Requests and answers are whole in memory. Bodies are limited, and no answer of the hub is endless.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

BODY_SECONDS = 30.0
"""For a request's body to arrive."""
LINGER_SECONDS = 5.0
LINGER_BYTES = 16 * 2**20
"""How long, and how much of, a refused body is read and thrown away: a client that is still sending when the
connection is closed loses the answer that says why."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    content: bytes


class BodyTooLargeError(Exception):
    """A request with more bytes than are read."""


class ClientGoneError(Exception):
    """The client closed its connection before its request was whole."""


def json_answer(status: int, document: dict[str, Any], *headers: tuple[bytes, bytes]) -> Answer:
    """An answer that was not made by Django."""
    content = orjson.dumps(document)
    length = str(len(content)).encode()
    return Answer(
        status,
        [(b"content-type", b"application/json"), (b"content-length", length), *headers],
        content,
    )


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer and end the exchange."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.content})


class Bridge:
    """An ASGI application of the type "http" around a WSGI application that runs in `workers` threads.

    A body beyond `largest_body` bytes is answered with 413 and not read.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], workers: int, largest_body: int) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="http")
        self._largest_body = largest_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._body(scope, receive)
        except ClientGoneError:
            return
        except BodyTooLargeError:
            explanation = f"A request has at most {self._largest_body} bytes."
            await _refuse(receive, send, json_answer(413, {"detail": explanation}, CLOSE))
            return
        except TimeoutError:
            explanation = f"The request's body did not arrive within {BODY_SECONDS:.0f} s."
            await send_answer(send, json_answer(408, {"detail": explanation}, CLOSE))
            return
        # A thread sees what was set for this request in the loop, such as a request's id.
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        await send_answer(send, await loop.run_in_executor(self._pool, run, self._serve, scope, body))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises BodyTooLargeError, ClientGoneError and TimeoutError."""
        for name, value in scope["headers"]:
            # The server has checked that it is a number. Nothing is read yet, so that a client that asked whether
            # to go on (`Expect: 100-continue`) sends no body.
            if name == b"content-length" and int(value) > self._largest_body:
                raise BodyTooLargeError
        parts = bytearray()
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                parts += message.get("body", b"")
                if len(parts) > self._largest_body:
                    raise BodyTooLargeError
                if not message.get("more_body"):
                    return bytes(parts)

    def _serve(self, scope: Scope, body: bytes) -> Answer:
        """Make the answer, in a thread. What the application raises is logged and answered with 500."""
        try:
            return self._run(build_environ(scope, body))
        except Exception:
            logger.exception("a request failed outside of Django")
            return json_answer(500, {"detail": "Internal error."})

    def _run(self, environ: dict[str, Any]) -> Answer:
        started: tuple[int, Headers] | None = None
        written: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            nonlocal started
            # Nothing was sent yet, so a second call, after an error, replaces what the first said.
            lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            started = int(status[:3]), lines
            return written.append

        chunks = self._application(environ, start_response)
        try:
            written.extend(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        if started is None:
            raise RuntimeError("the application gave no status")
        return Answer(*started, b"" if environ["REQUEST_METHOD"] == "HEAD" else b"".join(written))


CLOSE = (b"connection", b"close")


async def _refuse(receive: Receive, send: Send, answer: Answer) -> None:
    """Answer a request whose body is still arriving, and let the client read the answer before the connection is
    closed."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.content, "more_body": True})
    thrown_away = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while thrown_away < LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    break
                thrown_away += len(message.get("body", b""))
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b""})


ENVIRON = {
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
"""What is the same in every request's environ."""


def build_environ(scope: Scope, body: bytes) -> dict[str, Any]:
    """The WSGI environ (PEP 3333) of a request: text there is bytes read as Latin-1."""
    raw_path = scope.get("raw_path")
    path = scope["path"].encode() if raw_path is None else unquote_to_bytes(raw_path)
    root = scope.get("root_path", "").encode()
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client")
    environ: dict[str, Any] = {
        **ENVIRON,
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root.decode("latin-1"),
        "PATH_INFO": path.removeprefix(root).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": client[0] if client else "",
        "REMOTE_PORT": str(client[1]) if client else "",
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
    }
    for raw_name, raw_value in scope["headers"]:
        name = variable(raw_name)
        if name is None:
            continue
        value = raw_value.decode("latin-1")
        if name in environ:
            value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
        environ[name] = value
    # A body sent in chunks came without its length, and Django reads as many bytes as this says.
    environ["CONTENT_LENGTH"] = str(len(body)) if body else environ.get("CONTENT_LENGTH", "")
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    return environ


@lru_cache(1024)
def variable(header: bytes) -> str | None:
    """The environ's name of a header. None for one with an underscore, which would pass for another header."""
    if b"_" in header:
        return None
    name = header.decode("latin-1").upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"
