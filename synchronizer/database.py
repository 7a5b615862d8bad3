"""Database work of the event loop, in a few threads of its own, each of which keeps one connection."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async

THREADS = 4
"""Connections to PostgreSQL that a server process uses for websockets at most, and one for long reads."""

P = ParamSpec("P")
R = TypeVar("R")

pool = ThreadPoolExecutor(THREADS, thread_name_prefix="websocket-database")
apart = ThreadPoolExecutor(1, thread_name_prefix="websocket-database-apart")


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function` in one of the threads. Connections that are broken or too old are closed around it."""
    call: Any = database_sync_to_async(cast(Any, function), thread_sensitive=False, executor=pool)
    return cast(R, await call(*args, **kwargs))


async def in_database_apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The same for what takes long, one at a time in one more thread, so that nothing else waits for it."""
    call: Any = database_sync_to_async(cast(Any, function), thread_sensitive=False, executor=apart)
    return cast(R, await call(*args, **kwargs))
