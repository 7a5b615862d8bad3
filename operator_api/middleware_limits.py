"""The outermost layer of the server: limits by IP address, before a request costs a thread."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings

from operator_api.bridge import Answer, Receive, Scope, Send, json_answer, send_answer
from operator_api.limits import PACE, Buckets, Pace, Taken, buckets, headers
from operator_api.origins import cors_headers, header

logger = logging.getLogger(__name__)

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
EXPENSIVE = ("/audit", "/analytics", "/swagger", "/redoc")
"""What paths of expensive reads begin with."""
OUTSIDE_DJANGO = frozenset({408, 413})
"""Answers of the bridge."""
REPORT_SECONDS = 60.0
TAKEN = "hub.taken"
"""The key of a scope under which a request's `Taken` is that was counted already (`direct_protocol.py`)."""


class RateLimits:
    """An ASGI application around the hub's: counts writes and expensive reads of each client, tells it in headers,
    and answers 429 without asking the hub when there are too many. Opening a websocket counts as a read, and so do
    the requests over it, which wait for their turn: clients expect answers in order, and no refusals.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self.writes = buckets(settings.HUB_LIMIT_WRITES)
        self._reads = buckets(settings.HUB_LIMIT_READS)
        self._refused = 0
        self._reported = time.monotonic() - REPORT_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._buckets(scope)
        taken = None
        if found is not None:
            client = network(scope["client"][0] if scope.get("client") else "")
            taken = scope.get(TAKEN) or found.take(client)
            if taken.wait:
                await self._refuse(scope, receive, send, found, taken)
                return
            if scope["type"] == "websocket":
                scope = {**scope, PACE: Pace(found, client)}

        async def with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                lines = message["headers"]
                if found is not None and taken is not None and message["status"] != 429:
                    lines.extend(encoded(found, taken))
                if message["status"] in OUTSIDE_DJANGO:
                    lines.extend(cors_headers(scope))
            await send(message)

        await self._application(scope, receive, with_headers)

    def _buckets(self, scope: Scope) -> Buckets | None:
        if scope["type"] != "http":
            return self._reads
        if scope["method"] in WRITES:
            return self.writes
        return self._reads if scope["path"].startswith(EXPENSIVE) else None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, found: Buckets, taken: Taken) -> None:
        self._report(scope)
        lines = [*encoded(found, taken), *cors_headers(scope)]
        answer = json_answer(429, {"detail": "Too many requests of this IP address."}, *lines)
        if scope["type"] == "websocket":
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1013})
                return
            await _deny(send, answer)
            return
        await send_answer(send, answer)

    def _report(self, scope: Scope) -> None:
        """Say now and then that clients are refused, without their addresses."""
        self._refused += 1
        if time.monotonic() - self._reported < REPORT_SECONDS:
            return
        forwarded = bool(header(scope, b"x-forwarded-for"))
        advice = "; they came through a proxy that HUB_TRUSTED_PROXIES does not name" if forwarded else ""
        logger.warning("requests refused with 429 since the last such line: %d%s", self._refused, advice)
        self._refused, self._reported = 0, time.monotonic()


async def _deny(send: Send, answer: Answer) -> None:
    start = {"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": answer.content})


def encoded(found: Buckets, taken: Taken) -> list[tuple[bytes, bytes]]:
    """The limit's headers as ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers(found.size, taken)]


@lru_cache(10_000)
def network(address: str) -> str:
    """Whom an address stands for: IPv4 for itself, IPv6 for its /64, all of which one owner has."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
