"""The last line: what PostgreSQL refuses, whatever the code above it does."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from ledger.models import (
    Account,
    ActiveState,
    ChainStatus,
    DelegatedWithdrawal,
    Deposit,
    ExclusiveBalanceAllotment,
    MinimumAvailableBalance,
    RootCommitment,
    Token,
    TokenCommitment,
    Transfer,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.sql import execute
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def pair(play: Play) -> list[SimulatedWallet]:
    """Two wallets, the first of which paid the second 30 of its 100."""
    players = funded(play, 2)
    play.pay(players[0], players[1], 30, marker=5)
    return players


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(IntegrityError, match=message), transaction.atomic():
        yield


def account(player: SimulatedWallet) -> Any:
    return Account.objects.filter(wallet=player.wallet_id)


@pytest.mark.parametrize("counter", ["spent", "received", "deposited", "set_size", "gained"])
def test_counters_of_an_account_never_fall(play: Play, pair: list[SimulatedWallet], counter: str) -> None:
    if counter == "gained":
        Account.objects.update(gained=1)
    owner = pair[1] if counter == "received" else pair[0]
    if counter == "set_size":
        play.pay(pair[0], pair[1], 0)
    value = account(owner).values_list(counter, flat=True).get()
    assert value > 0
    with refused("never fall"):
        account(owner).update(**{counter: value - 1})


def test_an_account_is_never_overspent(pair: list[SimulatedWallet]) -> None:
    account(pair[0]).update(spent=100)
    with refused("account_never_overspent"):
        account(pair[0]).update(spent=101)
    with refused("account_never_overspent"):
        account(pair[1]).update(spent=131)
    with refused("account_never_overspent"):
        Account.objects.create(wallet_id=pair[1].wallet_id, eon_number=2, opening=5, spent=6)
    with refused("account_never_overspent"):
        account(pair[1]).update(withdrawn=10, spent=121)


def test_the_chain_may_take_what_is_spent_already(pair: list[SimulatedWallet]) -> None:
    account(pair[0]).update(spent=100)
    account(pair[0]).update(withdrawn=7)
    account(pair[0]).update(withdrawn=0, opening=-8)


@pytest.mark.parametrize("field", ["deposited", "spent", "gained", "received", "set_size", "passive_marker"])
def test_an_account_has_no_negative_counter(play: Play, field: str) -> None:
    (player,) = play.register(1)
    with refused("account_non_negative|account_never_overspent"):
        Account.objects.create(wallet_id=player.wallet_id, eon_number=1, **{"opening": 0, field: -1})


def test_a_wallet_has_one_account_an_eon(pair: list[SimulatedWallet]) -> None:
    with refused("account_eon_wallet"):
        Account.objects.create(wallet_id=pair[0].wallet_id, eon_number=1, opening=0)


def test_a_closed_eon_stays_as_it_is(play: Play, pair: list[SimulatedWallet]) -> None:
    play.next_eon()
    with refused("eon 1 is closed"):
        account(pair[0]).filter(eon_number=1).update(received=1)
    (fresh,) = play.register(1)
    with refused("eon 1 is closed"):
        Account.objects.create(wallet_id=fresh.wallet_id, eon_number=1, opening=0)
    Account.objects.create(wallet_id=fresh.wallet_id, eon_number=2, opening=0)


def clone(row: Any, **changes: Any) -> None:
    row.pk = None
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(force_insert=True)


def copy_of(row: Any, **changes: Any) -> Any:
    """A new row like this one but for the changes."""
    clone(row, **changes)
    return type(row).objects.get(pk=row.pk)


def test_a_transfer_stays_within_its_token(play: Play, pair: list[SimulatedWallet]) -> None:
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    (stranger,) = play.register(1, token)
    with refused("stays within its token"):
        clone(Transfer.objects.get(), recipient_id=stranger.wallet_id, nonce=1)
    with refused("stays within its token"):
        clone(Transfer.objects.get(), wallet_id=stranger.wallet_id, nonce=1)


def test_a_transfer_is_identified_by_sender_eon_and_nonce(pair: list[SimulatedWallet]) -> None:
    with refused("transfer_wallet_eon_nonce"):
        clone(Transfer.objects.get())


@pytest.mark.parametrize("change", [{"amount": -1, "nonce": 1}, {"nonce": -1}])
def test_a_transfer_has_no_negative_numbers(pair: list[SimulatedWallet], change: dict[str, int]) -> None:
    with refused("transfer_non_negative"):
        clone(Transfer.objects.get(), **change)


def test_a_complete_transfer_is_processed(pair: list[SimulatedWallet]) -> None:
    with refused("transfer_complete_is_processed"):
        Transfer.objects.update(processed=False)


@pytest.mark.parametrize("field", ["updated_spendings", "updated_gains", "tx_set_index"])
def test_an_active_state_has_no_negative_numbers(pair: list[SimulatedWallet], field: str) -> None:
    with refused("active_state_non_negative"):
        ActiveState.objects.update(**{field: -1})


def test_a_wallet_has_one_marker_an_eon(pair: list[SimulatedWallet]) -> None:
    with refused("minimum_available_balance_wallet_eon"):
        clone(MinimumAvailableBalance.objects.get())
    with refused("minimum_available_balance_non_negative"):
        MinimumAvailableBalance.objects.update(amount=-1)


def test_wallets_are_unique_by_address_and_by_trail(play: Play, pair: list[SimulatedWallet]) -> None:
    wallet = Wallet.objects.get(pk=pair[0].wallet_id)
    with refused("wallet_address_token"):
        clone(wallet, trail_identifier=99)
    with refused("wallet_token_trail"):
        clone(wallet, address=b"\x01" * 20, trail_identifier=pair[0].trail)
    with refused("wallet_non_negative"):
        clone(wallet, address=b"\x01" * 20, trail_identifier=-1)
    with refused("a wallet has no token"):
        clone(Wallet.objects.get(pk=pair[0].wallet_id), address=b"\x01" * 20, token_id=10**6)


def test_tokens_are_unique_by_address_and_by_trail(play: Play) -> None:
    values = {"name": "x", "short_name": "x", "block": 0}
    with refused("address"):
        Token.objects.create(address=play.tokens[0].address, trail=5, **values)
    with refused("trail"):
        Token.objects.create(address=b"\x01" * 20, trail=0, **values)


@pytest.mark.parametrize("model", [Deposit, WithdrawalRequest])
def test_an_event_of_the_chain_is_applied_once(play: Play, model: Any) -> None:
    (player,) = play.register(1)
    values = {
        "txid": secrets.token_bytes(32),
        "block": 1,
        "eon_number": 1,
        "time": timezone.now(),
        "token": play.tokens[0],
        "address": player.address,
    }
    model.objects.create(**values, log_index=0, amount=5)
    model.objects.create(**values, log_index=1, amount=5)
    with refused("event"):
        model.objects.create(**values, log_index=0, amount=5)
    with refused("non_negative"):
        model.objects.create(**values, log_index=2, amount=-1)


def test_a_slashed_request_names_its_eon(play: Play) -> None:
    (player,) = funded(play, 1)
    request = play.request_withdrawal(player, 1)
    with refused("slashed_in_an_eon"):
        WithdrawalRequest.objects.filter(pk=request.pk).update(slashed=True)
    with refused("slashed_in_an_eon"):
        WithdrawalRequest.objects.filter(pk=request.pk).update(slashed_eon_number=1)


def test_a_delegation_serves_once(play: Play) -> None:
    (player,) = play.register(1)
    values = {
        "wallet_id": player.wallet_id,
        "amount": 1,
        "expiry_block": 9,
        "signature": bytes(65),
        "time": timezone.now(),
    }
    DelegatedWithdrawal.objects.create(**values)
    with refused("delegated_withdrawal_once"):
        DelegatedWithdrawal.objects.create(**values)


def test_checkpoints_are_unique_and_their_intervals_ordered(play: Play, pair: list[SimulatedWallet]) -> None:
    play.next_eon()
    with refused("eon_number"):
        clone(RootCommitment.objects.get(eon_number=2))
    rows = ExclusiveBalanceAllotment.objects.filter(wallet=pair[0].wallet_id)
    with refused("allotment_interval"):
        rows.update(left=71, right=70)
    with refused("allotment_interval"):
        rows.update(left=-1)
    with refused("allotment_eon_wallet"):
        clone(rows.get())
    with refused("token_commitment_bounds"):
        TokenCommitment.objects.update(upper_bound=1, wallet_upper_bound=2)


def test_allotments_have_their_wallets_and_states(play: Play, pair: list[SimulatedWallet]) -> None:
    payer, _ = pair
    play.next_eon()
    (late,) = play.register(1)
    row = ExclusiveBalanceAllotment.objects.get(wallet=payer.wallet_id)
    state = ActiveState.objects.get(wallet=payer.wallet_id)
    assert row.active_state == state
    with refused("has no wallet"):
        clone(row, wallet_id=10**6, active_state=None)
    with refused("not of its wallet"):
        clone(row, wallet_id=late.wallet_id, active_state=state)
    with refused("not of its wallet"):
        clone(row, wallet_id=payer.wallet_id, active_state=state, eon_number=9)


def test_what_rows_name_stays(play: Play, pair: list[SimulatedWallet]) -> None:
    state = ActiveState.objects.get()
    for table, key, column in (
        ("ledger_activestate", state.pk, "wallet_id"),
        ("ledger_activestate", state.pk, "eon_number"),
        ("ledger_wallet", pair[1].wallet_id, "token_id"),
    ):
        with refused("stays as it is"):
            execute(f"DELETE FROM {table} WHERE id = %s", [key])  # noqa: S608
        for changed in ("id", column):
            with refused("stays as it is"):
                execute(f"UPDATE {table} SET {changed} = {changed} + 1000 WHERE id = %s", [key])  # noqa: S608
    for statement in ("DELETE FROM ledger_token", "UPDATE ledger_token SET id = id + 1000"):
        with refused("stays as it is"):
            execute(statement)


STATES_OF_ORDERS = (
    ("recipient_active_state", False),
    ("recipient_fulfillment_active_state", False),
    ("recipient_finalization_active_state", True),
    ("recipient_cancellation_active_state", True),
    ("sender_cancellation_active_state", True),
)
"""The columns of states beside the first, and whether they are filled in later."""


def test_rows_have_their_wallets_and_states(play: Play, pair: list[SimulatedWallet]) -> None:
    payer, paid = pair
    row = Transfer.objects.get()
    strange, gone = copy_of(row.sender_active_state, wallet_id=paid.wallet_id), 10**6
    late = copy_of(row.sender_active_state, eon_number=2)
    with refused("a state has no wallet"):
        clone(row.sender_active_state, wallet_id=gone)
    for wallet in ("wallet_id", "recipient_id"):
        with refused("a transfer has no wallet"):
            clone(Transfer.objects.get(), nonce=1, **{wallet: gone})
    for state in (strange.pk, late.pk, gone):
        with refused("a transfer names a state"):
            clone(Transfer.objects.get(), nonce=1, sender_active_state_id=state)
        with refused("an account names a state"):
            account(payer).update(active_state_id=state)
        with refused("an account names a state"):
            Account.objects.create(wallet_id=paid.wallet_id, eon_number=3, opening=0, active_state_id=state)
    fixed = ["wallet_id", "recipient_id", "eon_number", "sender_active_state_id"]
    for name, filled_in_later in STATES_OF_ORDERS:
        wrong = strange.pk if name.startswith("sender") else row.sender_active_state_id
        for state in (wrong, late.pk, gone):
            with refused("a transfer names a state"):
                clone(Transfer.objects.get(), nonce=1, **{f"{name}_id": state})
            if filled_in_later:
                with refused("a transfer names a state"):
                    Transfer.objects.update(**{f"{name}_id": state})
        if not filled_in_later:
            fixed.append(f"{name}_id")
    for column in fixed:
        with refused("stays as it is"):
            Transfer.objects.update(**{column: 10**6})
    Transfer.objects.update(recipient_cancellation_active_state_id=strange.pk)


def test_there_is_one_chain_status(play: Play) -> None:
    with refused("chain_status_single_row"):
        clone(ChainStatus.objects.get(), id=2)
    with refused("chain_status_blocks_per_eon"):
        ChainStatus.objects.update(blocks_per_eon=0)


def test_values_of_another_length_are_not_stored(play: Play) -> None:
    (player,) = play.register(1)
    for field, value in {
        "address": bytes(19),
        "registration_authorization": bytes(64),
        "registration_operator_authorization": bytes(66),
    }.items():
        wallet = Wallet.objects.get(pk=player.wallet_id)
        setattr(wallet, field, value)
        with pytest.raises(ValueError, match="bytes, got"), transaction.atomic():
            wallet.save()


def test_amounts_have_at_most_78_digits(play: Play) -> None:
    (player,) = play.register(1)
    with pytest.raises(DataError), transaction.atomic():
        Account.objects.create(wallet_id=player.wallet_id, eon_number=1, opening=10**78)
    row = Account.objects.create(wallet_id=player.wallet_id, eon_number=1, opening=2**256 - 1)
    row.refresh_from_db()
    assert row.opening == 2**256 - 1


def test_a_request_knows_whether_it_is_paid(play: Play, pair: list[SimulatedWallet]) -> None:
    requests = [play.request_withdrawal(pair[0], amount) for amount in (3, 2, 1)]
    for request in requests[:2]:
        Withdrawal.objects.create(
            **play._event(1), wallet=request.wallet, request=request, amount=request.amount
        )

    def paid() -> list[int]:
        rows = WithdrawalRequest.objects.filter(paid=True)
        return sorted(int(amount) for amount in rows.values_list("amount", flat=True))

    assert paid() == [2, 3]
    Withdrawal.objects.filter(request=requests[0]).delete()
    assert paid() == [2]
