"""Waiting for writers to call: PostgreSQL's LISTEN and NOTIFY on this thread's connection."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Final

from django.db import Error, connection

PROMPT: Final = 0.2
"""Seconds in which :func:`wait` notices that it is to stop."""


@contextmanager
def listening(channel: str) -> Iterator[None]:
    """Let PostgreSQL send this connection the calls on `channel`. Not to be used inside a transaction, where they
    would not arrive. Raises django.db.Error."""
    _execute(f"LISTEN {channel}")
    try:
        yield
    finally:
        with suppress(Error):  # a connection that broke listens to nothing
            _execute(f"UNLISTEN {channel}")
            connection.connection.notifies.clear()


def wait(until: float, stop: Event | None = None) -> None:
    """Sleep until somebody calls, the time has come (monotonic clock) or `stop` is set."""
    session = connection.connection
    while not session.notifies and (left := until - time.monotonic()) > 0:
        if stop is not None and stop.is_set():
            break
        if select.select([session], [], [], left if stop is None else min(left, PROMPT))[0]:
            with connection.wrap_database_errors:
                session.poll()
    session.notifies.clear()


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
