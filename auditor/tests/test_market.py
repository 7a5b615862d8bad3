"""The order book and the trades through HTTP."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from auditor import market as audited
from auditor import serializers_swaps
from auditor.tests.test_endpoints import get
from auditor.tests.test_shapes import assert_shape
from ledger import store
from ledger.models import Matching
from nocust.matching import Book, Order
from operator_api.simulation.play import Play
from swapper.tests.market import LQD, fill, market, next_eon, place, row, trader

pytestmark = pytest.mark.django_db
ETHER = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
TOKEN = LQD.hex()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from one request to the next."""
    monkeypatch.setattr(audited, "BUSY", float("inf"))
    audited.books.clear()


@pytest.fixture
def play() -> Play:
    game = Play()
    market(game)
    return game


def book(**query: Any) -> Any:
    found = get(f"/audit/{ETHER}/{TOKEN}/orderbook", **query)
    assert_shape(found, serializers_swaps.OrderBookSerializer())
    return found


def level(amount: int, swapped: int, out: int, into: int) -> dict[str, str]:
    names = ("amount", "amount_swapped", "remaining_out", "remaining_in")
    return dict(zip(names, map(str, (amount, swapped, out, into)), strict=True))


def test_levels_by_price(play: Play) -> None:
    assert book() == {"sell_orders": [], "buy_orders": []}
    for amount, wanted in ((100, 300), (100, 200), (50, 100), (7, 20)):
        place(trader(play, amount), amount, wanted)
    for amount, wanted in ((100, 100), (150, 100), (300, 200), (10, 11)):
        place(trader(play, amount, sells=1), amount, wanted, sell=False)
    assert book() == {
        "sell_orders": [level(100, 300, 100, 300), level(7, 20, 7, 20), level(100, 200, 150, 300)],
        "buy_orders": [level(150, 100, 450, 300), level(100, 100, 100, 100), level(10, 11, 10, 11)],
    }
    mirrored = get(f"/audit/{TOKEN}/{ETHER}/orderbook/")
    assert [item["amount"] for item in mirrored["sell_orders"]] == ["10", "100", "150"]
    assert [item["amount"] for item in mirrored["buy_orders"]] == ["100", "7", "100"]


def test_partly_filled_frozen_and_complete_orders(play: Play) -> None:
    seller, buyer, other = trader(play, 100), trader(play, 60, sells=1), trader(play, 30, sells=1)
    place(seller, 100, 201)
    place(buyer, 60, 29, sell=False)
    fill(buyer, seller, 58, 28)
    assert book() == {
        "sell_orders": [level(100, 201, 72, 144)],
        "buy_orders": [level(60, 29, 2, 1)],
    }
    place(other, 30, 30)
    store.execute([other.freeze()])
    assert len(book()["buy_orders"]) == 1
    fill(buyer, seller, 2, 1)
    assert book()["buy_orders"] == []


def test_the_levels_are_those_of_the_matching(play: Play) -> None:
    """Volumes and order as the book in memory has them."""
    random = Random(7)
    memory = Book()
    for number in range(40):
        direction = random.randrange(2)
        amount, wanted = random.randrange(1, 9) * 10, random.randrange(1, 9) * 10
        sell = random.random() < 0.5
        one = trader(play, amount, sells=direction)
        stored = place(one, amount, wanted, sell=sell)
        memory.add(direction, Order(stored.order.row, number, amount, wanted, sell))
    expected = [[level(*item[:4]) for item in memory.levels(direction)] for direction in (0, 1)]
    assert book() == {"sell_orders": expected[0][::-1], "buy_orders": expected[1]}


def test_eons(play: Play) -> None:
    seller, short, buyer = trader(play, 100), trader(play, 10), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=3)
    place(short, 10, 40)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    left = level(100, 200, 70, 140)
    assert book()["sell_orders"] == [level(10, 40, 10, 40), left]
    play.enter_next_eon()
    assert book()["sell_orders"] == [left]  # until the checkpoint as the eon before left it
    play.close_eon()
    assert book()["sell_orders"] == [left]
    assert book(eon_number=2)["sell_orders"] == [left]
    for number in (0, 1):
        assert book(eon_number=number) == {"sell_orders": [], "buy_orders": []}
    for text in ("3", "-1", "x", "", "1.0", "9" * 100, "\u0662"):
        assert book(eon_number=text)["sell_orders"] == [left]
    seller.enter(2, 70, 60)
    next_eon(play, seller)
    assert book()["sell_orders"] == [left]
    next_eon(play)
    assert book() == {"sell_orders": [], "buy_orders": []}


def test_unknown_tokens_and_the_same_one_twice(play: Play) -> None:
    for kind in ("orderbook", "matches"):
        for pair in ((ETHER, "11" * 20), ("11" * 20, TOKEN)):
            answer = get(f"/audit/{pair[0]}/{pair[1]}/{kind}", 404)
            assert answer == {"detail": "There is no such token."}
        assert get(f"/audit/{ETHER}/{ETHER}/{kind}") in ([], {"sell_orders": [], "buy_orders": []})
    place(trader(play, 5), 5, 5)
    assert get(f"/audit/{ETHER.lower()}/{TOKEN.upper()}/orderbook/")["sell_orders"]


def test_books_are_kept_for_as_long_as_they_cost(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    books = audited.Books()
    now = [100.0]
    monkeypatch.setattr(audited, "BUSY", 0.1)
    monkeypatch.setattr("auditor.market.time.monotonic", lambda: now[0])
    made = []

    def slow(*_: Any) -> audited.OrderBook:
        made.append(now[0])
        now[0] += 2.0
        return audited.OrderBook([], [])

    monkeypatch.setattr(audited, "order_book", slow)
    for later in (0, 5, 10, 4, 2):
        now[0] += later
        books.get(play.tokens[0], play.tokens[1], 1)
    assert made == [100.0, 123.0]


def test_one_query_a_side(play: Play) -> None:
    for amount in (1, 2, 3, 4, 5):
        place(trader(play, amount), amount, 10)
    with CaptureQueriesContext(connection) as queries:
        audited.order_book(play.tokens[0], play.tokens[1], 1)
    assert len(queries) == 2


# --- trades ------------------------------------------------------------------------------------------------------


def trades(**query: Any) -> Any:
    found = get(f"/audit/{ETHER}/{TOKEN}/matches", **query)
    for item in found:
        assert_shape(item, serializers_swaps.MatchSerializer())
    return found


def test_trades_in_a_range_of_time(play: Play) -> None:
    seller, buyer, late = trader(play, 100), trader(play, 60, sells=1), trader(play, 30, sells=1)
    place(seller, 100, 200)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    place(late, 30, 14)
    fill(seller, late, 14, 30)
    now = timezone.now()
    first, second = Matching.objects.order_by("id")
    Matching.objects.filter(pk=first.pk).update(time=now - timedelta(hours=2))
    Matching.objects.filter(pk=second.pk).update(time=now - timedelta(hours=1))
    then = [int((now - timedelta(hours=hours)).timestamp()) for hours in (2, 1)]
    expected = [
        {"volume": "30", "price": "2.0", "time": then[0]},
        {"volume": "14", "price": "2.1428", "time": then[1]},
    ]
    assert trades() == []
    assert trades(start_time=then[0]) == expected
    assert trades(start_time=then[0], end_time=then[0]) == expected[:1]
    assert trades(start_time=then[0] + 1, end_time=then[1]) == expected[1:]
    assert trades(start_time=then[1], end_time=then[0]) == []
    assert trades(start_time=-1, end_time=10**40) == expected
    mirrored = get(f"/audit/{TOKEN}/{ETHER}/matches/", start_time=0)
    assert [(item["volume"], item["price"]) for item in mirrored] == [("60", "0.5"), ("30", "0.4666")]
    for text in ("x", "", "1.5", "1e3", "\u0661"):
        for name in ("start_time", "end_time"):
            assert isinstance(get(f"/audit/{ETHER}/{TOKEN}/matches", 400, **{name: text}), str)


def test_no_more_than_the_first_many(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "MAX_MATCHES", 3)
    buyer, seller = trader(play, 100, sells=1), trader(play, 100)
    place(buyer, 100, 100)
    place(seller, 100, 100)
    for _ in range(5):
        fill(seller, buyer, 2, 2)
    assert len(trades(start_time=0)) == 3


def test_a_trade_without_the_left_token_has_no_price(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    Matching.objects.update(maker_gave=0)
    assert trades(start_time=0) == []
    assert row(seller, 1).matched_out == 30


@pytest.mark.parametrize(
    ("right", "left", "text"),
    [
        (1, 100, "0.01"),
        (100, 1, "100.0"),
        (1, 3, "0.3333"),
        (2, 3, "0.6666"),
        (0, 3, "0.0"),
        (1, 10**6, "0.0"),
        (10**38 + 1, 1, "1" + "0" * 37 + "1.0"),
        (123456, 10**4, "12.3456"),
    ],
)
def test_prices(right: int, left: int, text: str) -> None:
    assert audited.price(right, left) == text
