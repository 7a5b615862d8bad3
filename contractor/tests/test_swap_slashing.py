"""Requests of wallets that orders hold: what an order still has to give cannot be withdrawn meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contractor import slashing
from contractor.tests.conftest import BLOCKS_PER_EON, Hub
from contractor.tests.court import OPEN_ERA, beat, settle
from contractor.tests.exchange import FUNDS, POOL, UNIT, Dealer, done, market
from contractor.tests.test_slashing import request, slashes
from ledger.models import Token, Transfer, WithdrawalRequest
from ledger.tests.checks import check_checkpoint, check_ledger

WANTED = 300 * UNIT


@pytest.fixture
def pool(hub: Hub) -> Dealer:
    return market(hub)


@pytest.fixture
def dealer(hub: Hub, pool: Dealer) -> Dealer:
    """With an allotment, in eon 3."""
    made = Dealer.register(hub, 2000, hub.ether, Token.objects.get(trail=1), FUNDS)
    hub.settle()
    hub.go_to(3, OPEN_ERA)
    for one in (pool, made):
        one.enter(goes_on=False)
    pool.place(POOL, 1, eons=5)
    return made


def open_row(dealer: Dealer, eon: int) -> bool:
    return Transfer.objects.filter(
        tx_id=dealer.orders[-1], eon_number=eon, appended=True, processed=False
    ).exists()


def test_what_an_order_has_still_to_give_is_not_withdrawn(hub: Hub, dealer: Dealer, pool: Dealer) -> None:
    """Nothing was matched yet, so that the account alone is not below zero."""
    dealer.place(FUNDS, WANTED, 2)
    request(dealer.debit, 1)
    hub.node.mine(3)
    hub.beat()
    assert hub.available(dealer.debit.wallet) == FUNDS - 1
    case = slashing.overdraft(dealer.debit.wallet, 3)
    assert case is not None
    assert (case.missing, case.oldest_eon) == (1, 3)
    with pytest.raises(AssertionError, match="DEBIT_WALLET_OVERSPENDING"):
        dealer.fill(pool, FUNDS, WANTED)
    settle(hub, 8)
    assert WithdrawalRequest.objects.get().slashed
    dealer.fill(pool, FUNDS, WANTED)
    check_ledger()


def test_what_was_matched_is_not_withdrawn(hub: Hub, dealer: Dealer, pool: Dealer) -> None:
    dealer.place(FUNDS, WANTED, 2)
    dealer.fill(pool, FUNDS, WANTED)
    request(dealer.debit, FUNDS)
    settle(hub, 8)
    assert WithdrawalRequest.objects.get().slashed
    assert hub.available(dealer.debit.wallet) == 0
    check_ledger()


def test_what_remains_beside_the_order_may_be_withdrawn(hub: Hub, dealer: Dealer, pool: Dealer) -> None:
    """A deposit made after the order was placed; the contract lets it go in the next eon."""
    dealer.place(FUNDS, WANTED, 3)
    dealer.fund(dealer.debit, 10)
    hub.settle()
    hub.go_to(4, OPEN_ERA)
    dealer.enter(goes_on=True)
    hub.go_to(5, OPEN_ERA)
    dealer.enter(goes_on=True)
    request(dealer.debit, 10)
    settle(hub, 6)
    assert slashing.overdrafts(5) == []
    dealer.fill(pool, FUNDS, WANTED)
    assert hub.available(dealer.debit.wallet) == 0
    check_ledger()


def test_a_frozen_order_promises_nothing(hub: Hub, dealer: Dealer) -> None:
    dealer.place(FUNDS, WANTED, 2)
    dealer.freeze()
    request(dealer.debit, FUNDS // 2)
    settle(hub, 6)
    assert slashes() == []
    done(dealer.trader.cancel(0, 0))
    assert hub.available(dealer.debit.wallet) == FUNDS // 2
    check_ledger()


@pytest.mark.parametrize("eons", [1, 2])
def test_a_request_in_the_last_block(hub: Hub, dealer: Dealer, pool: Dealer, eons: int) -> None:
    """An order that goes on keeps what it needs; one whose time is over needs it no more."""
    dealer.place(FUNDS, WANTED, eons)
    dealer.fill(pool, 40 * UNIT, 120 * UNIT)
    hub.node.mine_to_era(3, BLOCKS_PER_EON - 2)
    beat(hub)
    request(dealer.debit, 60 * UNIT)
    settle(hub, 10)
    assert hub.status.eon == 4
    check_checkpoint(4)
    assert WithdrawalRequest.objects.get().slashed == (eons == 2)
    assert open_row(dealer, 4) == (eons == 2)
    assert hub.available(dealer.debit.wallet) == (60 * UNIT if eons == 2 else 0)
    check_ledger()


def test_later_markers_that_the_contract_refuses_help_no_thief(
    hub: Hub, dealer: Dealer, pool: Dealer
) -> None:
    """An order signed with them is cancelled at once; in its last eon its owner spends and withdraws."""
    order = dealer.trader.place(FUNDS, WANTED, 3)
    good = order.debit_marker_signatures[0]
    order = replace(order, debit_marker_signatures=(good, bytes(65), bytes(65)))
    dealer.trader.accepted(order, done(order).order.tx_id)
    dealer.orders.append(str(dealer.trader.tx_id))
    dealer.cancel()
    friend = Dealer.register(hub, 2001, hub.ether, Token.objects.get(trail=1), 0)
    hub.settle()
    for eon in (4, 5):
        hub.go_to(eon, OPEN_ERA)
    dealer.enter(goes_on=False)
    dealer.debit.pay(friend.debit, FUNDS)
    request(dealer.debit, FUNDS)
    settle(hub, 8)
    assert WithdrawalRequest.objects.get().slashed
    assert hub.available(dealer.debit.wallet) == 0
