"""The matching: orders that arrive are matched with those that rest (`spec/ledger.md` §8).

A pass over a market is one transaction: it locks the market's pairs, gives the orders that arrived since the last
pass their places in line, computes the fills in the book in memory and has the ledger decide and write them. What
the book holds follows from what is committed, so a pass that fails leaves nothing behind but a book that is put
back or made anew.

Locks are taken in the order pairs, eon, wallets; nobody else locks pairs together with anything.

Several processes divide the markets between them (`swapper.ownership`). Even if two passed over one market, its
pairs' locks and count of passes would keep both right.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Final

from django.db import DataError, IntegrityError, ProgrammingError, transaction

from contractor.alarms import raise_alarm
from ledger import store
from ledger.accounts_sql import lock_wallets
from ledger.engine import Refusal
from ledger.kept_plans import kept_plans
from ledger.sql import Row, execute, fetch, next_ids, write
from nocust.errors import NocustError
from nocust.matching import Book, Fill
from operator_api.locks import ReadWriteLock
from swapper.books import (
    Arrival,
    Fence,
    Market,
    MarketBook,
    Party,
    command,
    read_arrivals,
    read_book,
    read_parties,
    waiting_markets,
)
from swapper.ownership import Ownership

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Orders that arrive in one pass."""
FILLS: Final = 2_000
"""Fills of one pass, which take about a second: their wallets, the market and the other markets of the process wait
for it. An order that could have more goes on in the next pass, before it rests."""
TRIES: Final = 5
"""Passes that may be refused one after the other because orders end while they are matched."""
LOOK_AHEAD: Final = 64
"""Resting orders that are looked at when one has turned out to have ended; four times as many each time again."""


class RefusedFillError(RuntimeError):
    """The ledger refused a fill: an order ended, or lost its funds, after the pass had read it."""


class BadFillError(RuntimeError):
    """A fill fails again and again, alone."""

    def __init__(self, fill: Fill, reason: BaseException) -> None:
        super().__init__(f"order {fill.taker} with order {fill.maker}: {type(reason).__name__}: {reason}")
        self.orders = {fill.taker, fill.maker}


LOGICAL_ERRORS = (
    RefusedFillError,
    BadFillError,
    NocustError,
    ValueError,
    LookupError,
    AssertionError,
    ArithmeticError,
    IntegrityError,
    DataError,
    ProgrammingError,
)
"""What another try would meet again, unlike a database that is away: an order is at fault."""


class Exchange:
    """The books of one process, of the markets that it owns; of all where `ownership` is None. Any number of
    processes may have one; each notices that another was at work, and reads its book again."""

    def __init__(self, ownership: Ownership | None = None) -> None:
        self.ownership = ownership
        self._lock = Lock()
        self._books: dict[Market, MarketBook] = {}
        self._aside: dict[int, tuple[Market, str]] = {}
        self._eon: int | None = None

    def step(self) -> int:
        """A pass over every market of this process where orders arrive. Returns how many arrived, at least BATCH if
        more wait that have come already; 0 while the ledger accepts nothing. Raises django.db.Error."""
        with self._lock:
            if self.ownership is not None:
                self.ownership.balance()
                self._books = {market: book for market, book in self._books.items() if self._owns(market)}
            eon = _open_eon()
            if eon is None:
                return 0
            self._tell_aside(eon)
            return sum(self._trade(market) for market in waiting_markets(eon) if self._owns(market))

    def leave(self) -> None:
        """Let other processes have this one's markets. Raises django.db.Error."""
        with self._lock:
            if self.ownership is not None:
                self.ownership.leave()
            self._books.clear()

    def _owns(self, market: Market) -> bool:
        return self.ownership is None or self.ownership.owns(market)

    def book(self, market: Market) -> MarketBook | None:
        """The book in memory, to look at."""
        return self._books.get(market)

    def forget(self) -> None:
        """Have all books read again."""
        with self._lock:
            self._books.clear()
            self._aside.clear()

    def _trade(self, market: Market) -> int:
        """A pass, tried again when orders end in its way."""
        for _ in range(TRIES):
            try:
                return self._pass(market, BATCH)
            except RefusedFillError as error:
                logger.info("%s: %s, trying again", market, error)
            except LOGICAL_ERRORS as error:
                raise_alarm("matching", f"{market}: {type(error).__name__}: {error}", key=str(market))
                break
        return self._one_by_one(market)

    def _one_by_one(self, market: Market) -> int:
        """Orders arrive alone, so that one that spoils its pass spoils no other; it is set aside, with the one that
        it would be matched with, until the next eon or until the worker starts again."""
        done, failures = 0, 0
        for _ in range(BATCH):
            try:
                arrived = self._pass(market, 1)
            except LOGICAL_ERRORS as error:
                failures += 1
                if failures == TRIES:
                    self._set_aside(market, error)
                    failures = 0
                continue
            if not arrived:
                break
            done, failures = done + arrived, 0
        return done

    def _set_aside(self, market: Market, error: BaseException) -> None:
        if isinstance(error, BadFillError):
            bad = error.orders
        else:
            eon = store.chain_status().eon
            bad = {arrival.order.key for arrival in read_arrivals(market, eon, 1, self._aside)}
        text = f"{market}: orders {sorted(bad)} are set aside: {error}"
        raise_alarm("matching", text, key=str(market))
        self._aside |= dict.fromkeys(bad, (market, text))
        self._books.pop(market, None)

    def _tell_aside(self, eon: int) -> None:
        """Orders that are set aside are an alarm for as long; in the next eon they have other rows."""
        if eon != self._eon:
            self._eon = eon
            self._aside.clear()
        for market, text in set(self._aside.values()):
            if self._owns(market):
                raise_alarm("matching", text, key=str(market))

    def _pass(self, market: Market, count: int) -> int:
        """Let up to `count` orders arrive. Returns how many did, and `count` if there were too many fills."""
        state, mark = None, 0
        try:
            with transaction.atomic():
                pairs = _lock_pairs(market)
                eon = _open_eon()
                if (
                    eon is None
                    or not pairs
                    or any(paused for _, _, paused in pairs)
                    or not self._owns(market)
                ):
                    return 0
                fence = tuple((key, passes) for key, passes, _ in pairs)
                state = self._current(market, eon, fence)
                arrivals = read_arrivals(market, state.eon, count, self._aside)
                if not arrivals:
                    return 0
                mark = state.book.mark()
                with kept_plans(alone=True):
                    cut = _Pass(state, arrivals, careful=count == 1).run()
                fence = _bump(fence)
        except (RefusedFillError, BadFillError):
            assert state is not None
            state.book.rollback(mark)
            raise
        except BaseException:
            self._books.pop(market, None)
            raise
        state.book.commit(mark)
        state.fence = fence
        return count if cut else len(arrivals)

    def _current(self, market: Market, eon: int, fence: Fence) -> MarketBook:
        """The market's book, read again if this process has not seen the eon or the last pass."""
        state = self._books.get(market)
        if state is None or (state.eon, state.fence) != (eon, fence):
            state = MarketBook(eon, fence, read_book(market, eon, self._aside))
            logger.info("%s: %d orders rest in eon %d", market, len(state.book), eon)
            self._books[market] = state
        return state


class _Pass:
    """What happens in one pass, under the locks of the pairs.

    `careful`: the fills are written one by one, so that it is known which one fails.
    """

    def __init__(self, state: MarketBook, arrivals: Sequence[Arrival], careful: bool) -> None:
        self._book: Book = state.book
        self._eon = state.eon
        self._arrivals = list(arrivals)
        self._careful = careful
        self._takers = [arrival for arrival in arrivals if arrival.open]
        self._unfunded: dict[int, Party] = {}
        self._parties: dict[int, Party] = {}
        self._waiting: set[int] = set()

    def run(self) -> bool:
        """Whether orders are left that arrive in the next pass, since there were too many fills. Raises
        RefusedFillError, and BadFillError if it is careful."""
        numbers = next_ids("ledger_arrival_seq", len(self._arrivals))
        for arrival, number in zip(self._arrivals, numbers, strict=True):
            arrival.order.arrival = number
        fills = self._match()
        self._arrivals = [known for known in self._arrivals if known.order.key not in self._waiting]
        self._lock_all()
        places = {known.order.key: known.order.arrival for known in self._arrivals}
        self._write_fills(fills, places)
        matched = {key for fill in fills for key in (fill.taker, fill.maker)}
        rows: list[Row] = [place for place in places.items() if place[0] not in matched]
        rows += [(row, None) for row in self._unfunded]
        write(
            "UPDATE ledger_transfer t SET arrival = n.arrival FROM (VALUES %s) n (id, arrival) WHERE t.id = n.id",
            rows,
            "(%s, %s::bigint)",
        )
        return bool(self._waiting)

    def _match(self) -> list[Fill]:
        """The fills of all takers with orders that have not ended. Those that have are found out when they would be
        matched: freezing an order tells nobody."""
        looked = LOOK_AHEAD
        while True:
            mark = self._book.mark()
            fills = self._take()
            self._parties = read_parties({key for fill in fills for key in (fill.taker, fill.maker)})
            if not self._ended(self._parties):
                return fills
            self._book.rollback(mark)
            ahead = [order.key for side in (0, 1) for order in islice(self._book.orders(side), looked)]
            looked *= 4
            self._drop(self._parties | read_parties(ahead))

    def _take(self) -> list[Fill]:
        """The fills of the takers, of the first ones if all have too many."""
        fills: list[Fill] = []
        for place, taker in enumerate(self._takers):
            fills += self._book.take(taker.direction, taker.order, FILLS - len(fills))
            if len(fills) == FILLS:
                left = self._takers[place + taker.order.complete :]
                self._waiting = {known.order.key for known in left}
                return fills
        self._waiting = set()
        return fills

    def _ended(self, parties: dict[int, Party]) -> list[Party]:
        return [party for party in parties.values() if not (party.open and party.funded)]

    def _drop(self, parties: dict[int, Party]) -> None:
        """Take out the orders that cannot be matched. One without its funds loses its place in line; it arrives
        again when it has them."""
        for party in self._ended(parties):
            resting = self._book.remove(party.row)
            if resting is not None and party.open:
                self._unfunded[party.row] = party
            if resting is None:
                self._takers = [taker for taker in self._takers if taker.order.key != party.row]
                if party.open:
                    self._arrivals = [known for known in self._arrivals if known.order.key != party.row]

    def _lock_all(self) -> None:
        """Everything that the pass writes to, at once and in the order of the whole system."""
        ReadWriteLock([self._eon]).read()
        wallets = {wallet for arrival in self._arrivals for wallet in arrival.wallets}
        for party in (*self._parties.values(), *self._unfunded.values()):
            wallets.update(party.wallets)
        lock_wallets(sorted(wallets))

    def _write_fills(self, fills: Sequence[Fill], places: Mapping[int, int]) -> None:
        if not self._careful:
            _run(fills, self._parties, places)
            return
        for fill in fills:
            try:
                with transaction.atomic():
                    _run([fill], self._parties, places)
            except LOGICAL_ERRORS as error:
                raise BadFillError(fill, error) from error


def _run(fills: Sequence[Fill], parties: dict[int, Party], places: Mapping[int, int]) -> None:
    for outcome in store.run([command(fill, parties) for fill in fills], places):
        if isinstance(outcome, Refusal):
            raise RefusedFillError(f"{outcome.code} {outcome.message}")


def _open_eon() -> int | None:
    """The latest eon; None while the ledger matches nothing: orders wait until the ledger of the eon before is
    closed."""
    try:
        status = store.chain_status()
    except store.HubNotReadyError:
        return None
    if store.stopped(status):
        return None
    begun = status.eon <= 1 or fetch(
        "SELECT 1 FROM ledger_rootcommitment WHERE eon_number = %s", [status.eon]
    )
    return status.eon if begun else None


def _lock_pairs(market: Market) -> list[Row]:
    """Id, passes and whether it is paused of each of the market's pairs; nobody else passes over the market now."""
    return fetch(
        "SELECT id, passes, paused FROM ledger_tokenpair WHERE (token_from_id, token_to_id) IN ((%s, %s), (%s, %s))"
        " ORDER BY id FOR NO KEY UPDATE",
        market.parameters,
    )


def _bump(fence: Fence) -> Fence:
    execute(
        "UPDATE ledger_tokenpair SET passes = passes + 1 WHERE id = ANY(%s)", [[pair for pair, _ in fence]]
    )
    return tuple((pair, passes + 1) for pair, passes in fence)


exchange = Exchange(Ownership())
"""The one of this process."""
