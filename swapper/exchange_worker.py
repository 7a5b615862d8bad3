"""Keeps the matching going: it sleeps until a new order calls."""

from __future__ import annotations

import time
from threading import Event
from typing import Final

from django.db import connection

from ledger.listening import listening, wait
from ledger.store import ORDERS_CHANNEL
from swapper.exchange import BATCH, Exchange, exchange

APART: Final = 0.05
"""Seconds from one step to the next at least while orders arrive: those of the meantime share a transaction."""
POLL: Final = 1.0
"""Seconds after which it looks around uncalled: orders also arrive with an eon, and when funds are back."""


def run(seconds: float, stop: Event, exchange: Exchange = exchange) -> int:
    """Match what arrives until `seconds` are over or `stop` is set. Returns how many orders arrived.

    Not to be called inside a transaction, where the notifications of PostgreSQL would not come. Raises
    django.db.Error.
    """
    if connection.in_atomic_block:
        raise RuntimeError("the matching runs outside of transactions")
    deadline = time.monotonic() + seconds
    arrived = 0
    with listening(ORDERS_CHANNEL):
        while True:
            began = time.monotonic()
            count = exchange.step()
            arrived += count
            if stop.is_set() or time.monotonic() >= deadline:
                return arrived
            if count:
                stop.wait(max(0.0, min(began + APART, deadline) - time.monotonic()))
            if count < BATCH:  # else more may wait, of which nobody calls again
                wait(min(deadline, time.monotonic() + POLL), stop)
