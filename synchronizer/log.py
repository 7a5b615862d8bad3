"""The log of what was told on each stream: positions are given out here, and read again by those who missed some.

Only the relay writes, one at a time and in order of position, so whoever reads finds everything up to the newest
position there is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ledger.sql import Row, copy, execute, fetch
from synchronizer.streams import ALL_WALLETS, group_of_key, key_of

FORGOTTEN_AT_ONCE = 20_000
"""Rows deleted in one transaction: some 0.1 s of work."""
GRACE = 600_000_000
"""Microseconds between the end of an entry's time and its deletion."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event at its position on the stream of a group. `previous` is the position before it on that stream; what
    concerns all wallets (group ALL_WALLETS) has one in each of their streams instead."""

    position: int
    group: str
    event: str
    object_id: int
    previous: int | None


@dataclass(frozen=True, slots=True)
class Fresh:
    """An event about to be told. `registered` is, on a wallet's stream, the eon in which the wallet registered."""

    group: str
    event: str
    object_id: int
    registered: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the checkpoint of an eon was told to all wallets that had registered before the eon."""

    position: int
    eon: int

    def after(self, own: int | None, registered: int) -> int | None:
        """The later of a position on a wallet's own stream and, if the wallet was told it, this one."""
        return max(own or 0, self.position) if registered < self.eon else own


def append(events: Sequence[Fresh]) -> tuple[int, list[Entry]]:
    """Give the events their positions in the caller's transaction, in which nobody else does; the position before
    the first of them and their entries in order."""
    if not events:
        raise ValueError("there is nothing to append")
    ((before, after),) = fetch(
        "INSERT INTO ledger_streamposition AS known (id, last, forgotten, status)"
        " VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 0, 0)"
        " ON CONFLICT (id) DO UPDATE SET last = GREATEST(known.last, EXCLUDED.last - %s) + %s"
        " RETURNING (SELECT last FROM ledger_streamposition), last",
        [len(events), len(events)],
    )
    first = after - len(events) + 1
    keys = {event.group: key_of(event.group) for event in events}
    newest: dict[str, int | None] = {**latest_before(keys, first)}
    checkpoint = checkpoint_before(first)
    entries = []
    for position, event in enumerate(events, first):
        previous = newest.get(event.group)
        if event.registered is not None and checkpoint is not None:
            previous = checkpoint.after(previous, event.registered)
        if event.group == ALL_WALLETS:
            checkpoint = Checkpoint(position, event.object_id)
        newest[event.group] = position
        entries.append(Entry(position, event.group, event.event, event.object_id, previous))
    copy(
        "synchronizer_told",
        "position, stream, event, object_id, previous",
        [(e.position, keys[e.group], e.event, e.object_id, e.previous) for e in entries],
    )
    return before or 0, entries


def latest_before(groups: Collection[str], position: int) -> dict[str, int]:
    """The position of the newest entry of each group before `position`, for those that have one."""
    rows = fetch(
        "SELECT wanted.stream, newest.position FROM unnest(%s::bytea[]) AS wanted(stream), LATERAL ("
        " SELECT position FROM synchronizer_told told"
        " WHERE told.stream = wanted.stream AND told.position < %s ORDER BY position DESC LIMIT 1) newest",
        [[key_of(group) for group in groups], position],
    )
    return {group_of_key(bytes(key)): found for key, found in rows}


def checkpoint_before(position: int) -> Checkpoint | None:
    """The newest checkpoint told before `position`."""
    rows = fetch(
        "SELECT position, object_id FROM synchronizer_told WHERE stream = %s AND position < %s"
        " ORDER BY position DESC LIMIT 1",
        [key_of(ALL_WALLETS), position],
    )
    return Checkpoint(*rows[0]) if rows else None


def between(after: int, until: int, limit: int) -> list[Entry]:
    """The first `limit` entries of all streams behind `after` and up to `until`."""
    rows = fetch(
        "SELECT position, stream, event, object_id, previous FROM synchronizer_told"
        " WHERE position > %s AND position <= %s ORDER BY position LIMIT %s",
        [after, until, limit],
    )
    return [_entry(row) for row in rows]


def of_streams(after: Mapping[str, int], limit: int) -> list[Entry]:
    """The first `limit` entries of the groups behind the position given for each."""
    rows = fetch(
        "SELECT found.* FROM unnest(%s::bytea[], %s::bigint[]) AS wanted(stream, after), LATERAL ("
        " SELECT position, stream, event, object_id, previous FROM synchronizer_told told"
        " WHERE told.stream = wanted.stream"
        " AND told.position > wanted.after ORDER BY told.position LIMIT %s) found"
        " ORDER BY position LIMIT %s",
        [[key_of(group) for group in after], list(after.values()), limit, limit],
    )
    return [_entry(row) for row in rows]


def _entry(row: Row) -> Entry:
    position, key, event, object_id, previous = row
    return Entry(position, group_of_key(bytes(key)), event, object_id, previous)


def forget(seconds: float) -> int:
    """Delete the oldest entries that are older than `seconds`, a limited number of them, in the caller's
    transaction. How many went.

    They are declared forgotten before they go, so that whoever has begun to read them finds them.
    """
    limit = int((time.time() - seconds) * 1_000_000)
    execute(
        "UPDATE ledger_streamposition SET forgotten = old.position FROM (SELECT max(position) AS position"
        " FROM synchronizer_told WHERE position < %s) old WHERE old.position > forgotten",
        [limit],
    )
    return execute(
        "DELETE FROM synchronizer_told WHERE position IN ("
        " SELECT position FROM synchronizer_told WHERE position < %s ORDER BY position LIMIT %s)",
        [limit - GRACE, FORGOTTEN_AT_ONCE],
    )
