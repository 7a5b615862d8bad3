"""What limits cost a request, in microseconds.

One bucket; the whole outermost layer around an application that does nothing; and, for comparison, a question to
Redis (REDIS_URL), which is the least that buckets shared by processes would cost.

    python -m benchmarks.limits [--requests 200000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import conditions, report, start_django

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/transfer/",
    "client": ("192.0.2.1", 5000),
    "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"700")],
}
ROUNDS = 5


def best(function: Callable[[], float]) -> float:
    """The least of several measurements: the one that other work disturbed least."""
    return round(min(function() for _ in range(ROUNDS)), 2)


def bucket(count: int) -> float:
    """Microseconds for a token, of a thousand clients in turn."""
    from operator_api.limits import Buckets

    buckets = Buckets(10**6, 10**9)
    begun = time.perf_counter()
    for number in range(count):
        buckets.take(number % 1000)
    return (time.perf_counter() - begun) / count * 1e6


def address(count: int) -> float:
    """Microseconds for what an accepted write of an Ethereum address adds."""
    from operator_api import limits

    owner = bytes(20)
    begun = time.perf_counter()
    for _ in range(count):
        with limits.of_address(owner):
            pass
    return (time.perf_counter() - begun) / count * 1e6


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _nothing(*_: Any) -> None:
    return None


def layer(count: int, wrapped: bool) -> float:
    """Microseconds of an empty request, with or without the limits around it."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    from operator_api.middleware_limits import RateLimits

    application: Any = _answer
    if wrapped:
        limits: Any = RateLimits(_answer)
        application = ProxyHeadersMiddleware(limits, ["127.0.0.1"])

    async def run() -> float:
        begun = time.perf_counter()
        for _ in range(count):
            await application(SCOPE, _nothing, _nothing)
        return (time.perf_counter() - begun) / count * 1e6

    return asyncio.run(run())


def redis_question(count: int) -> float | None:
    """Microseconds for a counter in Redis, or None without one."""
    import redis
    from django.conf import settings

    client = redis.Redis.from_url(f"{settings.REDIS_URL}/4", socket_connect_timeout=1)
    try:
        client.ping()
    except redis.RedisError:
        return None
    begun = time.perf_counter()
    for _ in range(count):
        client.incr("benchmark-limits")
    took = (time.perf_counter() - begun) / count * 1e6
    client.delete("benchmark-limits")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    count = parser.parse_args().requests
    start = conditions()
    # Limits that nobody meets, so that every request is one that is let through.
    for name in ("HUB_LIMIT_WRITES", "HUB_LIMIT_READS", "HUB_LIMIT_ADDRESS"):
        os.environ[name] = str(10**8)
    start_django()
    alone, wrapped = best(lambda: layer(count, False)), best(lambda: layer(count, True))
    shared = redis_question(count // 50)
    results = {
        "bucket_us": best(lambda: bucket(count)),
        "address_us": best(lambda: address(count)),
        "layer_us": round(wrapped - alone, 2),
        "redis_us": shared if shared is None else best(lambda: redis_question(count // 50) or 0.0),
    }
    report("limits", start, results)


if __name__ == "__main__":
    main()
