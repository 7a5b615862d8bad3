"""How often somebody may ask: token buckets, one for each client, in the memory of a server process.

Each process has buckets of its own and gives every client the full rate: `n` processes let a client have `n` times
as much at most. A connection stays with one process, so a share of the rate for each would refuse clients that keep
to it; and to ask Redis costs many times as much (`benchmarks/limits.py`) and makes writes depend on it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import NamedTuple

from django.conf import settings
from rest_framework.exceptions import Throttled

LARGEST = 100_000
"""Clients remembered; when there are more, those whose buckets are full are forgotten."""


class Taken(NamedTuple):
    """The outcome of a request for a token."""

    wait: float
    """Seconds until there is a token; 0: one was taken."""
    remaining: int
    """Tokens left."""
    reset: float
    """Seconds until the bucket is full."""


class Buckets:
    """A bucket of `size` tokens for each key, filled at `rate` tokens a second."""

    def __init__(self, rate: float, size: int) -> None:
        self.size = size
        self._interval = 1 / rate
        self._window = size / rate
        self._full_at: dict[Hashable, float] = {}
        self._lock = Lock()

    def take(self, key: Hashable, tokens: int = 1) -> Taken:
        """Take tokens if there are so many. With 0, see whether there is one."""
        now = time.monotonic()
        interval = self._interval
        with self._lock:
            # A bucket is one number, the moment from which it is full.
            full_in = max(self._full_at.get(key, now) - now, 0.0)
            missing = full_in + max(tokens, 1) * interval - self._window
            if missing > 1e-9:
                return Taken(missing, int((self._window - full_in) / interval + 1e-6), full_in)
            if tokens:
                full_in += tokens * interval
                self._full_at[key] = now + full_in
                if len(self._full_at) > LARGEST:
                    self._forget(now)
        return Taken(0.0, int((self._window - full_in) / interval + 1e-6), full_in)

    def is_empty(self, key: Hashable) -> bool:
        """Whether there is no token."""
        full_at = self._full_at.get(key)
        return full_at is not None and full_at - time.monotonic() + self._interval > self._window + 1e-9

    def _forget(self, now: float) -> None:
        """Forget the full buckets, or all if that does not make room: memory is not for strangers to fill."""
        left = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        self._full_at = left if len(left) < LARGEST // 2 else {}


class Pace:
    """A client's bucket, for requests that wait where others are refused."""

    __slots__ = ("_buckets", "_key")

    def __init__(self, found: Buckets, key: Hashable) -> None:
        self._buckets = found
        self._key = key

    async def turn(self) -> None:
        """Take a token, as soon as there is one."""
        while wait := self._buckets.take(self._key).wait:
            await asyncio.sleep(wait)


PACE = "hub.pace"
"""The key of a websocket's scope under which its client's `Pace` is, where reads are limited."""


def buckets(rate: int) -> Buckets | None:
    """Buckets at a configured rate, or None if it is 0: no limit."""
    return Buckets(rate, rate * settings.HUB_LIMIT_BURST_SECONDS) if rate else None


class TooManyRequests(Throttled):
    """An address writes too often; `headers` say how it may."""

    def __init__(self, size: int, taken: Taken) -> None:
        super().__init__(wait=taken.wait, detail="Too many requests of this address.")
        self.headers = dict(headers(size, taken))


def headers(size: int, taken: Taken) -> list[tuple[str, str]]:
    """X-RateLimit-Limit: requests that may come at once; -Remaining: how many of them are left; -Reset: seconds
    until all are there again. Retry-After: seconds until the next one is."""
    found = [
        ("X-RateLimit-Limit", str(size)),
        ("X-RateLimit-Remaining", str(taken.remaining)),
        ("X-RateLimit-Reset", str(math.ceil(taken.reset))),
    ]
    if taken.wait:
        found.append(("Retry-After", str(math.ceil(taken.wait))))
    return found


def lines(size: int, taken: Taken) -> bytes:
    """`headers` as they are sent, for a token that was taken."""
    form = b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n"
    return form % (size, taken.remaining, math.ceil(taken.reset))


@contextmanager
def of_address(*addresses: bytes) -> Iterator[None]:
    """What addresses do in this block counts once against the limit of each if it succeeds: they have signed it
    then, so nobody uses up the limit of another. Raises TooManyRequests."""
    found = _address_buckets()
    if found is None:
        yield
        return
    signers = set(addresses)
    for address in signers:
        seen = found.take(address, 0)
        if seen.wait:
            raise TooManyRequests(found.size, seen)
    yield
    for address in signers:
        found.take(address)


def is_exhausted(address: bytes) -> bool:
    """Whether `of_address` would refuse the address now."""
    found = _address_buckets()
    return found is not None and found.is_empty(address)


def count(address: bytes) -> None:
    """Count what an address did, as `of_address` does."""
    found = _address_buckets()
    if found is not None:
        found.take(address)


@cache
def _address_buckets() -> Buckets | None:
    return buckets(settings.HUB_LIMIT_ADDRESS)
