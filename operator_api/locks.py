"""Locks shared by all processes and hosts: PostgreSQL advisory locks, which end with their transaction, and with
it when its holder dies."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from django.db import connection


class Lock(IntEnum):
    """What can be locked; together with a number, the key of an advisory lock."""

    EON = 1
    """An eon's ledger: writers share it, the checkpoint that closes it holds it alone."""
    TASK = 2
    """A periodic task, which runs once at a time."""
    SENDER = 3
    """The operator account's transaction count."""
    MATCHER = 4
    """A process that matches orders, by the number of its database session; held by that session."""
    MARKET = 5
    """A market, which one process matches; held by its database session."""


_KEYS = 0x7FFFFFFF
"""Bits of a key."""


class NotInTransactionError(RuntimeError):
    """A lock was asked for outside a transaction, where it would end at once."""


def _call(function: str, lock: Lock, key: int) -> bool:
    if not connection.in_atomic_block:
        raise NotInTransactionError(f"{lock.name} is taken inside transaction.atomic() only")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [int(lock), key & _KEYS])
        row = cursor.fetchone()
    return bool(row and row[0] is not False)


def lock_exclusive(lock: Lock, key: int = 0) -> None:
    """Wait until nobody holds the lock, then hold it until the transaction ends."""
    _call("pg_advisory_xact_lock", lock, key)


def try_lock(lock: Lock, key: int = 0) -> bool:
    """Hold the lock until the transaction ends, if nobody holds it now."""
    return _call("pg_try_advisory_xact_lock", lock, key)


def try_share(lock: Lock, key: int = 0) -> bool:
    """Share the lock until the transaction ends, if nobody holds it alone now."""
    return _call("pg_try_advisory_xact_lock_shared", lock, key)


def sharing(eon: str) -> str:
    """The SQL that shares the eon of an expression until the transaction ends, like `ReadWriteLock.read`."""
    return f"pg_advisory_xact_lock_shared({int(Lock.EON)}, ({eon} & {_KEYS})::int)"


class ReadWriteLock:
    """Many readers or one writer around the ledgers of some eons."""

    def __init__(self, eons: Iterable[int]) -> None:
        self.eons = sorted(set(eons))

    def read(self) -> None:
        """Share the eons with other readers until the transaction ends."""
        for eon in self.eons:
            _call("pg_advisory_xact_lock_shared", Lock.EON, eon)

    def reading(self) -> tuple[str, list[object]]:
        """The statement of `read` and its parameters, for a round trip with others inside a transaction."""
        keys = [eon & _KEYS for eon in self.eons]
        statement = "SELECT pg_advisory_xact_lock_shared(%s, eon) FROM unnest(%s::int[]) eon"
        return statement, [int(Lock.EON), keys]

    def write(self) -> None:
        """Wait for the readers, then hold the eons alone until the transaction ends."""
        for eon in self.eons:
            lock_exclusive(Lock.EON, eon)
