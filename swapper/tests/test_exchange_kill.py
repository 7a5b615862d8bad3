"""A worker is killed at each step of a matching pass and of a carry-over: it is as if it had never begun, or as if
it had not been killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from ledger import store
from ledger.checkpoint import create_checkpoint
from ledger.sql import fetch
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.killing import survives
from operator_api.simulation.traders import Trader
from swapper.exchange import Exchange
from swapper.tests.exchange_market import MarketPlay, done, total

pytestmark = pytest.mark.django_db(transaction=True)

State = dict[str, list[tuple[Any, ...]]]

TABLES = {
    "orders": "SELECT id, eon_number, matched_out, matched_in, prior_out, prior_in, appended, complete, processed,"
    " cancelled, voided, void_reason, CASE WHEN arrival IS NULL THEN NULL ELSE rank() OVER (ORDER BY arrival) END"
    " FROM ledger_transfer ORDER BY id",
    "accounts": "SELECT wallet_id, eon_number, opening, deposited, withdrawn, spent, gained, received, swapped,"
    " set_size, set_peaks::bytea, tail, active_state_id FROM ledger_account ORDER BY 1, 2",
    "fills": "SELECT taker_id, maker_id, taker_gave, maker_gave, eon_number FROM ledger_matching ORDER BY id",
    "outbox": "SELECT event, object_id FROM ledger_outbox ORDER BY id",
    "countersigned": "SELECT id, operator_signature FROM ledger_activestate ORDER BY id",
    "passes": "SELECT id, passes FROM ledger_tokenpair ORDER BY id",
    "checkpoints": "SELECT eon_number, merkle_root FROM ledger_rootcommitment ORDER BY 1",
}
"""All that a pass and a checkpoint write, but for times and the numbers of sequences."""


def state() -> State:
    return {name: [_comparable(row) for row in fetch(statement)] for name, statement in TABLES.items()}


def _comparable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)


def check_each_step(work: Callable[[], Any]) -> int:
    """Kill `work` at its first step, then at its second and so on until it has come to its end. Returns how many
    steps it took."""
    before = state()
    with transaction.atomic():
        work()
        after = state()
        transaction.set_rollback(True)
    assert before != after
    assert state() == before
    step, committed = 1, False
    while not survives(work, step):
        found = state()
        assert found in (after if committed else before, after), f"half of it at step {step}"
        committed = found == after
        step += 1
    assert state() == after
    return step


def traded(market: MarketPlay) -> tuple[list[Trader], list[Trader]]:
    """Orders of two to four eons that rest: two whole ones, one that is partly filled and one that is frozen; and
    takers that wait."""
    makers = [market.order(100, 200 + index, sells=1, eons=2 + index) for index in range(4)]
    market.order(50, 20, eons=3)
    market.exchange.step()
    done(makers[3].freeze())
    takers = [
        market.order(amount, amount // 3, eons=3, sell=sell) for amount, sell in ((310, True), (90, False))
    ]
    return makers, takers


@pytest.fixture
def market() -> MarketPlay:
    return MarketPlay.create()


def test_killed_at_each_step_of_a_pass(market: MarketPlay) -> None:
    makers, takers = traded(market)
    steps = check_each_step(lambda: Exchange().step())
    assert steps > 20
    assert market.row(makers[0]).complete
    assert market.row(takers[0]).complete
    assert market.exchange.step() == 0
    check_ledger()
    market.next_eon()
    check_checkpoint(2)


def test_killed_at_each_step_of_a_carry_over(market: MarketPlay) -> None:
    makers, _ = traded(market)
    market.exchange.step()
    late = market.order(1000, 1000, eons=2)  # the matching has not seen it when the eon ends
    market.play.enter_next_eon()
    status = store.chain_status()
    status.confirmed_block = status.first_block_of(2) - 1
    status.save()

    def close() -> None:
        with transaction.atomic():
            create_checkpoint(2, status.head_block)

    steps = check_each_step(close)
    assert steps > 20
    check_checkpoint(2)
    partly = makers[2]
    row = market.row(partly)
    assert total(row.prior_out)
    assert (row.appended, total(row.prior_out)) == (True, total(market.row(partly, 1).matched_out))
    assert row.arrival == market.row(partly, 1).arrival
    assert not market.row(makers[3]).appended
    assert market.row(late).arrival is None
    assert Exchange().step() == 1
    check_ledger()
