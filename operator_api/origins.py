"""Which web pages may use the hub, and under which names it answers: for what Django does not see."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from corsheaders.conf import conf
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from operator_api.bridge import Headers, Receive, Scope, Send

EXPOSED = ", ".join(settings.CORS_EXPOSE_HEADERS).encode()
POLICY_VIOLATION = 1008


def header(scope: Scope, name: bytes) -> str:
    """The first value of a header, or an empty text."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def may_read(origin: str) -> bool:
    """Whether pages of this origin may read answers, as CorsMiddleware decides it."""
    return bool(conf.CORS_ALLOW_ALL_ORIGINS or origin in conf.CORS_ALLOWED_ORIGINS)


def cors_headers(scope: Scope) -> Headers:
    """What an answer that Django did not make needs, so that the page that asked can read it."""
    origin = header(scope, b"origin")
    if not origin or not may_read(origin):
        return [(b"vary", b"origin")]
    return [
        (b"vary", b"origin"),
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", EXPOSED),
    ]


def is_welcome(scope: Scope) -> bool:
    """Whether a websocket is opened under a name of the hub and, if by a web page, by one that may read answers.
    What is no browser sends no Origin."""
    host = header(scope, b"host")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    origin = header(scope, b"origin")
    if not origin or may_read(origin):
        return True
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # it is no URL
        return False


class WelcomeOnly:
    """Refuses websockets of other names and origins before they are accepted: the client sees 403."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_welcome(scope):
            await self._application(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
