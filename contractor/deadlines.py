"""HTTP sessions in which a whole answer comes in time, or none does.

`requests` limits how long the next bytes may take: a server that sends a byte now and then is waited for for ever.
Here the time for reading runs from when the request is sent until the last byte is there, headers included.
Connecting, the TLS handshake and sending have limits of their own already (the connection timeout).
"""

from __future__ import annotations

import time
from functools import cache
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from socket import socket
from typing import Any

from requests import Session
from requests.adapters import HTTPAdapter

REDIRECTS = 2
"""Most redirections of a request, each of which has the whole time again."""


def session() -> Session:
    """A session that gives up an answer which takes longer than the timeout for reading as a whole."""
    made = Session()
    made.max_redirects = REDIRECTS
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Adapter())
    return made


class _Reader(RawIOBase):
    """Reads from a socket until a deadline; TimeoutError then."""

    def __init__(self, raw: RawIOBase, sock: socket, seconds: float) -> None:
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        rest = self._deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(rest)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """What a connection reads an answer with, made when the request is sent; then the socket has the timeout for
    reading."""

    def __init__(self, sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        seconds = sock.gettimeout()
        if seconds is not None:
            raw: Any = self.fp.detach()
            self.fp = BufferedReader(_Reader(raw, sock, seconds))


@cache
def _timed(connection: type) -> type:
    return type(connection.__name__, (connection,), {"response_class": _Response})


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **options)
        if getattr(pool.ConnectionCls, "response_class", None) is not _Response:
            pool.ConnectionCls = _timed(pool.ConnectionCls)
        return pool
