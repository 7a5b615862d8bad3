"""Keeps the matching going: it sleeps until a new order calls."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Final

from django.db import Error, connection

from ledger.store import ORDERS_CHANNEL
from swapper.exchange import Exchange, exchange

POLL: Final = 1.0
"""Seconds after which it looks around uncalled: orders also arrive with an eon, and when funds are back."""
PROMPT: Final = 0.2
"""Seconds in which it notices that it is to stop."""


def run(seconds: float, stop: Event, exchange: Exchange = exchange) -> int:
    """Match what arrives until `seconds` are over or `stop` is set. Returns how many orders arrived.

    Not to be called inside a transaction, where the notifications of PostgreSQL would not come. Raises
    django.db.Error.
    """
    if connection.in_atomic_block:
        raise RuntimeError("the matching runs outside of transactions")
    deadline = time.monotonic() + seconds
    arrived = 0
    with _listening():
        while True:
            arrived += exchange.step()
            if stop.is_set() or time.monotonic() >= deadline:
                return arrived
            _wait(min(deadline, time.monotonic() + POLL), stop)


@contextmanager
def _listening() -> Iterator[None]:
    """Let PostgreSQL send this connection the calls of new orders."""
    _execute(f"LISTEN {ORDERS_CHANNEL}")
    try:
        yield
    finally:
        with suppress(Error):  # a connection that broke listens to nothing
            _execute(f"UNLISTEN {ORDERS_CHANNEL}")
            connection.connection.notifies.clear()


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _wait(until: float, stop: Event) -> None:
    """Sleep until an order calls, the time has come (monotonic clock) or it is to stop."""
    session = connection.connection
    while not session.notifies and not stop.is_set() and (left := until - time.monotonic()) > 0:
        if select.select([session], [], [], min(left, PROMPT))[0]:
            with connection.wrap_database_errors:
                session.poll()
    session.notifies.clear()
