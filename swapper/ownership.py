"""Which markets this process matches: those that run at once divide them evenly, and each market has one owner.

To own a market is to hold an advisory lock of PostgreSQL by the database session that its passes run in. PostgreSQL
gives it to one session at a time and takes it back when the session ends, so the markets of a worker that dies are
free at once. A worker that stalls, or whose host is gone, leaves a session that waits for its client; the others
end that session, so whatever the worker would still commit fails.
"""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from django.db import connection

from ledger.sql import fetch
from operator_api.locks import Lock
from swapper.books import Market

logger = logging.getLogger(__name__)

LOOK: Final = 0.25
"""Seconds between two looks at who else is there."""
STALLED: Final = 15.0
"""Seconds without a statement after which a worker's session is ended, three times as many within a pass. It makes
one a second at least, but for what it computes in a pass: to make a book of many orders anew takes seconds."""

MARKETS = (
    "SELECT least(token_from_id, token_to_id), greatest(token_from_id, token_to_id), min(id) & 2147483647"
    " FROM ledger_tokenpair GROUP BY 1, 2 ORDER BY 3"
)
"""All markets, each with the number that it is locked by."""

LOCKS = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.objsubid = 2"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.granted"
)
WORKERS = f"SELECT l.pid, l.pid = pg_backend_pid() {LOCKS} AND l.classid = %s ORDER BY a.backend_start, l.pid"
OWNERS = f"SELECT l.objid::bigint, l.pid {LOCKS} AND l.classid = %s"
END_STALLED = (
    f"SELECT l.pid, pg_terminate_backend(l.pid) {LOCKS} AND l.classid = %s AND l.pid <> pg_backend_pid()"
    " AND a.wait_event_type = 'Client' AND clock_timestamp() - a.state_change"
    " > make_interval(secs => CASE a.state WHEN 'idle' THEN 1 ELSE 3 END * %s)"
)


class _View(NamedTuple):
    """Who does what: the place of this process among `workers` in the order in which they came, and the owners of
    markets by lock number, each a session's process number; `me` is this one's."""

    me: int
    place: int
    workers: int
    owners: dict[int, int]


def share(markets: int, workers: int, place: int) -> int:
    """How many of the markets the worker at a place, from 0, gets. When one comes or goes, as few as possible
    change hands."""
    least, more = divmod(markets, workers)
    return least + (place < more)


class Ownership:
    """The markets of one process. To be used by one thread, outside of transactions but for `owns`.

    `stalled`: seconds after which others are taken for stalled.
    """

    def __init__(self, stalled: float = STALLED) -> None:
        self._stalled = stalled
        self._session: object = None
        self._held: dict[Market, int] = {}
        self._due = 0.0

    @property
    def markets(self) -> frozenset[Market]:
        """Those owned when last looked."""
        return frozenset(self._held)

    def owns(self, market: Market) -> bool:
        """Whether what this thread's database session commits is the market's owner's: a session that broke has
        lost its locks, and the one that Django opens in its place has none."""
        return market in self._held and connection.connection is self._session

    def balance(self) -> None:
        """Take free markets up to this process's share, and let go of what is beyond it; at most each :data:`LOOK`
        seconds. Raises django.db.Error."""
        if time.monotonic() < self._due and connection.connection is self._session:
            return
        self._due = time.monotonic() + LOOK
        self._join()
        for pid, ended in fetch(END_STALLED, [Lock.MATCHER, self._stalled]):
            logger.warning("the matching of session %d stalls; its session is ended: %s", pid, ended)
        view = _look()
        markets = {Market(low, high): key for low, high, key in fetch(MARKETS)}
        mine = [market for market, key in markets.items() if view.owners.get(key) == view.me]
        free = [market for market, key in markets.items() if key not in view.owners]
        wanted = share(len(markets), view.workers, view.place)
        kept = {markets[market] for market in mine[:wanted]}
        for key in {key for key, pid in view.owners.items() if pid == view.me} - kept:
            _call("pg_advisory_unlock", Lock.MARKET, key)
        held = {market: markets[market] for market in mine[:wanted]}
        for market in free:
            if len(held) < wanted and _call("pg_try_advisory_lock", Lock.MARKET, markets[market]):
                held[market] = markets[market]
        if held.keys() != self._held.keys():
            logger.info("matching %d of %d markets, one of %d workers", len(held), len(markets), view.workers)
        self._held = held

    def leave(self) -> None:
        """Own nothing, so that others take it. Raises django.db.Error."""
        if self._session is not None and connection.connection is self._session:
            for key in self._held.values():
                _call("pg_advisory_unlock", Lock.MARKET, key)
            _call("pg_advisory_unlock", Lock.MATCHER, _session_number())
        self._session, self._held, self._due = None, {}, 0.0

    def _join(self) -> None:
        """Be counted as a worker, by a lock of this session."""
        if self._session is not None and connection.connection is self._session:
            return
        self._session, self._held = None, {}
        _call("pg_try_advisory_lock", Lock.MATCHER, _session_number())
        self._session = connection.connection


def _look() -> _View:
    workers = fetch(WORKERS, [Lock.MATCHER])
    (place,) = (number for number, (_, me) in enumerate(workers) if me)
    owners = {int(key): pid for key, pid in fetch(OWNERS, [Lock.MARKET])}
    return _View(workers[place][0], place, len(workers), owners)


def _session_number() -> int:
    return int(fetch("SELECT pg_backend_pid()")[0][0])


def _call(function: str, lock: Lock, key: int) -> bool:
    return bool(fetch(f"SELECT {function}(%s, %s)", [int(lock), key])[0][0])
