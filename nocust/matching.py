"""The order book of one token pair, in memory (``spec/ledger.md`` §8).

A pair has two directions, 0 and 1: orders of direction 0 give the token that those of direction 1 want. Orders
trade as takers once, when they arrive, against what rests on the other side: best price first, then first
arrived. What is left of them rests as maker. Nothing but the orders, their matched amounts and arrivals decides
what happens, so that a book made anew from them continues as the old one would have.

Not safe for use by several threads.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Final

from nocust.errors import InvalidInteger, InvalidValue
from nocust.matching_orders import Fill, Level, Order, volumes, within_limits

__all__ = ["PATIENCE", "Book", "Fill", "Level", "Order"]

PATIENCE: Final = 1000
"""Makers that a taker passes over before it rests: nobody can make the book be searched from end to end, which one
refused at each of 100,000 makers costs 0.3 s."""


class Book:
    """Open orders of one pair.

    Between :meth:`mark` and :meth:`commit` everything that the book does to itself and to orders is written
    down and can be undone by :meth:`rollback`: a caller computes what follows from many orders, stores it in
    one transaction, and puts the book back if the database refuses.
    """

    __slots__ = ("_journal", "_marks", "_next_mark", "_sides")

    def __init__(self) -> None:
        self._sides = (_Side(), _Side())
        self._journal: list[Callable[[], object]] = []
        self._marks: dict[int, int] = {}  # mark -> length of the journal when it was made, oldest first
        self._next_mark = 1

    def __len__(self) -> int:
        """Orders that rest."""
        return len(self._sides[0].orders) + len(self._sides[1].orders)

    def get(self, key: int) -> Order | None:
        """The resting order with this key."""
        order = self._sides[0].orders.get(key)
        return order if order is not None else self._sides[1].orders.get(key)

    def orders(self, direction: int) -> Iterator[Order]:
        """Resting orders in the order in which they trade; the book must not change meanwhile."""
        side = self._side(direction)
        return chain.from_iterable(side.level(price).values() for price in reversed(side.prices))

    def levels(self, direction: int, depth: int | None = None) -> list[Level]:
        """Prices at which orders rest, the best for takers first; at most `depth` of them.

        Raises InvalidInteger for a depth that is no integer or negative.
        """
        side = self._side(direction)
        if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
            raise InvalidInteger("a depth is an integer of at least 0")
        first = 0 if depth is None else max(len(side.prices) - depth, 0)
        return [_level(side.level(price).values()) for price in side.prices[first:][::-1]]

    def add(self, direction: int, order: Order) -> None:
        """Let an order rest that was taker before; its place is where its arrival says.

        Raises InvalidInteger for a direction other than 0 and 1, InvalidValue for a complete order and a key
        that rests already.
        """
        self._check_new(direction, order)
        self._insert(self._sides[direction], order)

    def load(self, direction: int, orders: Iterable[Order]) -> None:
        """As :meth:`add` for many at once, which is faster; all or, if one is refused, none."""
        side = self._side(direction)
        known: set[int] = set()
        new = list(orders)
        for order in new:
            self._check_new(direction, order)
            if order.key in known:
                raise InvalidValue("two orders have the same key")
            known.add(order.key)
        side.load(new)
        if self._marks:
            self._journal.extend(partial(side.remove, order) for order in new)

    def remove(self, key: int) -> Order | None:
        """Take a resting order out of the book and return it; None if no such order rests."""
        for side in self._sides:
            order = side.orders.get(key)
            if order is not None:
                self._remove(side, order)
                return order
        return None

    def take(self, direction: int, taker: Order, most: int | None = None) -> list[Fill]:
        """Trade a new order with what rests on the other side; let it rest unless that makes it complete.

        Makers are tried best price first, then first arrived, until the taker is complete or one does not
        cross its limit. A maker that the limits of either order refuse (rounding would leave one of them too
        short) is passed over and keeps its place; after PATIENCE of them the taker rests. Changes the matched
        amounts of the orders and returns the trades in their order. After `most` of them, at least 1, a taker that
        is not complete does not rest either: to be taken again. Raises as :meth:`add`, before anything has changed.
        """
        self._check_new(direction, taker)
        if most is not None and most < 1:
            raise InvalidInteger("at least one trade has to be allowed")
        makers = self._sides[1 - direction]
        fills: list[Fill] = []
        patience = PATIENCE
        position = len(makers.prices)
        while position and patience and not taker.complete and len(fills) != most:
            position -= 1
            level = makers.level(makers.prices[position])
            maker = next(iter(level.values()))
            if taker.amount * maker.amount < taker.amount_swapped * maker.amount_swapped:
                break
            completed, patience = self._trade(taker, level.values(), fills, patience, most)
            for order in completed:
                self._remove(makers, order)
        if not taker.complete and len(fills) != most:
            self._insert(self._sides[direction], taker)
        return fills

    def _trade(
        self, taker: Order, makers: Iterable[Order], fills: list[Fill], patience: int, most: int | None
    ) -> tuple[list[Order], int]:
        """Trade with makers at one price; return those that are complete then, and the patience that is left."""
        completed = []
        for maker in makers:
            given, received = volumes(taker, maker)
            taker_out, taker_in = taker.matched_out + given, taker.matched_in + received
            maker_out, maker_in = maker.matched_out + received, maker.matched_in + given
            if not within_limits(taker, taker_out, taker_in) or not within_limits(maker, maker_out, maker_in):
                patience -= 1
                if not patience:
                    break
                continue
            if self._marks:
                self._journal.append(partial(_undo, taker, maker, given, received))
            taker.matched_out, taker.matched_in = taker_out, taker_in
            maker.matched_out, maker.matched_in = maker_out, maker_in
            ended, emptied = taker.complete, maker.complete
            fills.append(Fill(taker.key, maker.key, given, received, ended, emptied))
            if emptied:
                completed.append(maker)
            if ended or len(fills) == most:
                break
        return completed, patience

    def mark(self) -> int:
        """Begin to write down what changes; the number returned names this moment. Marks may be nested."""
        mark = self._next_mark
        self._next_mark += 1
        self._marks[mark] = len(self._journal)
        return mark

    def rollback(self, mark: int) -> None:
        """Make book and orders what they were at `mark`; it and later marks are gone then.

        Raises InvalidValue for a mark that is gone. Orders must not have been changed by others since.
        """
        length = self._forget(mark)
        while len(self._journal) > length:
            self._journal.pop()()

    def commit(self, mark: int) -> None:
        """Keep what changed since `mark`; it and later marks are gone then, earlier ones stay.

        Raises InvalidValue for a mark that is gone.
        """
        self._forget(mark)
        if not self._marks:
            self._journal.clear()

    def _forget(self, mark: int) -> int:
        if isinstance(mark, bool) or not isinstance(mark, int) or mark not in self._marks:
            raise InvalidValue("the mark is unknown or gone")
        length = self._marks[mark]
        for later in [known for known in self._marks if known >= mark]:
            del self._marks[later]
        return length

    def _side(self, direction: int) -> "_Side":
        if isinstance(direction, bool) or not isinstance(direction, int) or direction not in (0, 1):
            raise InvalidInteger("a direction is 0 or 1")
        return self._sides[direction]

    def _check_new(self, direction: int, order: Order) -> None:
        self._side(direction)
        if not isinstance(order, Order) or order.complete:
            raise InvalidValue("an open order is needed")
        if self.get(order.key) is not None:
            raise InvalidValue("an order with this key rests already")

    def _insert(self, side: "_Side", order: Order) -> None:
        side.insert(order)
        if self._marks:
            self._journal.append(partial(side.remove, order))

    def _remove(self, side: "_Side", order: Order) -> None:
        side.remove(order)
        if self._marks:
            self._journal.append(partial(side.insert, order))


class _Side:
    """Open orders of one direction.

    `prices` ascends, so the best for takers is the last, where removal costs nothing. The orders of a price
    are sorted by arrival once they are read: an OrderedDict because, unlike in a dict, its first entry is
    found at once however many were removed before it.
    """

    __slots__ = ("_levels", "_unsorted", "orders", "prices")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.prices: list[int] = []
        self._levels: dict[int, OrderedDict[int, Order]] = {}
        self._unsorted: set[int] = set()

    def level(self, price: int) -> OrderedDict[int, Order]:
        """Orders at a price by arrival, at least one."""
        level = self._levels[price]
        if price in self._unsorted:
            for order in sorted(level.values(), key=_arrival):
                level.move_to_end(order.key)
            self._unsorted.discard(price)
        return level

    def insert(self, order: Order) -> None:
        if self._place(order):
            insort(self.prices, order.price)

    def load(self, orders: list[Order]) -> None:
        self.prices.extend([order.price for order in orders if self._place(order)])
        self.prices.sort()

    def _place(self, order: Order) -> bool:
        """Whether the order is the only one at its price."""
        self.orders[order.key] = order
        level = self._levels.get(order.price)
        if level is None:
            self._levels[order.price] = OrderedDict(((order.key, order),))
            return True
        if order.price not in self._unsorted and _arrival(order) < _arrival(next(reversed(level.values()))):
            if _arrival(order) < _arrival(next(iter(level.values()))):
                level[order.key] = order
                level.move_to_end(order.key, last=False)
                return False
            self._unsorted.add(order.price)
        level[order.key] = order
        return False

    def remove(self, order: Order) -> None:
        del self.orders[order.key]
        level = self._levels[order.price]
        del level[order.key]
        if not level:
            del self._levels[order.price]
            self._unsorted.discard(order.price)
            del self.prices[bisect_left(self.prices, order.price)]


def _undo(taker: Order, maker: Order, given: int, received: int) -> None:
    taker.matched_out -= given
    taker.matched_in -= received
    maker.matched_out -= received
    maker.matched_in -= given


def _arrival(order: Order) -> tuple[int, int]:
    return order.arrival, order.key


def _level(orders: Iterable[Order]) -> Level:
    members = list(orders)
    return Level(
        members[0].amount,
        members[0].amount_swapped,
        sum(order.visible_out for order in members),
        sum(order.visible_in for order in members),
        len(members),
    )
