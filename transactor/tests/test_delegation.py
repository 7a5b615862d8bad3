"""Delegated withdrawals: what is accepted is set aside and queued, once."""

from __future__ import annotations

from functools import partial

import pytest

from contractor.models import EthereumTransaction
from ledger import store
from ledger.engine import Refusal
from ledger.models import Account, ChainStatus, DelegatedWithdrawal, WithdrawalRequest
from ledger.orders import StoredOrder
from ledger.store import StoredTransfer
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.racing import race
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from operator_api.simulation.wallets import SimulatedWallet
from transactor.services import delegate_withdrawal, transfer

ROUNDS = 25


@pytest.fixture
def play(db: None) -> Play:
    return Play()


def delegate(
    player: SimulatedWallet, amount: int, expiry: int = 59, pending: int = 0
) -> DelegatedWithdrawal | Refusal:
    return delegate_withdrawal(player.owner, amount, expiry, player.delegation(amount, expiry, pending))


def code(outcome: object) -> str:
    assert isinstance(outcome, Refusal)
    return outcome.code


def test_it_is_set_aside_and_queued(play: Play) -> None:
    alice, bob = funded(play, 2)
    withdrawal = delegate(alice, 60)
    assert isinstance(withdrawal, DelegatedWithdrawal)
    assert withdrawal.state == DelegatedWithdrawal.State.PENDING
    row = EthereumTransaction.objects.get()
    assert row.kind == "requestDelegatedWithdrawal"
    assert row.arguments == {"delegated_withdrawal": withdrawal.pk}
    assert code(play.pay(alice, bob, 41)) == "DEBIT_WALLET_OVERSPENDING"
    assert isinstance(play.pay(alice, bob, 40), StoredTransfer)
    assert Account.objects.get(wallet=alice.wallet_id).available == 60


@pytest.mark.parametrize("amount", [0, 101, 2**256 - 1])
def test_nothing_and_too_much_are_refused(play: Play, amount: int) -> None:
    (alice,) = funded(play, 1)
    assert code(delegate(alice, amount)) == "DEBIT_WALLET_OVERSPENDING"
    assert not DelegatedWithdrawal.objects.exists()
    assert not EthereumTransaction.objects.exists()


@pytest.mark.parametrize("expiry", [0, 3, 60, 2**62])
def test_the_expiry_lies_in_the_near_future_and_in_the_eon(play: Play, expiry: int) -> None:
    (alice,) = funded(play, 1)
    assert code(delegate(alice, 1, expiry)) == "INVALID_EXPIRY"


@pytest.mark.parametrize("expiry", [4, 59])
def test_the_first_and_the_last_expiry(play: Play, expiry: int) -> None:
    (alice,) = funded(play, 1)
    assert isinstance(delegate(alice, 1, expiry), DelegatedWithdrawal)


def test_what_was_requested_in_the_eon_is_signed_along(play: Play) -> None:
    """On chain or by an earlier delegation: the contract adds both to the amount."""
    (alice,) = funded(play, 1)
    play.request_withdrawal(alice, 10)
    assert code(delegate(alice, 20)) == "INVALID_WITHDRAWAL_SIGNATURE"
    assert isinstance(delegate(alice, 20, pending=10), DelegatedWithdrawal)
    assert code(delegate(alice, 20, pending=10)) == "WITHDRAWAL_ALREADY_REQUESTED"
    assert isinstance(delegate(alice, 20, pending=30), DelegatedWithdrawal)
    assert code(delegate(alice, 51, pending=50)) == "DEBIT_WALLET_OVERSPENDING"
    assert EthereumTransaction.objects.count() == 2


def test_a_foreign_signature_is_refused(play: Play) -> None:
    alice, bob = funded(play, 2)
    outcome = delegate_withdrawal(alice.owner, 5, 59, bob.delegation(5, 59))
    assert code(outcome) == "INVALID_WITHDRAWAL_SIGNATURE"
    for signature in (b"", bytes(65), b"\xff" * 65):
        assert code(delegate_withdrawal(alice.owner, 5, 59, signature)) == "INVALID_WITHDRAWAL_SIGNATURE"


def test_a_halted_contract_takes_none(play: Play) -> None:
    (alice,) = funded(play, 1)
    ChainStatus.objects.update(halted=True)
    assert code(delegate(alice, 1)) == "CHAIN_HALTED"


@pytest.mark.django_db(transaction=True)
def test_it_races_with_a_transfer_of_the_same_balance(transactional_db: None) -> None:
    """Exactly one gets the money, and nothing is set aside for the other."""
    play = Play()
    players = funded(play, 2 * ROUNDS)
    for alice, bob in zip(players[::2], players[1::2], strict=True):
        command = alice.transfer(bob.owner, 100)
        paid, delegated = race([partial(transfer, command), partial(delegate, alice, 100)])
        won = [isinstance(paid, StoredTransfer), isinstance(delegated, DelegatedWithdrawal)]
        assert won in ([True, False], [False, True]), (paid, delegated)
        assert code(delegated if won[0] else paid) == "DEBIT_WALLET_OVERSPENDING"
    check_ledger()


@pytest.mark.django_db(transaction=True)
def test_equal_delegations_race_and_one_is_queued(transactional_db: None) -> None:
    play = Play()
    for alice in funded(play, ROUNDS):
        outcomes = race([partial(delegate, alice, 30)] * 3)
        assert sum(isinstance(outcome, DelegatedWithdrawal) for outcome in outcomes) == 1, outcomes
        assert {code(o) for o in outcomes if isinstance(o, Refusal)} == {"WITHDRAWAL_ALREADY_REQUESTED"}
    assert EthereumTransaction.objects.count() == ROUNDS


def test_its_event_debits_what_was_set_aside(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    withdrawal = delegate(alice, 60, expiry=100)
    assert isinstance(withdrawal, DelegatedWithdrawal)
    request = play.request_withdrawal(alice, 60)
    DelegatedWithdrawal.objects.filter(pk=withdrawal.pk).update(
        state=DelegatedWithdrawal.State.REQUESTED, request=WithdrawalRequest.objects.get(pk=request.pk)
    )
    assert code(play.pay(alice, bob, 41)) == "DEBIT_WALLET_OVERSPENDING"
    assert isinstance(play.pay(alice, bob, 40), StoredTransfer)
    play.next_eon()
    check_checkpoint(store.chain_status().eon)


def test_a_wallet_that_an_order_holds_withdraws_nothing(play: Play) -> None:
    """On neither side, and until the order is closed."""
    token = play.add_token(bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c"), "Liquid", "LQD")
    trader = Trader.create(play.contract, play.tokens[0].address, token.address)
    play.admit([trader.debit], play.tokens[0])
    play.admit([trader.credit], token)
    play.deposit(trader.debit, 100)
    order = trader.place(100, 200)
    (placed,) = store.execute([order])
    assert isinstance(placed, StoredOrder)
    trader.accepted(order, placed.order.tx_id)
    play.deposit(trader.debit, 10)
    play.deposit(trader.credit, 10)
    for wallet in (trader.debit, trader.credit):
        assert code(delegate(wallet, 1)) == "DEBIT_WALLET_CANNOT_ADD_TRANSACTION"
    store.execute([trader.freeze()])
    (cancelled,) = store.execute([trader.cancel(0, 0)])
    assert isinstance(cancelled, StoredOrder)
    assert isinstance(delegate(trader.debit, 110), DelegatedWithdrawal)
    check_ledger()
