"""More fills than a pass has: the rest is done in the next one, as if it had been one."""

from __future__ import annotations

from random import Random

import pytest

from ledger.tests.checks import check_checkpoint, check_ledger
from swapper import exchange
from swapper.exchange import BATCH, Exchange
from swapper.tests.exchange_market import MarketPlay, done, fills, fills_alone, is_crossed

pytestmark = pytest.mark.django_db


@pytest.fixture
def market() -> MarketPlay:
    return MarketPlay.create()


def check(market: MarketPlay) -> None:
    assert market.in_memory() == market.in_database()
    check_ledger()


def passes(market: MarketPlay) -> int:
    """Passes until nothing arrives."""
    count = 0
    while market.exchange.step():
        count += 1
        check(market)
    assert not is_crossed(market.in_database())
    return count


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_the_fills_are_those_of_one_pass(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(exchange, "FILLS", most)
    random = Random(most)
    for number in range(30):
        amount = random.randrange(1, 60) * (8 if number % 7 == 6 else 1)
        wanted = max(amount * random.randrange(80, 120) // 100, 1)
        market.order(amount, wanted, sells=random.randrange(2), sell=random.random() < 0.7)
    assert passes(market) >= len(fills()) / most
    assert len(fills()) > 10
    assert fills() == fills_alone(market.market, 1)


def test_who_asks_hears_that_more_is_left(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FILLS", 2)
    for _ in range(3):
        market.order(100, 100, sells=1)
    assert market.exchange.step() == 3
    taker = market.order(400, 400)
    late = market.order(100, 100)
    assert market.exchange.step() >= BATCH
    assert (market.row(taker).arrival, market.row(late).arrival) == (None, None)
    check(market)
    assert market.exchange.step() == 2
    assert market.matched(taker) == (300, 300)
    assert market.matched(late) == (0, 0)
    check(market)
    assert market.exchange.step() == 0


def test_a_taker_that_is_complete_with_the_last_fill_of_a_pass(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "FILLS", 2)
    for _ in range(3):
        market.order(100, 100, sells=1)
    market.exchange.step()
    taker, late = market.order(200, 200), market.order(100, 100)
    assert market.exchange.step() >= BATCH
    assert market.row(taker).complete
    assert market.row(taker).arrival is not None
    assert market.exchange.step() == 1
    assert market.row(late).complete
    check(market)


def test_a_taker_that_ends_between_two_passes(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FILLS", 1)
    for _ in range(3):
        market.order(100, 100, sells=1)
    passes(market)
    taker = market.order(300, 300)
    market.exchange.step()
    done(taker.freeze())
    passes(market)
    assert market.matched(taker) == (100, 100)
    done(taker.cancel(100, 100))
    check(market)


def test_an_eon_ends_between_two_passes(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The taker goes on in the next one, where it is a taker still."""
    monkeypatch.setattr(exchange, "FILLS", 1)
    makers = [market.order(100, 100, sells=1, eons=2) for _ in range(3)]
    passes(market)
    taker = market.order(300, 300, eons=2)
    market.exchange.step()
    market.next_eon()
    check_checkpoint(market.play.eon)
    passes(market)
    assert market.matched(taker) == (300, 300)
    assert [market.matched(maker) for maker in makers[1:]] == 2 * [(100, 100)]
    check_ledger()


def test_another_process_goes_on(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FILLS", 1)
    for _ in range(3):
        market.order(100, 100, sells=1)
    passes(market)
    taker = market.order(300, 300)
    for process in (market.exchange, Exchange(), market.exchange, Exchange()):
        process.step()
    assert market.matched(taker) == (300, 300)
    assert market.row(taker).complete
    check_ledger()
