"""Passes over a market: what arrives is matched, and nothing that ends meanwhile is in the way."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping
from itertools import pairwise

import pytest

from heartbeat.tests.drill import Drill
from ledger import engine, store
from ledger.engine import HIGHEST_ORDERED
from ledger.models import Event, Matching, Outbox, TokenPair, Transfer, WithdrawalRequest
from ledger.tests.checks import check_checkpoint, check_ledger
from nocust.matching import Order
from swapper import books
from swapper.books import read_book
from swapper.exchange import Exchange
from swapper.tests.exchange_market import MarketPlay, done, fills, fills_alone, is_crossed

pytestmark = pytest.mark.django_db


@pytest.fixture
def market() -> MarketPlay:
    return MarketPlay.create()


def check(market: MarketPlay) -> None:
    """What holds after every pass."""
    assert market.in_memory() == market.in_database()
    assert not is_crossed(market.in_database())
    check_ledger()


def test_walks_the_book_by_price_then_arrival(market: MarketPlay) -> None:
    dear, late, early, cheap = (market.order(100, wanted, sells=1) for wanted in (230, 220, 220, 200))
    assert market.exchange.step() == 4
    taker = market.order(500, 220)
    assert market.exchange.step() == 1
    assert [(maker, given) for _, maker, given, _ in fills()] == [
        (market.row(cheap).pk, 200),
        (market.row(late).pk, 220),
        (market.row(early).pk, 80),
    ]
    assert market.matched(taker) == (500, 236)
    assert market.matched(early) == (36, 80)
    assert market.matched(dear) == (0, 0)
    assert fills() == fills_alone(market.market, 1)
    told = Outbox.objects.filter(event=Event.MATCHED_SWAP).values_list("object_id", flat=True)
    assert sorted(told) == sorted(row for taker, maker, *_ in fills() for row in (taker, maker))
    check(market)


def test_a_buy_order_is_complete_with_what_it_wants(market: MarketPlay) -> None:
    market.order(100, 150, sells=1)
    buyer = market.order(400, 100, sell=False)
    market.exchange.step()
    assert market.matched(buyer) == (150, 100)
    assert market.row(buyer).complete
    done(buyer.finalize(100))
    check(market)


def test_orders_arrive_in_batches_as_one_by_one(market: MarketPlay) -> None:
    """The first process matches after every order, the second all at once."""
    amounts = [(100, 90), (100, 210), (50, 100), (120, 230), (30, 61), (200, 95), (70, 140)]
    for index, (amount, wanted) in enumerate(amounts):
        market.order(amount, wanted, sells=index % 2)
        market.exchange.step()
    one_by_one = fills_alone(market.market, 1)
    assert fills() == one_by_one
    market.next_eon()
    before = Matching.objects.count()
    rows = []
    for index, (amount, wanted) in enumerate(amounts):
        rows.append(market.row(market.order(amount, wanted, sells=index % 2)).pk)
    assert market.exchange.step() == len(amounts)
    assert fills()[before:] == fills_alone(market.market, 2)
    first = {row: index for index, row in enumerate(sorted({r for f in one_by_one for r in f[:2]}))}
    second = {row: index for index, row in enumerate(sorted({r for f in fills()[before:] for r in f[:2]}))}
    assert [(first[t], first[m], g, h) for t, m, g, h in one_by_one] == [
        (second[t], second[m], g, h) for t, m, g, h in fills()[before:]
    ]
    check(market)


def test_orders_have_places_in_line_for_ever(market: MarketPlay) -> None:
    first, second = (market.order(100, 200, sells=1, eons=3) for _ in range(2))
    market.exchange.step()
    places = [market.row(one).arrival for one in (first, second)]
    market.next_eon()
    assert [market.row(one).arrival for one in (first, second)] == places
    third = market.order(100, 200, sells=1)
    market.exchange.step()
    places.append(market.row(third).arrival)
    assert all(a is not None and b is not None and a < b for a, b in pairwise(places))
    market.order(300, 150)
    market.exchange.step()
    assert [market.matched(one)[0] for one in (first, second, third)] == [100, 50, 0]
    check(market)
    market.next_eon()
    check_checkpoint(3)


def test_not_seen_before_the_eon_ended_arrives_in_the_next(market: MarketPlay) -> None:
    seller, buyer = market.order(100, 200, sells=1, eons=2), market.order(200, 100, eons=2)
    market.play.enter_next_eon()
    assert market.exchange.step() == 0, "the ledger of the eon before is open"
    market.play.close_eon()
    assert market.exchange.step() == 2
    assert (market.matched(seller), market.matched(buyer)) == ((100, 200), (200, 100))
    check(market)


def test_a_frozen_maker_is_passed_over(market: MarketPlay) -> None:
    frozen, cancelled, left = (market.order(100, 200, sells=1) for _ in range(3))
    market.exchange.step()
    done(frozen.freeze())
    done(cancelled.freeze())
    done(cancelled.cancel(0, 0))
    market.order(200, 100)
    assert market.exchange.step() == 1
    assert [market.matched(one)[0] for one in (frozen, cancelled, left)] == [0, 0, 100]
    check(market)
    done(frozen.cancel(0, 0))
    check(market)


def test_frozen_before_it_arrived_is_never_matched(market: MarketPlay) -> None:
    market.order(100, 200, sells=1)
    taker = market.order(200, 100)
    done(taker.freeze())
    assert market.exchange.step() == 2
    assert fills() == []
    assert market.row(taker).arrival
    assert market.exchange.step() == 0
    check(market)


def test_many_frozen_makers_cost_few_tries(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = [market.order(100, 200 + index, sells=1) for index in range(40)]
    market.exchange.step()
    for maker in makers[:-1]:
        done(maker.freeze())
    market.order(239, 100)
    asked = []

    def count(rows: Collection[int]) -> dict[int, books.Party]:
        asked.append(len(rows))
        return books.read_parties(rows)

    monkeypatch.setattr("swapper.exchange.read_parties", count)
    assert market.exchange.step() == 1
    assert market.matched(makers[-1]) == (100, 239)
    assert asked == [3, 40, 2], "found, looked ahead, and matched"
    check(market)


def test_an_unfunded_maker_waits_for_its_funds(market: MarketPlay) -> None:
    poor, rich = (market.order(100, 200, sells=1) for _ in range(2))
    market.exchange.step()
    place = market.row(poor).arrival
    request = market.play.request_withdrawal(poor.debit, 40)
    market.order(200, 100)
    assert market.exchange.step() == 1
    assert [market.matched(one)[0] for one in (poor, rich)] == [0, 100]
    assert market.row(poor).arrival is None
    assert market.exchange.step() == 0
    assert market.in_memory() == market.in_database()
    waiting = market.order(200, 100)
    assert market.exchange.step() == 1
    slash(request, poor.debit.owner)
    assert market.exchange.step() == 1, "it arrives again, as a taker"
    again = market.row(poor).arrival
    assert place is not None
    assert again is not None
    assert again > place
    assert (market.matched(poor), market.matched(waiting)) == ((100, 200), (200, 100))
    check(market)


def test_an_unfunded_taker_waits_for_its_funds(market: MarketPlay) -> None:
    maker, poor = market.order(100, 200, sells=1), market.order(200, 100)
    request = market.play.request_withdrawal(poor.debit, 1)
    assert market.exchange.step() == 1
    assert fills() == []
    slash(request, poor.debit.owner)
    assert market.exchange.step() == 1
    assert (market.matched(maker), market.matched(poor)) == ((100, 200), (200, 100))
    check(market)


def slash(request: WithdrawalRequest, owner: engine.Owner) -> None:
    WithdrawalRequest.objects.filter(pk=request.pk).update(slashed=True, slashed_eon_number=1)
    store.execute([engine.CancelWithdrawal(owner, 1, int(request.amount))])


def test_a_paused_market_waits(market: MarketPlay) -> None:
    market.order(100, 200, sells=1)
    TokenPair.objects.filter(token_from=market.play.tokens[0]).update(paused=True)
    market.order(200, 100)
    assert market.exchange.step() == 0
    TokenPair.objects.update(paused=False)
    assert market.exchange.step() == 2
    assert len(fills()) == 1
    check(market)


def test_a_halted_hub_matches_nothing(market: MarketPlay) -> None:
    market.order(100, 200, sells=1)
    market.order(200, 100)
    market.play.status.halted = True
    market.play.status.save()
    assert market.exchange.step() == 0
    market.play.status.halted = False
    market.play.status.save()
    assert market.exchange.step() == 2


def test_the_book_is_read_again_when_another_was_at_work(market: MarketPlay) -> None:
    sellers = [market.order(100, 200, sells=1) for _ in range(3)]
    market.exchange.step()
    other = Exchange()
    market.order(150, 75)
    assert other.step() == 1
    market.order(150, 75)
    assert market.exchange.step() == 1
    assert [market.matched(one)[0] for one in sellers] == [100, 50, 0]
    check(market)


@pytest.mark.alarm("matching")
def test_a_bad_order_stops_no_other(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch, drill: Drill
) -> None:
    bad, good, early, late = (
        market.order(*order, sells=sells)
        for sells, order in ((1, (100, 200)), (1, (100, 201)), (0, (200, 100)), (0, (201, 100)))
    )
    run, row = store.run, market.row(bad).tx_id

    def fail(commands: list[engine.Command], places: Mapping[int, int]) -> list[store.Outcome]:
        if any(isinstance(fill, engine.Fill) and row in fill.orders for fill in commands):
            raise ValueError("broken")
        return run(commands, places)

    monkeypatch.setattr("swapper.exchange.store.run", fail)
    assert market.exchange.step() == 3
    assert "ValueError: broken" in drill.raised("matching")
    drill.lasts("matching", market.exchange.step)
    assert market.matched(bad) == (0, 0)
    assert market.matched(early) == (0, 0), "it would be matched with the bad one"
    assert (market.matched(good), market.matched(late)) == ((100, 201), (201, 100))
    monkeypatch.undo()
    again = Exchange()
    assert again.step() == 1, "another process tries again"
    drill.ends("matching", again.step)
    assert (market.matched(bad), market.matched(early)) == ((100, 200), (200, 100))
    check_ledger()
    assert Transfer.objects.filter(arrival__isnull=True).count() == 0


def test_a_book_is_read_as_its_orders_are_stored(market: MarketPlay) -> None:
    """To the last digit of the largest amounts."""
    large = HIGHEST_ORDERED // 2
    carried = market.order(900, 300, eons=2)
    market.order(100, 300, sells=1)
    market.exchange.step()
    market.order(large // 2, large - 2, eons=2)
    market.order(large // 3, 7, sells=1, sell=False)
    assert market.exchange.step() == 2
    market.next_eon()
    market.order(10, large, sells=1, sell=False)
    assert market.exchange.step() >= 1
    stored: list[list[Order]] = [[], []]
    rows = Transfer.objects.filter(eon_number=market.play.eon, arrival__isnull=False, processed=False)
    for row in rows.filter(appended=True, complete=False, cancelled=False, voided=False):
        out, into = row.prior_out + row.matched_out, row.prior_in + row.matched_in
        assert row.arrival is not None
        assert row.amount_swapped is not None
        order = Order(
            row.pk,
            row.arrival,
            int(row.amount),
            int(row.amount_swapped),
            bool(row.sell_order),
            int(out),
            int(into),
        )
        stored[market.market.direction(row.wallet.token_id)].append(order)
    book = read_book(market.market, market.play.eon)
    assert len(book) == 3
    assert (carried_row := book.get(market.row(carried).pk)) is not None
    assert carried_row.matched_out > 0
    for side in (0, 1):
        wanted = sorted(stored[side], key=lambda order: (-order.price, order.arrival))
        assert [repr(order) for order in book.orders(side)] == [repr(order) for order in wanted]


def test_garbage_is_collected_after_a_book_is_read(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that fails, and where somebody else wants none collected."""
    market.order(10, 10)
    market.exchange.step()
    seen: list[bool] = []

    def order(*arguments: object) -> Order:
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    monkeypatch.setattr("swapper.books._order", order)
    for enabled in (True, False):
        if not enabled:
            gc.disable()
        try:
            with pytest.raises(ZeroDivisionError):
                read_book(market.market, market.play.eon)
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert seen == [False, False]
