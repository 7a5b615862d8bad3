"""Reading from a replica of the database (`HUB_REPLICA_DATABASE_URL`) what is history: no decision depends on it.

A replica follows the database a moment behind, commit by commit and in their order. So an eon is there whole, with
everything that was ever accepted in it, as soon as the replica has the checkpoint after it, and a wallet reads what
it wrote; figures that may be a minute old may be read, too. All else is read from the database itself. So is
everything while there is no replica, while it does not answer, or is behind by more than HUB_REPLICA_LAG_SECONDS.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, Final, TypeVar

import psycopg2
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

T = TypeVar("T")

REPLICA: Final = "replica"
CHECK: Final = 1.0
"""Seconds for which a process remembers how far the replica is."""
RETRY: Final = 5.0
"""Seconds for which a replica that failed, or is far behind, is left alone."""
PATIENCE: Final = 2.0
"""Seconds after which a read is reason to find out whether the replica still takes connections."""

CLUSTER = "SELECT system_identifier FROM pg_control_system()"
FAR = (
    "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),"
    " extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8,"
    " (SELECT max(eon_number) - 1 FROM ledger_rootcommitment)"
)
"""Of the replica: whether it is one, of which cluster, how many seconds it is behind, and the last eon that is
closed. The hub writes every second, so an old last commit means a replica that is behind, not a hub at rest."""

_alias: ContextVar[str] = ContextVar("reads_from", default=DEFAULT_DB_ALIAS)


class SameAnywhereError(Exception):
    """Says of what was read from the replica what the database would say, too, and is not asked for it again."""


class Router:
    """Django's database router: reads inside of :func:`read` go to the replica, everything else to the database."""

    def db_for_read(self, _model: object, **_hints: Any) -> str:
        return _alias.get()

    def db_for_write(self, _model: object, **_hints: Any) -> str:
        return DEFAULT_DB_ALIAS

    def allow_relation(self, _one: object, _other: object, **_hints: Any) -> bool:
        return True

    def allow_migrate(self, database: str, _app: str, **_hints: Any) -> bool:
        return database == DEFAULT_DB_ALIAS


def alias() -> str:
    """Where this thread reads from now, as Django's `connections` calls it."""
    return _alias.get()


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the replica until a moment of the monotonic clock; `closed` is its last closed eon, and
    `reason` why it is not used."""

    until: float
    closed: int = 0
    reason: str = "not asked yet"


_known = _Known(0.0)
_cluster: int | None = None
_asking = Lock()


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """Something that a thread asks the replica, since a moment of the monotonic clock, with its connection."""

    since: float
    wrapper: BaseDatabaseWrapper


_questions: set[_Question] = set()
_questioning = Lock()
_watcher: Thread | None = None


def read(work: Callable[[], T], eon: int | None = None) -> T:
    """What `work` returns, which must read only: from the replica if it is close behind, and has closed the ledger
    of `eon` if one is given; else from the database. Inside of a transaction it is always the database.

    What goes wrong with the replica, or is not found there, is asked of the database again: `work` may run twice.
    Raises a SameAnywhereError of `work` at once.
    """
    if not _usable(eon):
        return work()
    token = _alias.set(REPLICA)
    try:
        with _watched():
            return work()
    except SameAnywhereError:
        raise
    except (DatabaseError, InterfaceError) as error:
        _pause(f"{type(error).__name__}: {error}")
    except Exception as error:
        logger.debug("asking the database for what the replica does not have: %s", error)
    finally:
        _alias.reset(token)
    return work()


def _usable(eon: int | None) -> bool:
    if REPLICA not in connections.databases or connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return False
    if time.monotonic() >= _known.until and _asking.acquire(blocking=False):
        try:
            _ask()
        finally:
            _asking.release()
    return not _known.reason and (eon is None or eon <= _known.closed)


def trouble() -> str:
    """Why this process does not read from its replica now; an empty text if it does, or has none."""
    if REPLICA not in connections.databases:
        return ""
    with _asking:
        if time.monotonic() >= _known.until:
            _ask()
        return _known.reason


def _ask() -> None:
    """Find out how far the replica is. One thread asks, since a replica that is away lets it wait."""
    global _known, _cluster  # noqa: PLW0603
    try:
        if _cluster is None:
            _cluster = _row(DEFAULT_DB_ALIAS, CLUSTER)[0]
        with _watched():
            follows, cluster, behind, closed = _row(REPLICA, FAR)
    except (DatabaseError, InterfaceError) as error:
        _pause(f"{type(error).__name__}: {error}")
        return
    if not follows or cluster != _cluster:
        _pause("it is a database of its own, not a replica of the hub's")
    elif behind is None or behind > settings.HUB_REPLICA_LAG_SECONDS:
        _pause(f"it is {behind or 0:.0f} s behind")
    else:
        if _known.reason:
            logger.info("history is read from the replica")
        _known = _Known(time.monotonic() + CHECK, closed or 0, "")


def _row(database: str, statement: str) -> Any:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def _pause(reason: str) -> None:
    """Leave the replica alone for a while, with a new connection afterwards."""
    global _known  # noqa: PLW0603
    if not _known.reason or _known.until == 0.0:
        logger.warning("the replica is not used: %s", " ".join(reason.split()))
    _known = _Known(time.monotonic() + RETRY, reason=reason)
    connections[REPLICA].close()


@contextmanager
def _watched() -> Iterator[None]:
    """Around what this thread asks the replica. If that hangs, with its machine or disk, no time-out of PostgreSQL
    ends the wait."""
    global _watcher  # noqa: PLW0603
    question = _Question(time.monotonic(), connections[REPLICA])
    with _questioning:
        _questions.add(question)
        if _watcher is None:
            _watcher = Thread(target=_watch, daemon=True, name="replica")
            _watcher.start()
    try:
        yield
    finally:
        with _questioning:
            _questions.remove(question)


def _watch() -> None:
    """Break off all questions when one is old and the replica takes no connections."""
    while True:
        time.sleep(CHECK)
        with _questioning:
            oldest = min((question.since for question in _questions), default=time.monotonic())
        if time.monotonic() - oldest > PATIENCE and not _takes_connections():
            _pause("it takes no connections")
            with _questioning:
                for question in _questions:
                    _break_off(question.wrapper.connection)


def _takes_connections() -> bool:
    wrapper = connections[REPLICA]
    try:
        wrapper.get_new_connection(wrapper.get_connection_params()).close()
    except psycopg2.Error:
        return False
    return True


def _break_off(connection: Any) -> None:
    """Let the thread that waits for the connection find it closed; one that is still being made has a time-out."""
    with suppress(psycopg2.InterfaceError, OSError):  # it was closed meanwhile
        if connection is not None:
            with socket.socket(fileno=os.dup(connection.fileno())) as opened:
                opened.shutdown(socket.SHUT_RDWR)


def forget() -> None:
    """Ask the replica anew, for tests."""
    global _known, _cluster
    _known, _cluster = _Known(0.0), None
