"""Random order flow through the book, beside a plain matcher."""

import copy
import random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from nocust.matching import Book, Fill, Order
from nocust.tests.plain_matcher import PlainMatcher, PlainOrder, crosses

LARGEST = 2**256 - 1
FEW = 12
MANY = 40
TAKE, FREEZE = "take", "freeze"


class Step(NamedTuple):
    """An order that arrives, or one (the `amount`-th, counted over and over) that is frozen."""

    kind: str
    direction: int
    amount: int
    wanted: int
    sell: bool


def _near(scale: int, ratio: tuple[int, int], jitter: tuple[int, int]) -> tuple[int, int]:
    pair = [min(max(scale * part + change, 1), LARGEST) for part, change in zip(ratio, jitter, strict=True)]
    return pair[0], pair[1]


small = st.integers(1, FEW)
anything = st.one_of(
    small, st.integers(1, 10**4), st.integers(1, LARGEST), st.integers(LARGEST - FEW, LARGEST)
)
pairs = st.one_of(
    st.tuples(small, small),
    st.tuples(st.integers(1, 10**4), st.integers(1, 10**4)),
    st.builds(
        _near,
        st.sampled_from([7, 100, 10**9, 10**18, 2**128, LARGEST // 4]),
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        st.tuples(st.integers(-FEW, FEW), st.integers(-FEW, FEW)),
    ),
    st.tuples(anything, anything),
)
takes = st.builds(
    lambda direction, pair, sell: Step(TAKE, direction, pair[0], pair[1], sell),
    st.integers(0, 1),
    pairs,
    st.booleans(),
)
freezes = st.builds(lambda position: Step(FREEZE, 0, position, 1, True), st.integers(0, MANY))
steps = st.one_of(takes, takes, takes, takes, freezes)
flows = st.one_of(st.lists(steps, max_size=MANY), st.lists(steps, min_size=MANY // 2, max_size=MANY))
cuts = st.lists(st.integers(0, 8), max_size=MANY)


class Play:
    """A book, all orders it ever had, and the plain matcher beside it."""

    def __init__(self) -> None:
        self.book = Book()
        self.orders: list[tuple[int, Order]] = []
        self.plain = PlainMatcher()
        self.plain_orders: list[PlainOrder] = []

    def order_of(self, step: Step) -> Order:
        key = len(self.orders)
        order = Order(key, key, step.amount, step.wanted, step.sell)
        self.orders.append((step.direction, order))
        return order

    def step(self, step: Step) -> list[Fill]:
        """Do it in the book."""
        if step.kind == TAKE:
            return self.book.take(step.direction, self.order_of(step))
        if self.orders:
            self.book.remove(step.amount % len(self.orders))
        return []

    def plain_step(self, step: Step) -> list[tuple[int, int, int, int]]:
        """Do it in the plain matcher."""
        if step.kind == TAKE:
            key = len(self.plain_orders)
            order = PlainOrder(key, step.direction, step.amount, step.wanted, step.sell)
            self.plain_orders.append(order)
            return self.plain.take(order)
        if self.plain_orders:
            self.plain.freeze(step.amount % len(self.plain_orders))
        return []


def state_of(book: Book) -> object:
    """All that can be seen of a book, in the order in which it trades."""
    sides = [
        [
            (o.key, o.arrival, o.amount, o.amount_swapped, o.sell, o.matched_out, o.matched_in)
            for o in book.orders(direction)
        ]
        for direction in (0, 1)
    ]
    return sides, [book.levels(direction) for direction in (0, 1)], len(book)


def stored(order: Order) -> Order:
    """The order as made anew from what a database holds."""
    return Order(
        order.key,
        order.arrival,
        order.amount,
        order.amount_swapped,
        order.sell,
        order.matched_out,
        order.matched_in,
    )


def rebuilt(book: Book, seed: int) -> Book:
    """A book made from copies of the orders, added in any order."""
    other, chance = Book(), random.Random(seed)
    for direction in (0, 1):
        orders = [stored(order) for order in book.orders(direction)]
        chance.shuffle(orders)
        if chance.random() < 0.5:
            other.load(direction, orders)
            continue
        for order in orders:
            other.add(direction, order)
    return other


def trades(fills: list[Fill]) -> list[tuple[int, int, int, int]]:
    return [fill[:4] for fill in fills]


@given(flows)
@settings(max_examples=400, deadline=None)
def test_it_trades_as_the_plain_matcher_does(flow: list[Step]) -> None:
    play = Play()
    for step in flow:
        fills = play.step(step)
        assert trades(fills) == play.plain_step(step)
        for (_, order), plain in zip(play.orders, play.plain_orders, strict=True):
            assert (order.matched_out, order.matched_in) == (plain.out, plain.got)
            assert order.complete is not plain.open
        for direction in (0, 1):
            keys = [order.key for order in play.book.orders(direction)]
            assert keys == [plain.key for plain in play.plain.side(direction)]
        if fills:
            ended = {key for fill in fills for key in fill[:2] if play.orders[key][1].complete}
            said = {fill.maker for fill in fills if fill.maker_complete}
            said |= {fill.taker for fill in fills if fill.taker_complete}
            assert said == ended


@given(flows)
@settings(max_examples=400, deadline=None)
def test_no_order_trades_beyond_its_amount_or_limit_and_nothing_is_made_or_lost(flow: list[Step]) -> None:
    play = Play()
    for step in flow:
        for fill in play.step(step):
            assert fill.taker_gives >= 0
            assert fill.maker_gives >= 0
            assert fill.taker_gives + fill.maker_gives > 0
            assert play.orders[fill.taker][0] != play.orders[fill.maker][0]
        out, into = [0, 0], [0, 0]
        for direction, order in play.orders:
            assert order.matched_out <= order.amount
            assert order.sell or order.matched_in <= order.amount_swapped
            short = order.matched_out * order.amount_swapped - order.matched_in * order.amount
            assert short < 100
            out[direction] += order.matched_out
            into[direction] += order.matched_in
        assert out == into[::-1]


@given(flows)
@settings(max_examples=400, deadline=None)
def test_the_book_is_crossed_only_where_a_limit_refused(flow: list[Step]) -> None:
    play = Play()
    for step in flow:
        play.step(step)
        play.plain_step(step)
        for left in play.book.orders(0):
            for right in play.book.orders(1):
                if crosses(play.plain_orders[left.key], play.plain_orders[right.key]):
                    assert frozenset((left.key, right.key)) in play.plain.refused


@given(flows, cuts)
@settings(max_examples=300, deadline=None)
def test_batches_trade_as_single_orders_do_even_after_they_were_undone(
    flow: list[Step], lengths: list[int]
) -> None:
    single, batched = Play(), Play()
    expected = [trades(single.step(step)) for step in flow]
    got, start = [], 0
    for length in [*lengths, len(flow)]:
        batch = flow[start : start + length]
        before = state_of(batched.book), copy.deepcopy(batched.orders)
        mark = batched.book.mark()
        first = [trades(batched.step(step)) for step in batch]
        undone = batched.orders[len(before[1]) :]
        batched.book.rollback(mark)
        assert [(order.matched_out, order.matched_in) for _, order in undone] == [(0, 0)] * len(undone)
        batched.orders = batched.orders[: len(before[1])]
        assert (state_of(batched.book), totals(batched)) == (before[0], totals_of(before[1]))
        mark = batched.book.mark()
        got += [trades(batched.step(step)) for step in batch]
        assert got[start:] == first
        batched.book.commit(mark)
        start += len(batch)
    assert got == expected
    assert state_of(batched.book) == state_of(single.book)


def totals_of(orders: list[tuple[int, Order]]) -> list[tuple[int, int]]:
    return [(order.matched_out, order.matched_in) for _, order in orders]


def totals(play: Play) -> list[tuple[int, int]]:
    return totals_of(play.orders)


@given(flows, st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_rebuilt_book_equals_the_one_in_memory_at_every_step(flow: list[Step], seed: int) -> None:
    play, again = Play(), Play()
    for step in flow:
        again.book = rebuilt(play.book, seed)
        assert state_of(again.book) == state_of(play.book)
        assert trades(play.step(step)) == trades(again.step(step))
    assert state_of(again.book) == state_of(play.book)


@given(
    flows, st.lists(st.sampled_from(["mark", "rollback", "commit", "step", "step", "step"]), max_size=MANY)
)
@settings(max_examples=300, deadline=None)
def test_nested_marks_bring_back_exactly_what_was(flow: list[Step], actions: list[str]) -> None:
    play, steps = Play(), iter(flow)
    marks: list[tuple[int, object, list[tuple[int, int]], int]] = []
    for action in actions:
        if action == "mark":
            mark = play.book.mark()
            marks.append((mark, state_of(play.book), totals(play), len(play.orders)))
        elif action == "step":
            step = next(steps, None)
            if step is not None:
                play.step(step)
        elif marks:
            position = len(play.orders) % len(marks)
            mark, state, amounts, count = marks[position]
            del marks[position:]
            if action == "commit":
                play.book.commit(mark)
                continue
            play.book.rollback(mark)
            assert state_of(play.book) == state
            assert totals(play)[:count] == amounts
            assert totals(play)[count:] == [(0, 0)] * (len(play.orders) - count)
            del play.orders[count:]
