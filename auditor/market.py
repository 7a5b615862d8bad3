"""The order book and the trades of two tokens (`spec/http-api.md` §3.2.5, §3.2.6), read set-wise."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import groupby
from threading import Lock
from typing import Final

from auditor.render import Object, seconds
from ledger.models import Token
from ledger.orders_sql import ITS_WALLETS
from ledger.sql import fetch
from nocust.matching_orders import Level, Order

MAX_MATCHES: Final = 10_000
"""Trades of one answer, the oldest first: whoever wants more goes on from the time of the last."""

PRICE_DIGITS: Final = 4
"""Decimals of a trade's price."""

BUSY: Final = 0.1
"""The part of its time that a process spends on making the order book anew at most."""

MAX_REMEMBERED: Final = 256
"""Order books that a process remembers."""

LAST: Final = 2**63
"""The place in line of orders that have none yet."""

# Between an eon and its checkpoint the orders that wait for it count as they were left in the eon before.
BOOK = (
    "SELECT t.id, t.amount, t.amount_swapped, t.sell_order,"  # noqa: S608  (constants)
    " coalesce(b.prior_out + b.matched_out, t.prior_out + t.matched_out),"
    " coalesce(b.prior_in + b.matched_in, t.prior_in + t.matched_in), t.arrival"
    f" FROM ledger_transfer t {ITS_WALLETS}"
    " LEFT JOIN ledger_transfer b ON NOT t.appended AND b.tx_id = t.tx_id AND b.eon_number = t.eon_number - 1"
    " WHERE w.token_id = %s AND r.token_id = %s AND t.eon_number = %s AND t.swap AND NOT t.processed"
    " AND NOT (t.complete OR t.voided OR t.cancelled)"
)

MATCHES = (
    "SELECT taker_gave, maker_gave, time, id FROM ledger_matching"
    " WHERE taker_token_id = %s AND maker_token_id = %s AND time >= %s AND time <= %s ORDER BY time, id LIMIT %s"
)


@dataclass(frozen=True, slots=True)
class OrderBook:
    """What is on offer between two tokens: `sells` give the left for the right one, `buys` the right for the left
    one. Both begin with the highest price in right per left."""

    sells: list[Level]
    buys: list[Level]


def order_book(left: Token, right: Token, eon: int) -> OrderBook:
    """The open orders of an eon, of the latest one those on offer now."""
    sells, buys = _levels(left, right, eon), _levels(right, left, eon)
    return OrderBook(sells[::-1], buys)


def _levels(given: Token, wanted: Token, eon: int) -> list[Level]:
    """Prices at which orders give a token for another, the best for who takes them first."""
    orders = [
        Order(key, LAST if arrival is None else arrival, int(amount), int(swapped), sell, int(out), int(into))
        for key, amount, swapped, sell, out, into, arrival in fetch(BOOK, [given.pk, wanted.pk, eon])
    ]
    orders.sort(key=lambda order: (-order.price, order.arrival, order.key))
    return [_level(list(group)) for _, group in groupby(orders, key=lambda order: order.price)]


def _level(orders: list[Order]) -> Level:
    first = orders[0]
    return Level(
        first.amount,
        first.amount_swapped,
        sum(order.visible_out for order in orders),
        sum(order.visible_in for order in orders),
        len(orders),
    )


def rendered_book(book: OrderBook) -> Object:
    """§3.2.5."""
    return {"sell_orders": _rendered(book.sells), "buy_orders": _rendered(book.buys)}


def _rendered(levels: Iterable[Level]) -> list[Object]:
    """§4.12."""
    return [
        {
            "amount": str(level.amount),
            "amount_swapped": str(level.amount_swapped),
            "remaining_out": str(level.remaining_out),
            "remaining_in": str(level.remaining_in),
        }
        for level in levels
    ]


class Books:
    """Order books as they were a moment ago. Anyone may ask as often as they like for what takes long to make when
    it is large, so a book is kept for as long as keeps the time spent on books below :data:`BUSY`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[int, int, int], tuple[float, Object]] = {}

    def get(self, left: Token, right: Token, eon: int) -> Object:
        """The rendered book of an eon."""
        key = left.pk, right.pk, eon
        with self._lock:
            until, found = self._known.get(key, (0.0, {}))
            start = time.monotonic()
            if start < until:
                return found
            found = rendered_book(order_book(left, right, eon))
            end = time.monotonic()
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = end + (end - start) / BUSY, found
            return found

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._known.clear()


books = Books()
"""Those of this process."""


def matches(left: Token, right: Token, start: datetime, end: datetime) -> list[Object]:
    """Trades between the two moments, both included, in their order; at most :data:`MAX_MATCHES`. A trade that
    gave none of the left token for rounding has no price and is left out."""
    found = []
    for taker, maker in ((left, right), (right, left)):
        rows = fetch(MATCHES, [taker.pk, maker.pk, start, end, MAX_MATCHES])
        for taker_gave, maker_gave, moment, key in rows:
            gave = (taker_gave, maker_gave) if taker is left else (maker_gave, taker_gave)
            found.append((moment, key, int(gave[0]), int(gave[1])))
    found.sort()
    return [_match(*trade) for trade in found[:MAX_MATCHES] if trade[2]]


def _match(moment: datetime, _key: int, volume: int, other: int) -> Object:
    """§4.13."""
    return {"volume": str(volume), "price": price(other, volume), "time": seconds(moment)}


def price(right: int, left: int) -> str:
    """The price in right per left as decimal text, cut after four decimals, with at least one."""
    whole, part = divmod(int(Fraction(right, left) * 10**PRICE_DIGITS), 10**PRICE_DIGITS)
    decimals = f"{part:0{PRICE_DIGITS}d}".rstrip("0") or "0"
    return f"{whole}.{decimals}"
