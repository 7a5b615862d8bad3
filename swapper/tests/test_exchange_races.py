"""Several matchings, placements and endings of orders at the same moment: nothing is lost, nothing done twice."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
from django.db import transaction

from heartbeat.tests.drill import Drill
from ledger import store
from ledger.accounts_sql import lock_wallets
from ledger.engine import PlaceOrder, Refusal
from ledger.models import Matching, Transfer
from ledger.sql import fetch
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.racing import Running, race
from ledger.verification import verify_orders
from operator_api.simulation.traders import Trader
from swapper.books import Party, read_parties
from swapper.exchange import Exchange
from swapper.tests.exchange_market import MarketPlay, done, fills, fills_alone, is_crossed, total

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 4
WORKERS = 3
PLACERS = 3
EACH = 6
SEED = 20261121


@pytest.fixture
def market() -> MarketPlay:
    return MarketPlay.create()


def check_fills() -> None:
    """Each order was matched as much as its fills say."""
    gave: dict[int, int] = defaultdict(int)
    got: dict[int, int] = defaultdict(int)
    for taker, maker, taker_gave, maker_gave in fills():
        gave[taker] += taker_gave
        got[taker] += maker_gave
        gave[maker] += maker_gave
        got[maker] += taker_gave
    for row in Transfer.objects.filter(swap=True):
        assert (total(row.matched_out), total(row.matched_in)) == (gave[row.pk], got[row.pk])


def prepared(market: MarketPlay, chance: random.Random, count: int) -> list[tuple[Trader, PlaceOrder]]:
    """Signed orders, not placed yet, that mostly cross."""
    made = []
    for index in range(count):
        amount = chance.randrange(50, 300)
        one = market.trader(amount, sells=index % 2)
        rate = 200 if index % 2 else 50
        wanted = max(1, amount * (rate + chance.randrange(-15, 10)) // 100)
        made.append((one, one.place(amount, wanted, sell=chance.random() < 0.7)))
    return made


def test_workers_and_placements_at_once(market: MarketPlay) -> None:
    chance = random.Random(SEED)
    exchanges = [Exchange() for _ in range(WORKERS)]
    for _ in range(ROUNDS):
        orders = prepared(market, chance, PLACERS * EACH)
        before = Matching.objects.count()
        actions: list[Callable[[], Any]] = [placing(orders[part::PLACERS]) for part in range(PLACERS)]
        actions += [stepping(exchange) for exchange in exchanges]
        outcomes = race(actions)
        assert not [one for one in outcomes if isinstance(one, BaseException)], outcomes
        exchanges[0].step()
        assert fills() == fills_alone(market.market, market.play.eon)
        assert Matching.objects.count() > before
    assert not Transfer.objects.filter(arrival__isnull=True).exists()
    check_fills()
    check_ledger()
    market.exchange.step()
    assert not is_crossed(market.in_database())
    market.next_eon()
    check_checkpoint(2)


def placing(orders: list[tuple[Trader, PlaceOrder]]) -> Callable[[], None]:
    def place() -> None:
        for _, order in orders:
            done(order)

    return place


def stepping(exchange: Exchange) -> Callable[[], int]:
    return lambda: sum(exchange.step() for _ in range(3 * EACH))


def test_orders_end_while_they_are_matched(market: MarketPlay) -> None:
    """Some are frozen and cancelled by their owners at the moment they would be matched: one of the two wins."""
    chance = random.Random(SEED)
    for _ in range(ROUNDS):
        orders = prepared(market, chance, 24)
        for one, order in orders:
            one.accepted(order, done(order).order.tx_id)
        ending = [one for one, _ in orders[::2]]
        results = race([stepping(Exchange()), stepping(Exchange()), *(closing(ending[i::2]) for i in (0, 1))])
        assert not [one for one in results if isinstance(one, BaseException)], results
        market.exchange.step()
        for one in ending:
            row = market.row(one)
            assert row.complete or row.cancelled
        assert not is_crossed(market.in_database())
    check_fills()
    check_ledger()
    market.next_eon()
    check_checkpoint(2)


def closing(traders: list[Trader]) -> Callable[[], list[Any]]:
    """Freeze and cancel; what the ledger answers to a complete order is not an error here."""

    def close() -> list[Any]:
        outcomes = []
        for one in traders:
            (frozen,) = store.execute([one.freeze()])
            if isinstance(frozen, Refusal):
                assert frozen.code == "SWAP_ALREADY_FULFILLED"
                continue
            row = Transfer.objects.get(tx_id=one.tx_id, appended=True)
            outcomes += store.execute([one.cancel(total(row.matched_out), total(row.matched_in))])
        assert not any(isinstance(outcome, Refusal) for outcome in outcomes), outcomes
        return outcomes

    return close


@pytest.mark.parametrize("place", ["before the locks", "holding the eon"])
def test_frozen_after_the_pass_has_read_it(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The ledger refuses the fill, the book is put back, and the pass is made again."""
    frozen, left = (market.order(100, 200, sells=1) for _ in range(2))
    market.exchange.step()
    market.order(200, 100)
    refused: list[bool] = []

    def freeze() -> None:
        if not refused:
            refused.append(True)
            outcome = Running(lambda: done(frozen.freeze())).outcome()
            assert not isinstance(outcome, BaseException), outcome

    def read(rows: Collection[int]) -> dict[int, Party]:
        found = read_parties(rows)
        freeze()
        return found

    def lock(wallets: Sequence[int]) -> None:
        freeze()
        lock_wallets(wallets)

    if place == "before the locks":
        monkeypatch.setattr("swapper.exchange.read_parties", read)
    else:
        monkeypatch.setattr("swapper.exchange.lock_wallets", lock)
    assert market.exchange.step() == 1
    assert refused
    assert [market.matched(one)[0] for one in (frozen, left)] == [0, 100]
    assert market.in_memory() == market.in_database()
    check_ledger()


def test_frozen_before_other_fills_that_count_on_its_own(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch, drill: Drill
) -> None:
    """What the taker gets of the frozen order is what lets it take a fill that is rounded to its loss. The pass is
    made again, without either, and that is nothing to tell anybody."""
    frozen = market.order(237, 237, sells=1)
    market.exchange.step()
    taker, last = market.order(242, 232), market.order(109, 112, sells=1, sell=False)

    def lock(wallets: Sequence[int]) -> None:
        if not market.row(frozen).cancelled:
            outcome = Running(lambda: done(frozen.freeze())).outcome()
            assert not isinstance(outcome, BaseException), outcome
        lock_wallets(wallets)

    monkeypatch.setattr("swapper.exchange.lock_wallets", lock)
    assert market.exchange.step() == 2
    assert [market.matched(one) for one in (frozen, taker, last)] == 3 * [(0, 0)]
    assert market.in_memory() == market.in_database()
    assert drill.quiet()
    check_ledger()


def test_a_checkpoint_in_the_middle_of_a_pass(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass belongs to an eon that is over when it gets its locks, so it has no effect; orders arrive anew."""
    seller, buyer = market.order(100, 200, sells=1, eons=2), market.order(200, 100, eons=2)
    closed: list[bool] = []

    def close() -> None:
        market.play.next_eon()

    def read(rows: Collection[int]) -> dict[int, Party]:
        found = read_parties(rows)
        if not closed:
            closed.append(True)
            outcome = Running(close).outcome()
            assert outcome is None, outcome
        return found

    monkeypatch.setattr("swapper.exchange.read_parties", read)
    assert market.exchange.step() in (0, 2)
    market.exchange.step()
    for one, matched in ((seller, (100, 200)), (buyer, (200, 100))):
        assert market.matched(one) == matched
        assert total(market.row(one, 1).matched_out) == 0
    check_fills()
    check_ledger()
    market.next_eon()
    check_checkpoint(3)


def test_orders_of_many_eons_end_while_their_later_signatures_are_verified(market: MarketPlay) -> None:
    for _ in range(3):
        traders = []
        for index in range(24):
            one = market.trader(100, sells=index % 2)
            market.place(one, 100, 100, eons=8)
            traders.append(one)
        ending = traders[:8][::-1]  # neither in the order of their rows nor against it
        outcomes = race(
            [
                stepping(Exchange()),
                verify_orders,
                verify_orders,
                *(closing(ending[part::2]) for part in (0, 1)),
            ]
        )
        assert not [one for one in outcomes if isinstance(one, BaseException)], outcomes
    verify_orders()
    assert not Transfer.objects.filter(swap=True, processed=False, verified__isnull=True).exists()
    check_fills()
    check_ledger()


def test_later_rows_are_locked_in_one_order(market: MarketPlay) -> None:
    """A batch that ends orders waits for the lowest row before it holds a higher one, whatever it does first."""
    low, high = (market.order(100, 200, sells=1, eons=2) for _ in range(2))
    lock = "SELECT 1 FROM ledger_transfer WHERE tx_id = %s AND eon_number = 2 FOR NO KEY UPDATE"
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    with transaction.atomic():
        fetch(lock, [str(low.tx_id)])
        batch = Running(lambda: store.execute([high.freeze(), low.freeze()]))
        while not fetch(waits):
            assert not batch.over
        assert fetch(f"{lock} NOWAIT", [str(high.tx_id)])
    assert not isinstance(batch.outcome(), BaseException)
