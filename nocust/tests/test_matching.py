from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nocust.errors import InvalidAmount, InvalidInteger, InvalidValue, NocustError
from nocust.matching import PATIENCE, Book, Fill, Level, Order
from nocust.tests.strategies import junk

LARGEST = 2**256 - 1
positive = st.one_of(st.integers(1, 9), st.integers(1, LARGEST), st.integers(LARGEST - 9, LARGEST))


def keys(book: Book, direction: int) -> list[int]:
    return [order.key for order in book.orders(direction)]


@given(positive, positive, positive, positive)
def test_prices_compare_as_the_ratios_do(a: int, b: int, c: int, d: int) -> None:
    left, right = Order(1, 1, a, b), Order(2, 2, c, d)
    assert (left.price < right.price) is (a * d < c * b)
    assert (left.price == right.price) is (a * d == c * b)


def test_the_closest_ratios_have_different_prices() -> None:
    """1/(b·d) apart, with the largest b and d."""
    for top in range(LARGEST - 9, LARGEST + 1):
        low, high = Order(1, 1, top - 2, top - 1), Order(2, 2, top - 1, top)
        distance = Fraction(high.amount, high.amount_swapped) - Fraction(low.amount, low.amount_swapped)
        assert distance == Fraction(1, top * (top - 1))
        assert low.price < high.price
    smallest, next_to_it = Order(3, 3, 1, LARGEST), Order(4, 4, 1, LARGEST - 1)
    assert 0 < smallest.price < next_to_it.price
    assert Order(5, 5, LARGEST, LARGEST).price == Order(6, 6, 1, 1).price


def test_what_remains_and_what_is_shown() -> None:
    sell = Order(1, 1, 10, 25, True, matched_out=3, matched_in=8)
    assert (sell.remaining_out, sell.remaining_in) == (7, 17)
    assert (sell.visible_out, sell.visible_in) == (7, 17)
    improved = Order(1, 1, 10, 25, True, matched_out=3, matched_in=40)
    assert (improved.remaining_in, improved.visible_in, improved.complete) == (0, 17, False)
    buy = Order(2, 2, 25, 10, False, matched_out=20, matched_in=7)
    assert (buy.remaining_out, buy.remaining_in) == (5, 3)
    assert (buy.visible_out, buy.visible_in) == (7, 3)


@pytest.mark.parametrize(
    ("sell", "out", "into", "complete"),
    [
        (True, 10, 0, True),
        (True, 9, 20, False),
        (True, 9, 99, False),
        (False, 10, 19, True),
        (False, 3, 20, True),
        (False, 9, 19, False),
    ],
)
def test_when_an_order_is_complete(sell: bool, out: int, into: int, complete: bool) -> None:
    assert Order(1, 1, 10, 20, sell, out, into).complete is complete


def test_first_arrived_trades_first_in_whatever_order_they_were_added() -> None:
    for arrivals in ([1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3], [3, 1, 4, 2]):
        added, loaded = Book(), Book()
        for arrival in arrivals:
            added.add(0, Order(50 - arrival, arrival, arrival * 6, arrival * 2))
        loaded.load(0, [Order(50 - arrival, arrival, arrival * 6, arrival * 2) for arrival in arrivals])
        for book in (added, loaded):
            assert keys(book, 0) == [49, 48, 47, 46]
            fills = book.take(1, Order(99, 99, 3, 9))
            assert [fill.maker for fill in fills] == [49, 48]
    tied = Book()
    tied.load(0, [Order(key, 5, 2, 1) for key in (3, 1, 2)])
    assert keys(tied, 0) == [1, 2, 3]


def test_a_maker_that_the_limits_refuse_is_passed_over_and_stays() -> None:
    book = Book()
    book.take(0, Order(1, 1, 18, 13))
    book.take(0, Order(2, 2, 8000, 7000))
    book.take(0, Order(3, 3, 7000, 7000))
    assert book.take(1, Order(4, 4, 7, 8, sell=False)) == [Fill(4, 2, 7, 8, True, False)]
    assert keys(book, 0) == [1, 2, 3]
    assert book.take(1, Order(5, 5, 20, 20)) == [
        Fill(5, 1, 13, 18, False, True),
        Fill(5, 2, 7, 8, True, False),
    ]


def test_a_maker_passed_over_does_not_hide_others_of_its_price() -> None:
    book = Book()
    book.load(0, [Order(1, 1, 1900, 1800), Order(2, 2, 19, 18)])
    assert book.take(1, Order(3, 3, 1, 1, sell=False)) == [Fill(3, 2, 0, 1, True, False)]
    assert keys(book, 0) == [1, 2]


def test_a_taker_pays_no_more_than_the_rest_of_a_maker_costs() -> None:
    """5 left cost 3.5: the taker could give 4 and would get 5, but gives the 3 that the maker may ask."""
    book = Book()
    book.add(0, Order(1, 1, 10, 7, matched_out=5, matched_in=4))
    assert book.take(1, Order(2, 2, 4, 1)) == [Fill(2, 1, 3, 5, False, True)]
    assert keys(book, 1) == [2]


def test_makers_after_the_first_that_does_not_cross_are_not_tried() -> None:
    book = Book()
    book.load(0, [Order(1, 1, 3, 1), Order(2, 2, 2, 1), Order(3, 3, 1, 1)])
    assert [fill.maker for fill in book.take(1, Order(4, 4, 10, 20))] == [1, 2]
    assert keys(book, 0) == [3]
    assert keys(book, 1) == [4]


def test_an_order_cannot_receive_more_than_an_amount_can_say() -> None:
    book = Book()
    book.load(0, [Order(1, 1, LARGEST, 1), Order(2, 2, LARGEST, 2), Order(3, 3, 1, 1)])
    taker = Order(4, 4, 10, 1)
    book.take(1, taker)
    assert taker.matched_in == LARGEST
    assert keys(book, 0) == [2, 3]
    assert keys(book, 1) == [4]


def test_levels_merge_equal_prices_and_are_limited() -> None:
    book = Book()
    book.load(
        0,
        [
            Order(3, 3, 20, 40, True, matched_out=5, matched_in=10),
            Order(1, 1, 3, 6),
            Order(2, 2, 7, 7),
            Order(4, 4, 1, 3, False),
        ],
    )
    assert book.levels(0) == [Level(7, 7, 7, 7, 1), Level(3, 6, 18, 36, 2), Level(1, 3, 1, 3, 1)]
    assert book.levels(0, 2) == book.levels(0)[:2]
    assert book.levels(0, 9) == book.levels(0)
    assert book.levels(0, 0) == book.levels(1) == []


def test_orders_are_found_and_removed_by_key() -> None:
    book = Book()
    first, second = Order(1, 1, 3, 1), Order(2, 2, 1, 4)
    book.add(0, first)
    book.take(1, second)
    assert (book.get(1), book.get(2), book.get(3), len(book)) == (first, second, None, 2)
    assert book.remove(2) is second
    assert (book.remove(2), book.get(2), len(book)) == (None, None, 1)
    assert book.levels(1) == []


def test_refused_orders_change_nothing() -> None:
    book = Book()
    book.add(0, Order(1, 1, 10, 10))
    done = Order(5, 5, 1, 1, True, 1, 1)
    for refused in (Order(1, 9, 10, 1), done):
        for change in (book.add, book.take):
            for direction in (0, 1):
                with pytest.raises(InvalidValue):
                    change(direction, refused)
    for loaded in ([Order(2, 2, 1, 1), Order(2, 3, 1, 1)], [Order(2, 2, 1, 1), Order(1, 3, 1, 1)]):
        with pytest.raises(InvalidValue):
            book.load(0, loaded)
    assert keys(book, 0) == [1]
    assert keys(book, 1) == []


def test_marks_that_are_gone_are_refused() -> None:
    book = Book()
    outer = book.mark()
    inner = book.mark()
    book.add(0, Order(1, 1, 1, 1))
    book.commit(inner)
    with pytest.raises(InvalidValue):
        book.rollback(inner)
    book.rollback(outer)
    assert len(book) == 0
    for mark in (outer, inner, 0, 99):
        for end in (book.rollback, book.commit):
            with pytest.raises(InvalidValue):
                end(mark)
    outer, inner = book.mark(), book.mark()
    book.rollback(outer)
    with pytest.raises(InvalidValue):
        book.commit(inner)
    kept = book.mark()
    book.add(0, Order(1, 1, 1, 1))
    book.mark()
    book.commit(kept)
    assert keys(book, 0) == [1]


def test_loading_is_undone_too() -> None:
    book = Book()
    book.add(0, Order(2, 2, 2, 1))
    mark = book.mark()
    book.load(0, [Order(3, 3, 2, 1), Order(1, 1, 4, 2), Order(4, 4, 9, 1)])
    assert book.remove(2) is not None
    assert keys(book, 0) == [4, 1, 3]
    book.rollback(mark)
    assert keys(book, 0) == [2]
    assert book.levels(0) == [Level(2, 1, 2, 1, 1)]


@given(st.lists(junk, min_size=7, max_size=7))
def test_orders_of_anything_else_are_refused(parts: list[Any]) -> None:
    try:
        order = Order(*parts)
    except NocustError:
        return
    assert all(type(part) is int for part in parts[:4] + parts[5:])
    assert type(order.sell) is bool


@given(junk, junk)
def test_books_refuse_anything_else(value: Any, other: Any) -> None:
    book = Book()
    calls: list[Callable[[], object]] = [
        lambda: book.add(0, value),
        lambda: book.take(1, value),
        lambda: book.rollback(value),
        lambda: book.commit(value),
    ]
    for call in calls:
        with pytest.raises(InvalidValue):
            call()
    if value not in (0, 1) or type(value) is not int:
        calls = [
            lambda: book.add(value, Order(1, 1, 1, 1)),
            lambda: book.take(value, Order(1, 1, 1, 1)),
            lambda: book.load(value, [other]),
            lambda: book.orders(value),
            lambda: book.levels(value),
        ]
        for call in calls:
            with pytest.raises(InvalidInteger):
                call()
    if value is not None and (type(value) is not int or value < 0):
        with pytest.raises(InvalidInteger):
            book.levels(0, value)
    assert len(book) == 0


@pytest.mark.parametrize(
    ("amount", "wanted", "out", "into", "sell"),
    [
        (0, 1, 0, 0, True),
        (1, 0, 0, 0, True),
        (-1, 1, 0, 0, True),
        (LARGEST + 1, 1, 0, 0, True),
        (1, LARGEST + 1, 0, 0, True),
        (5, 5, 6, 0, True),
        (5, 5, -1, 0, True),
        (5, 5, 0, -1, True),
        (5, 5, 0, LARGEST + 1, True),
        (5, 5, 0, 6, False),
    ],
)
def test_amounts_that_no_order_has_are_refused(
    amount: int, wanted: int, out: int, into: int, sell: bool
) -> None:
    with pytest.raises(InvalidAmount):
        Order(1, 1, amount, wanted, sell, out, into)


@pytest.mark.parametrize(("refused", "fills"), [(PATIENCE - 1, 1), (PATIENCE, 0)])
def test_taker_that_is_refused_again_and_again_rests(refused: int, fills: int) -> None:
    """Makers that have given more than they got are passed over; a good one waits behind them at a worse price."""
    book = Book()
    for key in range(refused):
        book.add(0, Order(key, key, 10**18 + 1, 10**18, matched_out=10**18))
    book.add(0, Order(10**6, 10**6, 10**18, 10**18))
    found = book.take(1, Order(10**7, 10**7, 10**20, 10**20))
    assert len(found) == fills
    assert len(book) == refused + 2 - fills


def test_taker_is_taken_in_parts() -> None:
    """It is no maker until there is nothing left for it."""
    book = Book()
    for key in range(1, 4):
        book.take(1, Order(key, key, 10, 10))
    taker = Order(9, 9, 40, 40)
    assert [fill.maker for fill in book.take(0, taker, 2)] == [1, 2]
    assert (taker.matched_out, book.get(9), len(book)) == (20, None, 1)
    mark = book.mark()
    assert [fill.maker for fill in book.take(0, taker, 1)] == [3]
    assert book.get(9) is None
    book.rollback(mark)
    assert (taker.matched_out, len(book)) == (20, 1)
    assert [fill.maker for fill in book.take(0, taker, 2)] == [3]
    assert book.get(9) is taker
    with pytest.raises(InvalidInteger):
        book.take(0, Order(10, 10, 1, 1), 0)
