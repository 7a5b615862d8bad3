"""Takes events from the outbox to the log of the streams, and to the server processes, which pass them to their
connections.

Events get their positions and their places in the log in the transaction that takes them out of the outbox. They
are published afterwards, and nothing depends on that: a server process that misses a message reads the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection, transaction

from ledger import positions
from ledger.columns import Columns
from ledger.listening import listening, wait
from ledger.models import Event, Outbox
from ledger.sql import fetch
from operator_api.locks import Lock, try_lock
from synchronizer import log, status
from synchronizer.events import Item, batch
from synchronizer.models import SetAside
from synchronizer.switchboard import GROUP

logger = logging.getLogger(__name__)

BATCH = 200
"""Rows told in one message."""
GATHER = 0.02
"""Seconds from one message to the next, unless there are more events than go into one: each message costs as much
as fifty events, of processors that transfers need, too."""
BEAT = 1.0
"""Seconds after which a message goes out even if there is nothing to tell: so receivers know that they hear."""
PUBLISH_TIMEOUT = 2.0
"""Seconds. Receivers read the log when they hear nothing, so nobody waits for Redis."""
RETRY = 0.5  # seconds
LOCK_KEY = 0x0B0C  # any number that no other task has
CHANNEL = "outbox"
"""PostgreSQL's channel on which writers wake the relay (`ledger.store.notify_outbox`)."""


def run(seconds: float) -> int:
    """Tell all events in the outbox, and those that come until `seconds` are over. Gives how many were told.

    Any number of processes may run it: only one tells at a time. Not to be called inside a transaction, where the
    notifications of PostgreSQL would not arrive. Raises django.db.Error.
    """
    if connection.in_atomic_block:
        raise RuntimeError("the relay runs outside of transactions")
    told = 0
    deadline = time.monotonic() + seconds
    with asyncio.Runner() as runner, listening(CHANNEL):
        relay = Relay(runner)
        more = relay.forget()
        while True:
            began = time.monotonic()
            count = relay.tell()
            told += count
            if time.monotonic() >= deadline:
                return told
            if count >= BATCH:
                continue
            if more:
                more = relay.forget()
            else:
                wait(min(deadline, relay.due))
                time.sleep(max(0.0, began + GATHER - time.monotonic()))


_ROW = Columns(Outbox, "o")


class Relay:
    """Logs events, and publishes them on the event loop of `runner`. `due` is when the next message goes out at the
    latest, on the monotonic clock."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.due = 0.0
        self._runner = runner
        self._layer: Any = get_channel_layer()
        self._again = 0.0

    def tell(self) -> int:
        """Log and publish the oldest events, or a sign of life when that is due. Gives how many events left the
        outbox."""
        with transaction.atomic():
            told = self._log()
        if told is None:
            return 0
        count, message = told
        self._publish(message)
        return count

    def forget(self) -> bool:
        """Delete what is older than it has to be kept, a limited part of it. Gives whether there may be more."""
        with transaction.atomic():
            if not try_lock(Lock.TASK, LOCK_KEY):
                return False
            return log.forget(settings.HUB_STREAM_RETENTION_HOURS * 3600) == log.FORGOTTEN_AT_ONCE

    def _log(self) -> tuple[int, dict[str, Any]] | None:
        """How many events left the outbox, and the message that tells of them; None if there is none to send."""
        if not try_lock(Lock.TASK, LOCK_KEY):
            self.due = time.monotonic() + BEAT
            return None
        due = time.monotonic() >= self.due
        if due:
            self._note_status()
        rows = _take()
        if not rows and not due:
            return None
        found = batch(rows)
        SetAside.objects.bulk_create(
            SetAside(event=row.event, object_id=row.object_id, created=row.created, reason=reason)
            for row, reason in found.failures
        )
        if not found.told:
            last = positions.told_until()
            return len(rows), _message(last, last, [])
        after, entries = log.append([fresh for fresh, _ in found.told])
        return len(rows), _message(after, entries[-1].position, found.items(entries))

    def _note_status(self) -> None:
        """Put a change of the hub's status in the outbox, behind what led to it."""
        flags = status.change()
        if flags is not None:
            Outbox.objects.create(event=Event.STATUS, object_id=flags)

    def _publish(self, message: dict[str, Any]) -> None:
        self.due = time.monotonic() + BEAT
        if time.monotonic() < self._again:
            return
        try:
            self._runner.run(asyncio.wait_for(self._layer.group_send(GROUP, message), PUBLISH_TIMEOUT))
        except (
            Exception
        ) as error:  # whatever the layer raises: the servers read the log when they hear nothing
            logger.warning("a message could not be published: %s: %s", type(error).__name__, error)
            self._again = time.monotonic() + RETRY


def _take() -> list[Outbox]:
    """The oldest rows, which leave the outbox with this transaction. They become visible in the order of their
    commits, not of their ids: so never go on from the last id."""
    rows = fetch(
        "DELETE FROM ledger_outbox o"  # noqa: S608  (constants)
        f" WHERE id = ANY(ARRAY(SELECT id FROM ledger_outbox ORDER BY id LIMIT {BATCH})) RETURNING {_ROW.text}"
    )
    return sorted(map(_ROW.get, rows), key=lambda row: row.pk)


def _message(after: int, last: int, items: list[Item]) -> dict[str, Any]:
    """All that was told behind the position `after` up to `last`."""
    return {"type": "events", "after": after, "last": last, "items": items}
