"""Attempts to log in to the admin, counted for all server processes together in Redis, so that a password is not
guessed at each of them. While Redis does not answer, each process counts for itself."""

from __future__ import annotations

import logging
from hashlib import sha256

from django.core.cache import cache

from operator_api.limits import Buckets
from operator_api.middleware_limits import network

logger = logging.getLogger(__name__)

MOST = 10
"""Attempts of an IP address, and of an IPv6 network, in so many seconds:"""
SECONDS = 300

_alone = Buckets(rate=MOST / SECONDS, size=MOST)


def too_many(address: str) -> bool:
    """Count an attempt from this IP address; whether it is one too many."""
    client = network(address)
    try:
        return _count(f"admin-login/{sha256(client.encode()).hexdigest()}") > MOST
    except Exception as error:
        logger.warning("attempts to log in are counted by each process: %s", error)
        return _alone.take(client).wait > 0


def _count(key: str) -> int:
    """The attempts in the time that began with the first of them, this one included."""
    cache.add(key, 0, SECONDS)
    try:
        return cache.incr(key)
    except ValueError:  # the time ended between the two
        return 1
