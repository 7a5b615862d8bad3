"""Takes events from the outbox to the server processes, which pass them to their connections.

Rows are deleted in the transaction that published them: an event is told at least once, and while Redis is away it
stays where it is.
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from channels.layers import get_channel_layer
from django.db import Error, connection, transaction

from ledger.models import Outbox
from ledger.sql import fetch
from operator_api.locks import Lock, try_lock
from synchronizer.events import Item, batch
from synchronizer.models import SetAside
from synchronizer.switchboard import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

BATCH = 200
"""Rows told in one message."""
BEAT = 1.0
"""Seconds after which a message goes out even if there is nothing to tell: so receivers know that they hear."""
PUBLISH_TIMEOUT = 5.0  # seconds
RETRY = 0.5  # seconds
LOCK_KEY = 0x0B0C  # any number that no other task has
CHANNEL = "outbox"
"""PostgreSQL's channel on which writers wake the relay (`ledger.store.notify_outbox`)."""


def run(seconds: float) -> int:
    """Tell all events in the outbox, and those that come until `seconds` are over. Gives how many were told.

    Any number of processes may run it: only one publishes at a time. Not to be called inside a transaction, where
    the notifications of PostgreSQL would not arrive. Raises django.db.Error.
    """
    if connection.in_atomic_block:
        raise RuntimeError("the relay runs outside of transactions")
    told = 0
    deadline = time.monotonic() + seconds
    with asyncio.Runner() as runner, _listening():
        relay = Relay(runner)
        while True:
            count = relay.tell()
            told += count
            now = time.monotonic()
            if now >= deadline:
                return told
            if count < BATCH:
                _wait(max(0.0, min(deadline, relay.due) - now))


class Relay:
    """Publishes messages on the event loop of `runner`. `due` is when the next one goes out at the latest, on the
    monotonic clock."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.due = 0.0
        self._runner = runner
        self._layer: Any = get_channel_layer()

    def tell(self) -> int:
        """Publish the oldest events, or a sign of life when that is due. Gives how many events left the outbox."""
        try:
            with transaction.atomic():
                return self._tell()
        except _RedisAwayError as error:
            logger.warning("events wait for Redis: %s", error)
            self.due = time.monotonic() + RETRY
            return 0

    def _tell(self) -> int:
        if not try_lock(Lock.TASK, LOCK_KEY):
            self.due = time.monotonic() + BEAT
            return 0
        # Rows become visible in the order of their commits, not of their ids: never continue from the last id.
        rows = list(Outbox.objects.order_by("id")[:BATCH])
        if not rows and time.monotonic() < self.due:
            return 0
        found = batch(rows)
        SetAside.objects.bulk_create(
            SetAside(event=row.event, object_id=row.object_id, created=row.created, reason=reason)
            for row, reason in found.failures
        )
        Outbox.objects.filter(pk__in=[row.pk for row in rows]).delete()
        self._publish(found.items)
        self.due = time.monotonic() + BEAT
        return len(rows)

    def _publish(self, items: Sequence[Item]) -> None:
        """Send a message, numbered without gaps unless one was lost."""
        ((number,),) = fetch("SELECT nextval('synchronizer_message_seq')")
        message = {"type": "events", "number": number, "time": time.time(), "items": items}
        try:
            self._runner.run(asyncio.wait_for(self._layer.group_send(GROUP, message), PUBLISH_TIMEOUT))
        except Exception as error:  # whatever the layer raises: the events are not told
            raise _RedisAwayError(f"{type(error).__name__}: {error}") from error


class _RedisAwayError(RuntimeError):
    """A message could not be published."""


@contextmanager
def _listening() -> Iterator[None]:
    """Let PostgreSQL send this connection the wake-up calls of writers."""
    _execute(f"LISTEN {CHANNEL}")
    try:
        yield
    finally:
        with suppress(Error):  # a connection that broke listens to nothing
            _execute(f"UNLISTEN {CHANNEL}")
            connection.connection.notifies.clear()


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _wait(seconds: float) -> None:
    """Sleep until a writer calls, but not longer than `seconds`."""
    session = connection.connection
    if not session.notifies:
        select.select([session], [], [], seconds)
        with connection.wrap_database_errors:
            session.poll()
    session.notifies.clear()
