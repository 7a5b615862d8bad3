"""Random flow through ledger and matching, beside the matcher alone: the same fills in the same order, and at every
step the book in memory is the one that would be read from the database."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ledger.models import Transfer
from ledger.tests.checks import check_checkpoint, check_ledger
from nocust.matching import Book, Order
from nocust.matching_orders import within_limits
from operator_api.simulation.traders import Trader
from swapper.exchange import Exchange
from swapper.tests.exchange_market import MarketPlay, done, fills, total

pytestmark = pytest.mark.django_db

STEPS = 90
LONGEST = 4  # eons


class Flow:
    """What happens to the hub, and to a book that knows nothing but orders: keyed by trader, since rows change."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.market = MarketPlay.create()
        self.book = Book()
        self.waiting: list[tuple[int, int]] = []
        self.expected: list[tuple[int, int, int, int]] = []
        self.orders: dict[int, Order] = {}
        self.last_eon: dict[int, int] = {}
        self.arrivals = 0
        self.actions: list[tuple[int, Callable[[], None]]] = [
            (9, self.place),
            (6, self.match),
            (2, self.freeze),
            (2, self.cancel),
            (2, self.finalize),
            (1, self.next_eon),
        ]

    def act(self) -> None:
        (action,) = self.chance.choices([a for _, a in self.actions], [weight for weight, _ in self.actions])
        action()

    def trader(self, index: int) -> Trader:
        return self.market.traders[index]

    # ---- what may happen ----

    def place(self) -> None:
        sells, sell = self.chance.randrange(2), self.chance.random() < 0.7
        amount = self.chance.choice([self.chance.randrange(1, 400), self.chance.randrange(1, 10**20)])
        rate = self.chance.randrange(90, 112)
        wanted = max(1, amount * rate // 50 if sells else amount * rate // 200)
        eons = self.chance.randrange(1, LONGEST + 1)
        self.market.order(amount, wanted, sells, eons, sell)
        index = len(self.market.traders) - 1
        self.orders[index] = Order(index, 0, amount, wanted, sell)
        self.last_eon[index] = self.market.play.eon + eons - 1
        self.waiting.append((index, sells))

    def match(self) -> None:
        if self.chance.random() < 0.3:
            self.market.exchange = Exchange()  # the worker was started again
        assert self.market.exchange.step() == len(self.waiting)
        for index, sells in self.waiting:
            self.arrivals += 1
            order = self.orders[index]
            order.arrival = self.arrivals
            if not self.market.row(self.trader(index)).cancelled:
                made = self.book.take(sells, order)
                self.expected += ((f.taker, f.maker, f.taker_gives, f.maker_gives) for f in made)
        self.waiting = []

    def freeze(self) -> None:
        index = self.some(lambda row_open, frozen: row_open and not frozen)
        if index is not None:
            done(self.trader(index).freeze())
            self.book.remove(index)

    def cancel(self) -> None:
        index = self.some(lambda _, frozen: frozen)
        if index is not None:
            one, row = self.trader(index), self.market.row(self.trader(index))
            amounts = total(row.matched_out), total(row.matched_in)
            done(one.cancel(*amounts))
            one.closed(*amounts)
            self.waiting = [entry for entry in self.waiting if entry[0] != index]

    def finalize(self) -> None:
        index = self.some(lambda row_open, frozen: not row_open and not frozen)
        if index is not None:
            one, row = self.trader(index), self.market.row(self.trader(index))
            done(one.finalize(total(row.matched_in)))
            one.closed(total(row.matched_out), total(row.matched_in))

    def some(self, wanted: Callable[[bool, bool], bool]) -> int | None:
        """A trader whose order, given that it is open and not complete and that it is frozen, is wanted."""
        found = []
        for index, one in enumerate(self.market.traders):
            if one.order is not None:
                row = self.market.row(one)
                if wanted(not row.complete and not row.cancelled, row.cancelled):
                    found.append(index)
        return self.chance.choice(found) if found else None

    def next_eon(self) -> None:
        ending = [index for index, one in enumerate(self.market.traders) if one.order is not None]
        frozen = {index for index in ending if self.market.row(self.trader(index)).cancelled}
        self.market.next_eon()
        over = {index for index in ending if self.last_eon[index] < self.market.play.eon} | frozen
        for index in over:
            self.book.remove(index)
        self.waiting = [entry for entry in self.waiting if entry[0] not in over]
        check_checkpoint(self.market.play.eon)

    # ---- what holds then ----

    def check(self) -> None:
        rows = {row: index for index, one in enumerate(self.market.traders) for row in self.market.rows(one)}
        assert [(rows[t], rows[m], gave, got) for t, m, gave, got in fills()] == self.expected
        stored = self.market.in_database()
        for side in (0, 1):
            assert [
                (rows[key], amount, wanted, out, got) for key, _, amount, wanted, _, out, got in stored[side]
            ] == [
                (o.key, o.amount, o.amount_swapped, o.matched_out, o.matched_in)
                for o in self.book.orders(side)
            ]
        state = self.market.exchange.book(self.market.market)
        if state is not None and state.eon == self.market.play.eon:
            assert self.market.in_memory() == stored


@pytest.mark.parametrize("seed", range(3))
def test_random_flow(seed: int) -> None:
    flow = Flow(seed)
    for _ in range(STEPS):
        flow.act()
        flow.check()
    assert len(flow.expected) > 5
    for row in Transfer.objects.filter(swap=True):
        amounts = total(row.prior_out, row.matched_out), total(row.prior_in, row.matched_in)
        assert within_limits(Order(row.pk, 0, int(row.amount), total(row.amount_swapped)), *amounts)
    check_ledger()
    flow.market.next_eon()
    check_checkpoint(flow.market.play.eon)
