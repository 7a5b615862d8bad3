"""The store: what commands leave in the tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from ledger import engine, store
from ledger.accounts_sql import load_accounts
from ledger.engine import Refusal
from ledger.models import (
    Account,
    ActiveState,
    ChainStatus,
    DelegatedWithdrawal,
    Event,
    ExclusiveBalanceAllotment,
    MinimumAvailableBalance,
    Outbox,
    TokenCommitment,
    Transfer,
    Wallet,
)
from ledger.store import HubNotReadyError, StoredTransfer
from ledger.tests.checks import account_rows, balance, check_checkpoint, check_ledger, row_counts
from ledger.tests.test_flow import slash
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


def funded(play: Play, count: int, amount: int = 100) -> list[SimulatedWallet]:
    """Fresh wallets with a deposit each."""
    players = play.register(count)
    for player in players:
        play.deposit(player, amount)
    return players


def available(play: Play, player: SimulatedWallet, eon: int | None = None) -> int:
    return Account.objects.get(wallet=player.wallet_id, eon_number=eon or play.eon).available


def code(outcome: object) -> str:
    assert isinstance(outcome, Refusal)
    return outcome.code


def test_an_accepted_transfer_is_written_whole(play: Play) -> None:
    alice, bob = funded(play, 2)
    Outbox.objects.all().delete()
    outcome = play.pay(alice, bob, 30, marker=50)
    assert isinstance(outcome, StoredTransfer)
    row = Transfer.objects.get()
    state = ActiveState.objects.get()
    assert (row.pk, row.tx_id, row.time) == (outcome.id, outcome.tx_id, outcome.time)
    assert (row.wallet_id, row.recipient_id, row.amount) == (alice.wallet_id, bob.wallet_id, 30)
    assert (row.eon_number, row.position, row.nonce) == (1, 0, outcome.event.nonce)
    flags = (row.passive, row.processed, row.complete, row.appended, row.swap, row.cancelled, row.voided)
    assert flags == (True, True, True, True, False, False, False)
    assert row.sender_active_state_id == state.pk
    assert state.operator_signature == outcome.operator_signature
    assert (state.updated_spendings, state.updated_gains, state.tx_set_index) == (30, 0, 0)
    marker = MinimumAvailableBalance.objects.get()
    assert (marker.wallet_id, marker.eon_number, marker.amount) == (alice.wallet_id, 1, 50)
    assert marker.signature == outcome.event.marker_signature
    told = Outbox.objects.get()
    assert (told.event, told.object_id) == (Event.TRANSFER_CONFIRMATION, row.pk)
    assert (available(play, alice), available(play, bob)) == (70, 130)
    check_ledger()


def test_only_the_smallest_marker_of_an_eon_is_kept(play: Play) -> None:
    alice, bob = funded(play, 2)
    for marker in (60, 40, 50):
        outcome = play.pay(alice, bob, 1, marker=marker)
        assert isinstance(outcome, StoredTransfer)
    assert MinimumAvailableBalance.objects.get().amount == 40
    first, second = alice.transfer(bob.owner, 1, marker=30), alice.transfer(bob.owner, 1, marker=20)
    assert isinstance(store.execute([first])[0], StoredTransfer)
    assert code(store.execute([second])[0]) == "INVALID_DEBIT_SIGNATURE"
    assert MinimumAvailableBalance.objects.get().amount == 30


def test_one_refused_command_spoils_no_other(play: Play) -> None:
    alice, bob, carol = funded(play, 3)
    good, other = alice.transfer(bob.owner, 10), carol.transfer(bob.owner, 20)
    bad = bob.transfer(carol.owner, 1000)
    forged = replace(bob.transfer(carol.owner, 1), signature=alice.signer.sign(bytes(32)))
    outcomes = store.execute([bad, good, forged, other, good])
    assert [type(outcome) for outcome in outcomes] == [
        Refusal,
        StoredTransfer,
        Refusal,
        StoredTransfer,
        Refusal,
    ]
    assert [code(outcomes[index]) for index in (0, 2, 4)] == [
        "DEBIT_WALLET_OVERSPENDING",
        "INVALID_DEBIT_SIGNATURE",
        "unique",
    ]
    rows = [(row.wallet_id, row.position) for row in Transfer.objects.order_by("id")]
    assert rows == [(alice.wallet_id, 0), (carol.wallet_id, 10)]
    assert (available(play, bob), Account.objects.get(wallet=bob.wallet_id).spent) == (130, 0)
    check_ledger()


def test_several_transfers_of_one_sender_in_a_batch_build_on_each_other(play: Play) -> None:
    alice, bob, carol = funded(play, 3)
    first = alice.transfer(bob.owner, 10)
    alice.accepted(first, position=0)
    second = alice.transfer(carol.owner, 20)
    alice.accepted(second, position=0)
    third = alice.transfer(bob.owner, 70)
    outcomes = store.execute([first, second, third])
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes)
    assert available(play, alice) == 0
    check_ledger()


def test_refused_commands_leave_no_row(play: Play) -> None:
    alice, bob = funded(play, 2)
    accepted = alice.transfer(bob.owner, 1)
    store.execute([accepted])
    before = row_counts(), account_rows()
    stale = alice.transfer(bob.owner, 1)  # signed without the transfer above
    for command in (accepted, stale, bob.transfer(alice.owner, 102), bob.transfer(bob.owner, 0)):
        assert isinstance(store.execute([command])[0], Refusal)
    assert (row_counts(), account_rows()) == before


def test_an_empty_batch_is_nothing() -> None:
    assert store.execute([]) == []


def test_without_a_chain_there_is_no_eon(play: Play) -> None:
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)
    ChainStatus.objects.all().delete()
    with pytest.raises(HubNotReadyError):
        store.execute([command])


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("CHAIN_HALTED", {"halted": True, "forked": True}),
        ("CHAIN_FORKED", {"forked": True}),
        ("CHAIN_BEHIND", {"node_block": F("head_block") + 21}),
        ("CHAIN_BEHIND", {"progressed": timezone.now() - timedelta(seconds=301)}),
    ],
)
def test_nothing_new_is_accepted_while_the_chain_is_not_right(
    play: Play, reason: str, changes: dict[str, Any]
) -> None:
    alice, bob = funded(play, 2)
    ChainStatus.objects.update(**changes)
    assert code(play.pay(alice, bob, 1)) == reason
    play.deposit(alice, 5)  # what the chain did is a fact all the same
    ChainStatus.objects.update(halted=False, forked=False, node_block=None, progressed=timezone.now())
    assert isinstance(play.pay(alice, bob, 105), StoredTransfer)


def test_ordinary_lag_refuses_nothing(play: Play, settings: Any) -> None:
    alice, bob = funded(play, 2)
    ChainStatus.objects.update(
        node_block=F("head_block") + 20, progressed=timezone.now() - timedelta(seconds=290)
    )
    assert isinstance(play.pay(alice, bob, 1), StoredTransfer)
    settings.HUB_CHAIN_STALL_SECONDS = 0
    ChainStatus.objects.update(progressed=timezone.now() - timedelta(days=9))
    assert isinstance(play.pay(alice, bob, 1), StoredTransfer)


def test_pending_delegated_withdrawals_are_set_aside(play: Play) -> None:
    alice, bob = funded(play, 2)
    pending = DelegatedWithdrawal.objects.create(
        wallet_id=alice.wallet_id,
        amount=80,
        expiry_block=50,
        signature=bytes(65),
        time=play.config.time,
    )
    assert code(play.pay(alice, bob, 21)) == "DEBIT_WALLET_OVERSPENDING"
    assert isinstance(play.pay(alice, bob, 20), StoredTransfer)
    pending.state = DelegatedWithdrawal.State.FAILED
    pending.save()
    assert isinstance(play.pay(alice, bob, 80), StoredTransfer)


def test_a_deposit_before_the_registration_is_credited_with_it(play: Play) -> None:
    token = play.tokens[0]
    late = SimulatedWallet.create(play.contract, token.address)
    first, second = play.deposit(late, 40), play.deposit(late, 2)
    play.next_eon()
    (wallet,) = play.admit([late], token)
    assert available(play, late) == 42
    for deposit in (first, second):
        deposit.refresh_from_db()
        assert (deposit.wallet_id, deposit.eon_number) == (wallet.pk, 2)
    play.next_eon()
    check_checkpoint(2)
    check_checkpoint(3)
    assert ExclusiveBalanceAllotment.objects.get(wallet=wallet, eon_number=3).right == 42


def test_a_waiting_deposit_of_another_token_waits_on(play: Play) -> None:
    other = play.add_token(b"\x22" * 20, "Other", "OTH")
    both = SimulatedWallet.create(play.contract, play.tokens[0].address)
    elsewhere = SimulatedWallet(both.signer, play.contract, other.address)
    play.deposit(both, 5)
    waiting = play.deposit(elsewhere, 7)
    play.admit([both], play.tokens[0])
    waiting.refresh_from_db()
    assert waiting.wallet is None
    play.admit([elsewhere], other)
    assert (available(play, both), available(play, elsewhere)) == (5, 7)
    check_ledger()


def test_a_late_deposit_reaches_the_eon_that_is_open_already(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.enter_next_eon()
    assert isinstance(play.pay(alice, bob, 100), StoredTransfer)
    play.deposit(alice, 11, eon=1)
    assert (available(play, alice, 1), available(play, alice, 2)) == (111, 11)
    play.close_eon()
    check_checkpoint(2)
    assert isinstance(play.pay(alice, bob, 11), StoredTransfer)
    play.next_eon()
    check_checkpoint(3)
    check_ledger()


def test_a_late_deposit_opens_the_next_eon_for_a_wallet_without_any(play: Play) -> None:
    (alice,) = play.register(1)
    play.enter_next_eon()
    play.deposit(alice, 11, eon=1)
    assert (available(play, alice, 1), available(play, alice, 2)) == (11, 11)
    play.close_eon()
    assert check_checkpoint(2) == 2


def test_effects_on_two_eons_in_one_batch(play: Play) -> None:
    alice, _ = funded(play, 2)
    play.enter_next_eon()
    with transaction.atomic():
        store.run([engine.Deposit(alice.owner, 2, 5), engine.Deposit(alice.owner, 1, 7)])
    assert (available(play, alice, 1), available(play, alice, 2)) == (107, 112)


def test_an_effect_on_a_closed_eon_is_an_error_that_writes_nothing(play: Play) -> None:
    alice, _ = funded(play, 2)
    play.next_eon()
    before = row_counts(), account_rows()
    with pytest.raises(ValueError, match="the ledger of eon 1 is closed"):
        store.execute([engine.Deposit(alice.owner, 2, 1), engine.Deposit(alice.owner, 1, 1)])
    assert (row_counts(), account_rows()) == before


def test_the_eon_before_takes_no_transfer(play: Play) -> None:
    alice, bob = funded(play, 2)
    old = alice.transfer(bob.owner, 1)
    play.enter_next_eon()
    assert code(store.execute([old])[0]) == "EON_NUMBER_OUT_OF_SYNC"
    play.close_eon()
    assert code(store.execute([old])[0]) == "EON_NUMBER_OUT_OF_SYNC"


def test_transfers_go_on_between_the_eons_start_and_its_checkpoint(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.pay(alice, bob, 60)
    play.enter_next_eon()
    assert isinstance(play.pay(bob, alice, 160), StoredTransfer)
    assert code(play.pay(bob, alice, 1)) == "DEBIT_WALLET_OVERSPENDING"
    play.close_eon()
    check_checkpoint(2)
    assert isinstance(play.pay(alice, bob, 200), StoredTransfer)
    play.next_eon()
    check_checkpoint(3)
    check_ledger()


def test_a_wallet_without_activity_keeps_its_balance_for_eons(play: Play) -> None:
    alice, bob = funded(play, 2)
    for _ in range(4):
        play.next_eon()
    assert isinstance(play.pay(alice, bob, 100), StoredTransfer)
    assert code(play.pay(alice, bob, 1)) == "DEBIT_WALLET_OVERSPENDING"
    play.next_eon()
    check_checkpoint(play.eon)
    check_ledger()


def test_a_request_for_what_was_spent_is_owed_until_it_is_slashed(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    play.pay(alice, bob, 80, marker=20)
    request = play.request_withdrawal(alice, 100)
    assert available(play, alice) == -80
    assert code(play.pay(alice, bob, 0)) == "DEBIT_WALLET_OVERSPENDING"
    slash(request, play.eon)
    assert available(play, alice) == 20
    assert isinstance(play.pay(alice, bob, 20), StoredTransfer)
    play.next_eon()
    check_checkpoint(3)
    check_ledger()
    assert {w.pk: balance(w) for w in Wallet.objects.filter(pk__in=[alice.wallet_id, bob.wallet_id])} == {
        alice.wallet_id: 0,
        bob.wallet_id: 200,
    }


@pytest.mark.parametrize("touched", [False, True], ids=["", "with an account in the new eon"])
def test_a_debt_that_nothing_cancels_is_written_off_by_the_checkpoint(play: Play, touched: bool) -> None:
    """The contract knows no debts: from its view the wallet begins with the nothing it is allotted."""

    def opened(play: Play, player: SimulatedWallet) -> int:
        return load_accounts({player.wallet_id: player.owner}, [play.eon])[
            player.wallet_id, play.eon
        ].available

    alice, bob = funded(play, 2)
    play.next_eon()
    play.pay(alice, bob, 80)
    play.request_withdrawal(alice, 100)
    play.enter_next_eon()
    if touched:
        play.deposit(alice, 7)
        assert available(play, alice) == -73
    play.close_eon()
    assert opened(play, alice) == (7 if touched else 0)
    assert ExclusiveBalanceAllotment.objects.get(wallet=alice.wallet_id, eon_number=3).right == 0
    assert TokenCommitment.objects.get(root_commitment__eon_number=3, token=play.tokens[0]).shortfall == 80
    check_checkpoint(3)
    check_ledger()
    assert isinstance(play.pay(bob, alice, 5), StoredTransfer)
    play.next_eon()
    assert opened(play, alice) == (12 if touched else 5)
    assert TokenCommitment.objects.get(root_commitment__eon_number=4, token=play.tokens[0]).shortfall == 0
    check_checkpoint(4)
    check_ledger()


def test_a_request_slashed_in_its_own_eon(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    play.pay(alice, bob, 80, marker=20)
    slash(play.request_withdrawal(alice, 100), play.eon)
    assert available(play, alice) == 20
    play.next_eon()
    assert check_checkpoint(3) == 3
    check_ledger()


def test_a_late_request_for_what_was_spent_in_the_new_eon(play: Play) -> None:
    """Requested in the last block of an eon, spent in the first of the next, before the request is confirmed."""
    alice, bob = funded(play, 2)
    play.enter_next_eon()
    assert isinstance(play.pay(alice, bob, 100), StoredTransfer)
    request = play.request_withdrawal(alice, 60, eon=1)
    assert (available(play, alice, 1), available(play, alice, 2)) == (40, -60)
    play.close_eon()
    check_checkpoint(2)
    slash(request, play.eon)
    assert available(play, alice) == 0
    play.next_eon()
    check_checkpoint(3)
    check_ledger()
