"""Noticing that the database is not the one it was: looked at each time a process connects.

PostgreSQL gives a new timeline to a server that was recovered to a point in time or promoted from a replica, and
new numbers to a database and tables that `pg_restore` made. All of that is compared with the row written before.
What a copy of the data folder's files keeps is compared with a witness in Redis: how far the write-ahead log was.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, DatabaseError, Error, OperationalError, connection

from operator_api.error_codes import NO_DATABASE, is_read_only

logger = logging.getLogger(__name__)

_NOW = """
    SELECT (SELECT system_identifier FROM pg_control_system())::numeric AS cluster,
        left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
        (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS database,
        'restoration_identity'::regclass::oid::bigint AS place
"""
_HOLD = """
    INSERT INTO restoration_hold (reason, noticed, restored_to, restored_eon, decision)
    SELECT {reason}, now(), s.updated, (s.head_block - s.genesis_block) / s.blocks_per_eon + 1, ''
    FROM {source} LEFT JOIN ledger_chainstatus s ON true
"""
COMPARE = f"""
    WITH present AS ({_NOW}), before AS (SELECT * FROM restoration_identity),
    moved AS (
        UPDATE restoration_identity i SET cluster = c.cluster, timeline = c.timeline, database = c.database,
            place = c.place
        FROM present c
        WHERE (i.cluster, i.timeline, i.database, i.place)
            IS DISTINCT FROM (c.cluster, c.timeline, c.database, c.place)
        RETURNING 1
    ),
    held AS ({
    _HOLD.format(
        reason='''CASE WHEN b.place <> c.place OR b.database <> c.database THEN 'the tables were restored'
            WHEN b.cluster <> c.cluster THEN 'the database moved to another PostgreSQL cluster'
            ELSE 'PostgreSQL was recovered or failed over, from timeline ' || b.timeline || ' to ' || c.timeline
            END''',
        source="moved CROSS JOIN before b CROSS JOIN present c",
    )
} RETURNING reason)
    SELECT reason FROM held
"""  # noqa: S608  (no values)
FIRST = f"""
    INSERT INTO restoration_identity (id, cluster, timeline, database, place)
    SELECT 1, cluster, timeline, database, place FROM ({_NOW}) now ON CONFLICT (id) DO NOTHING
"""  # noqa: S608  (no values)
SAME = f"""
    WITH present AS ({_NOW})
    SELECT (i.cluster, i.timeline, i.database, i.place) = (c.cluster, c.timeline, c.database, c.place)
    FROM restoration_identity i CROSS JOIN present c
"""  # noqa: S608  (no values)
TABLE = (
    "SELECT to_regclass('restoration_identity') IS NOT NULL AND to_regclass('restoration_hold') IS NOT NULL"
)
POSITION = """
    SELECT i.cluster::text || '/' || i.timeline, (pg_current_wal_flush_lsn() - '0/0')::bigint
    FROM restoration_identity i
"""


def look(connection: Any, **_signal: object) -> None:
    """Compare a fresh connection's database with what it was; a hold is made where they differ. Before the first
    migration, where PostgreSQL may not tell, and for the replica, nothing is done.

    Raises DatabaseError if the answer did not come, the server is a standby still, or it takes no writes and there
    would be one: the connection is closed then, and who asks for one looks again. One that was not looked at must
    not be written to.
    """
    if connection.vendor != "postgresql" or connection.alias != DEFAULT_DB_ALIAS:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(TABLE)
            if not cursor.fetchone()[0]:
                return
            cursor.execute(COMPARE)
            for (reason,) in cursor.fetchall():
                logger.critical("%s: the hub signs nothing until 'manage.py after_restore' decides", reason)
            cursor.execute(FIRST)
    except NO_DATABASE:
        connection.close()
        raise
    except DatabaseError as error:
        if is_read_only(error):
            _look_only(connection)
        else:
            logger.warning("cannot tell whether this database was restored: %s", error)


def _look_only(connection: Any) -> None:
    """Compare where nothing can be written. Raises DatabaseError unless all is as it was."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(SAME)
            same = cursor.fetchone()
        if same != (True,):
            raise OperationalError("the database takes no writes, and may be another one than it was")
    except Error:
        connection.close()
        raise


def watch() -> bool:
    """Compare the write-ahead log's position with the witness and move that on; whether a hold was made.

    A log that is shorter than it was belongs to files that were copied back. The witness is in Redis, which may be
    flushed: then there is none until the next call.
    """
    from redis import RedisError  # with it comes what only a part of the processes needs

    before = _position()
    if before is None:
        return False
    try:
        seen = cache.get(before[0])
    except RedisError:  # no witness just now
        return False
    # Read after the witness: another process may have moved that on in between.
    now = _position()
    if now is None or now[0] != before[0]:
        return False
    key, position = now
    short = 0 if seen is None else int(seen) - position
    if short > 0:
        reason = f"the write-ahead log ends {short} bytes before where it was"
        hold(reason)
        logger.critical("%s: the hub signs nothing until 'manage.py after_restore' decides", reason)
    # Last: while the hold can't be written the witness stays, and the next call makes it.
    with suppress(RedisError):
        cache.set(key, position, timeout=None)
    return short > 0


def _position() -> tuple[str, int] | None:
    """The witness's key, which is of one cluster and timeline, and how far the write-ahead log is now."""
    with connection.cursor() as cursor:
        cursor.execute(POSITION)
        row = cursor.fetchone()
    return None if row is None else (f"restoration:{row[0]}", int(row[1]))


def hold(reason: str) -> None:
    """Hold the hub for a reason that PostgreSQL cannot know."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD.format(reason="%s", source="(SELECT 1) one"), [reason])
