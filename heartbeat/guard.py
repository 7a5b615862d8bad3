"""Running a periodic task once at a time, on all hosts together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

from django.db import connection

from operator_api.locks import Lock


@contextmanager
def single_run(name: str) -> Iterator[bool]:
    """Whether this is the only run of the task `name`, kept so until the block ends.

    The lock belongs to the database session, not to a transaction, so that the task's own transactions stay short;
    PostgreSQL releases it when the session dies. A pooler between hub and PostgreSQL must therefore pool sessions,
    not transactions.
    """
    key = crc32(name.encode()) & 0x7FFFFFFF
    mine = _call("pg_try_advisory_lock", key)
    try:
        yield mine
    finally:
        if mine and connection.connection is not None and not connection.needs_rollback:
            _call("pg_advisory_unlock", key)


def _call(function: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [int(Lock.TASK), key])
        return bool(cursor.fetchone()[0])
