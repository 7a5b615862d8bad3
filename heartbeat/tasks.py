"""The periodic tasks. What they call is imported when they run, so that a worker loads only what its own need."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event, Lock

from celery import shared_task
from celery.signals import worker_shutting_down
from django.db import Error

from heartbeat import beat, lookout  # noqa: F401  (it starts with each worker)

RELAY_SECONDS = 5.0
"""How long one run of the audit task delivers before it makes room for the worker's other tasks, and for its end: a
worker that is told to stop finishes its task."""

MATCHING_SECONDS = 5.0
"""How long one run of the matching lasts. The next one follows at once, or orders would wait until it is due: the
task has a thread of its worker for itself, and ends with the worker. Each worker runs one, and they divide the
markets between them."""

_ending = Event()
_matching = Lock()
"""Held by the thread of this process that matches."""


@worker_shutting_down.connect
def _end(**_: object) -> None:
    """A worker that is told to stop finishes its tasks."""
    _ending.set()


@shared_task
def heartbeat_chain() -> int:
    """Follow the chain and apply what the contract did, and read blocks again that the operator asked for. Blocks
    seen or applied, and events read again."""
    from contractor import follower, resync

    return beat.run("chain", {"follow the chain": follower.run, "read blocks again": resync.run})


@shared_task
def heartbeat_verifier() -> int:
    """Have challenges answered, mature withdrawals paid and earned fees claimed, send and watch the operator's
    transactions, and compare what the contract holds with the ledger. Items done."""
    from contractor import disputes, earnings, sender, withdrawals
    from heartbeat import watch

    return beat.run(
        "verifier",
        {
            "answer challenges": disputes.step,
            "pay withdrawals": withdrawals.confirm_due_withdrawals,
            "claim fees": earnings.claim_earned_fees,
            "send transactions": sender.step,
            "compare the pool": watch.compare_pool,
        },
    )


@shared_task
def heartbeat_accounting() -> int:
    """Make the checkpoint as soon as it is due, and have overdrawn withdrawals cancelled. Items made."""
    from contractor import checkpoints, slashing
    from heartbeat import watch

    return beat.run(
        "accounting",
        {
            "make checkpoints": checkpoints.create_due_checkpoint,
            "cancel withdrawals": slashing.slash_overdrawn,
            "compare order books": watch.compare_books,
        },
    )


@shared_task
def heartbeat_matching() -> int:
    """Match orders as they arrive, in this process's part of the markets. Orders that arrived."""
    if not _matching.acquire(blocking=False):
        return 0
    try:
        return _match()
    finally:
        _matching.release()


def _match() -> int:
    from swapper import exchange_worker
    from swapper.exchange import exchange

    arrived, lasted = 0, True
    while lasted and not _ending.is_set():
        began = time.monotonic()
        arrived += beat.run(
            "matching", {"match orders": lambda: exchange_worker.run(MATCHING_SECONDS, _ending)}, alone=False
        )
        # one that failed is tried again with the next beat
        lasted = time.monotonic() - began >= MATCHING_SECONDS
    with suppress(Error):  # a session that broke owns nothing
        exchange.leave()
    return arrived


@shared_task
def heartbeat_orders() -> int:
    """Verify the signatures of orders' later eons. Rows looked at."""
    from ledger.verification import verify_orders

    return beat.run("orders", {"verify later signatures": verify_orders})


@shared_task
def heartbeat_audit() -> int:
    """Tell subscribers what happened. Events told."""
    from synchronizer import relay

    return beat.run("audit", {"tell subscribers": lambda: relay.run(seconds=RELAY_SECONDS)})


@shared_task
def heartbeat_watch() -> int:
    """Watch the hub and tell the operator of alarms. Alarms that changed, and notices sent."""
    from heartbeat import delivery, watch

    return beat.run(watch.WATCH, {"tell the operator": delivery.run} | watch.parts())


@shared_task
def watch_database() -> int:
    """Notice that the database's files were set back. 1 if the hub is held since now."""
    from restoration import identity

    return beat.run("database", {"watch the database": lambda: int(identity.watch())})


@shared_task
def update_terms_of_service() -> int:
    """Publish the newest terms of service. Editions published."""
    from tos import services

    return beat.run("terms", {"update the terms of service": services.update_from_url})
