"""What the matching reads: the orders of a market that rest, those that wait to be matched, and whose they are.

A market is two tokens, by row id, the smaller first: orders that give the first one are of direction 0, those that
give the second of direction 1.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from contractor.alarms import raise_alarm
from ledger.accounts_sql import AVAILABLE
from ledger.engine import Fill as FillCommand
from ledger.engine import Owner
from ledger.kept_plans import Kept, run
from ledger.orders_sql import ITS_ACCOUNT, ITS_WALLETS
from ledger.sql import Row, array, fetch
from nocust.errors import NocustError
from nocust.matching import Book, Fill, Order

logger = logging.getLogger(__name__)

OPEN = "NOT (t.processed OR t.complete OR t.cancelled OR t.voided)"
FUNDED = f"COALESCE({AVAILABLE} >= t.amount - t.prior_out - t.matched_out, false)"
"""Whether the wallet has what is left of the order: always but while a withdrawal of its owner's overdraws it."""

AMOUNTS = (
    "t.id, t.amount::text, t.amount_swapped::text, t.sell_order, (t.prior_out + t.matched_out)::text,"
    " (t.prior_in + t.matched_in)::text, w.token_id"
)
"""Texts, because to make decimal numbers of them first took half as long as to make orders of them."""
TABLES = f"ledger_transfer t {ITS_WALLETS}"
ARRIVING = (
    "t.swap AND NOT t.processed AND t.appended AND t.arrival IS NULL AND t.eon_number = %s"
    f" AND (t.cancelled OR {FUNDED})"
)
MARKET = "(w.token_id, r.token_id) IN ((%s, %s), (%s, %s))"


class Market(NamedTuple):
    """Two tokens by row id, in ascending order."""

    low: int
    high: int

    def direction(self, gives: int) -> int:
        """The direction of orders that give this token."""
        return int(gives == self.high)

    @property
    def parameters(self) -> tuple[int, int, int, int]:
        """Those of `MARKET`."""
        return self.low, self.high, self.high, self.low


Fence = tuple[tuple[int, int], ...]
"""The market's pairs with their passes: who knows other numbers has an outdated book."""


@dataclass(slots=True)
class MarketBook:
    """The orders of a market that rest in an eon, keyed by their rows of that eon, as of `fence`."""

    eon: int
    fence: Fence
    book: Book


@dataclass(frozen=True, slots=True)
class Arrival:
    """An order that the matching has not seen yet; not `open` if it ended before."""

    direction: int
    order: Order
    wallets: tuple[int, int]
    open: bool


@dataclass(frozen=True, slots=True)
class Party:
    """An order with its owner's wallets. It can be matched if it is `open`, and `funded`."""

    row: int
    tx_id: UUID
    debit: Owner
    credit: Owner
    open: bool
    funded: bool

    @property
    def wallets(self) -> tuple[int, int]:
        return self.debit.wallet, self.credit.wallet


def waiting_markets(eon: int) -> list[Market]:
    """The markets where orders arrive."""
    rows = fetch(
        "SELECT DISTINCT least(w.token_id, r.token_id), greatest(w.token_id, r.token_id)"  # noqa: S608
        f" FROM {TABLES} {ITS_ACCOUNT} WHERE {ARRIVING} ORDER BY 1, 2",
        [eon],
    )
    return [Market(*row) for row in rows]


@contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """No look for garbage meanwhile: it would go over the many objects that are made, which all stay, again and
    again, half of the time in which they are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_nothing_to_collect()
def read_book(market: Market, eon: int, excluded: Collection[int] = ()) -> Book:
    """All orders of the market that rest, but the `excluded` ones."""
    rows = fetch(
        f"SELECT t.arrival, {AMOUNTS} FROM {TABLES} WHERE t.eon_number = %s AND t.swap AND t.appended AND {OPEN}"  # noqa: S608
        f" AND t.arrival IS NOT NULL AND {MARKET}",
        [eon, *market.parameters],
    )
    sides: tuple[list[Order], list[Order]] = ([], [])
    for arrival, *row in rows:
        order = _order(arrival, row)
        if order is not None and order.key not in excluded:
            sides[market.direction(row[-1])].append(order)
    book = Book()
    for direction, orders in enumerate(sides):
        book.load(direction, orders)
    return book


def read_arrivals(market: Market, eon: int, count: int, excluded: Collection[int] = ()) -> list[Arrival]:
    """At most `count` orders of the market that the matching has not seen yet, oldest first, but none `excluded`
    and none without its funds. Rows become visible in the order of their commits, not of their ids: what was not
    there the last time comes now. Their `arrival` is to be set."""
    rows = fetch(
        f"SELECT {AMOUNTS}, t.wallet_id, t.recipient_id, {OPEN} FROM {TABLES} {ITS_ACCOUNT} WHERE {ARRIVING}"  # noqa: S608
        f" AND {MARKET} AND t.id <> ALL(%s) ORDER BY t.id LIMIT %s",
        [eon, *market.parameters, list(excluded), count],
    )
    found = []
    for *row, debit, credit, is_open in rows:
        order = _order(0, row)
        if order is not None:
            found.append(Arrival(market.direction(row[-1]), order, (debit, credit), is_open))
    return found


def _order(arrival: int, row: Iterable[object]) -> Order | None:
    """The order in a row of AMOUNTS; None, with an alarm, for one that cannot be: it must not stop the others."""
    key, amount, swapped, sell, out, got, _ = row
    try:
        order = Order(
            int(str(key)),
            arrival,
            int(str(amount)),
            int(str(swapped)),
            bool(sell),
            int(str(out)),
            int(str(got)),
        )
    except NocustError as error:
        raise_alarm("matching", f"order {key} is impossible: {error}")
        return None
    return order


_PARTIES = Kept(
    "read_parties",
    ["bigint[]"],
    "SELECT t.id, t.tx_id, t.wallet_id, t.recipient_id, w.address, w.trail_identifier, r.trail_identifier,"  # noqa: S608
    f" wt.address, rt.address, {OPEN}, {FUNDED} FROM {TABLES} JOIN ledger_token wt ON wt.id = w.token_id"
    f" JOIN ledger_token rt ON rt.id = r.token_id {ITS_ACCOUNT} WHERE t.id = ANY($1)",
)


def read_parties(rows: Collection[int]) -> dict[int, Party]:
    """The orders with these rows as they are now."""
    return {row[0]: _party(row) for row in run(_PARTIES(array(rows)))}


def _party(row: Row) -> Party:
    key, tx_id, debit, credit, owner, debit_trail, credit_trail, gives, wants, is_open, funded = row
    address = bytes(owner)
    return Party(
        key,
        tx_id,
        Owner(debit, bytes(gives), address, debit_trail),
        Owner(credit, bytes(wants), address, credit_trail),
        is_open,
        funded,
    )


def command(fill: Fill, parties: dict[int, Party]) -> FillCommand:
    """What the ledger is asked to do for a fill."""
    taker, maker = parties[fill.taker], parties[fill.maker]
    owners = (taker.debit, taker.credit, maker.debit, maker.credit)
    return FillCommand(taker.tx_id, maker.tx_id, fill.taker_gives, fill.maker_gives, owners)
