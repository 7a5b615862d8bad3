"""Reorganisations at each depth up to the confirmations: what the abandoned blocks held never happened, what the
new branch holds happens once, and balances are right at each moment."""

from __future__ import annotations

import pytest
from django.db import models

from contractor import disputes, follower, withdrawals
from contractor.chain import contract
from contractor.models import EthereumTransaction, EthereumTransactionAttempt
from contractor.reorganisation import APPLIED, UNDONE
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.court import OPEN_ERA, challenger, check_won, live
from contractor.tests.court import settle as settle_disputes
from contractor.tests.test_sender import State, checkpoint
from contractor.tests.test_withdrawals import X, beat, deposited, request, settle
from ledger import models as ledger_models
from ledger.models import (
    Challenge,
    Deposit,
    Event,
    Outbox,
    Reorganisation,
    RootCommitment,
    Withdrawal,
    WithdrawalRequest,
)
from nocust.signatures import Signer

DEPTHS = pytest.mark.parametrize("depth", [1, 2, 3])
"""Blocks that a fork replaces; the confirmations are 3."""
ENDS = pytest.mark.parametrize("depth", [1, 3])
"""The least and the most of them, where the one between shows nothing new."""


def bury(hub: Hub, depth: int) -> None:
    """Mine what was sent, `depth` blocks deep with its own, a beat after each."""
    for _ in range(depth):
        hub.node.mine()
        beat(hub)


def fork(hub: Hub, depth: int) -> None:
    hub.node.reorganise(depth)
    beat(hub)
    assert hub.status.head_hash == contract().node.head().hash
    assert not hub.status.forked


def told(event: Event) -> list[int]:
    """What subscribers are told of, by row."""
    return list(Outbox.objects.filter(event=event).order_by("id").values_list("object_id", flat=True))


@DEPTHS
def test_a_deposit_is_undone_and_redone(hub: Hub, alice: Signer, depth: int) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    bury(hub, depth)
    assert hub.available(wallet) == 0
    fork(hub, depth)
    assert hub.available(wallet) == 0
    settle(hub, 4)
    assert hub.available(wallet) == 0
    assert not Deposit.objects.exists()
    assert not told(Event.CONFIRMED_DEPOSIT)
    hub.node.deposit(alice.address, 60)
    bury(hub, depth)
    assert hub.available(wallet) == 0
    settle(hub, 4 - depth)
    assert hub.available(wallet) == 60
    settle(hub, 3)
    assert hub.available(wallet) == 60
    assert told(Event.CONFIRMED_DEPOSIT) == [Deposit.objects.get().pk]
    noted = Reorganisation.objects.get()
    assert (noted.blocks, noted.deep) == (depth, False)


@ENDS
def test_a_deposit_that_moves_to_another_block_counts_once(hub: Hub, alice: Signer, depth: int) -> None:
    """The same transaction is mined again on the new branch."""
    wallet = hub.register(alice)
    txid = hub.node.deposit(alice.address, 50)
    bury(hub, depth)
    hub.node.reorganise(depth)
    assert hub.node.deposit(alice.address, 50) == txid  # same sender, nonce and call
    settle(hub, 4)
    assert hub.available(wallet) == 50
    assert Deposit.objects.get().txid == txid


@DEPTHS
def test_a_request_is_undone_and_redone(hub: Hub, alice: Signer, depth: int) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    bury(hub, depth)
    assert hub.available(wallet) == 100
    fork(hub, depth)
    settle(hub, 4)
    assert hub.available(wallet) == 100
    assert not WithdrawalRequest.objects.exists()
    assert not told(Event.REQUESTED_WITHDRAWAL)
    request(hub.node, wallet, 20, eon=3)
    bury(hub, depth)
    assert hub.available(wallet) == 100
    settle(hub, 4 - depth)
    assert hub.available(wallet) == 80
    assert WithdrawalRequest.objects.get().amount == 20
    assert told(Event.REQUESTED_WITHDRAWAL) == [WithdrawalRequest.objects.get().pk]


@DEPTHS
def test_a_payment_is_undone_and_redone(hub: Hub, alice: Signer, depth: int) -> None:
    """The operator's own transaction: the hub alone sees to it that it is mined again."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    hub.go_to(5, X)
    holdings = hub.node.balance(alice.address)
    withdrawals.confirm_due_withdrawals()
    beat(hub)
    bury(hub, depth)
    assert hub.node.balance(alice.address) == holdings + 30
    assert not Withdrawal.objects.exists()
    fork(hub, depth)
    assert not Withdrawal.objects.exists()
    assert not told(Event.CONFIRMED_WITHDRAWAL)
    settle(hub, 8)
    assert told(Event.CONFIRMED_WITHDRAWAL) == [Withdrawal.objects.get().pk]
    assert hub.node.balance(alice.address) == holdings + 30
    assert Withdrawal.objects.get().amount == 30
    rows = EthereumTransaction.objects.filter(kind="confirmWithdrawal")
    assert [row.state for row in rows] == [State.CONFIRMED]
    assert hub.available(wallet) == 70


@DEPTHS
def test_a_checkpoint_is_undone_and_redone(hub: Hub, alice: Signer, depth: int) -> None:
    wallet = deposited(hub, alice, 100)
    hub.node.mine_to_era(2, 3)
    beat(hub)
    root = RootCommitment.objects.get(eon_number=2).merkle_root
    bury(hub, depth)
    assert contract().checkpoint(2) == root
    fork(hub, depth)
    assert RootCommitment.objects.get(eon_number=2).merkle_root == root
    settle(hub, 6)
    assert contract().checkpoint(2) == root
    assert checkpoint(2).state == State.CONFIRMED
    assert hub.available(wallet) == 100
    assert not hub.status.halted
    # everybody was told, each once
    assert (
        told(Event.EON_STARTED)
        == told(Event.CHECKPOINT_CREATED)[-1:]
        == told(Event.CHECKPOINT_SUBMITTED)[-1:]
        == [2]
    )
    assert told(Event.REORGANISATION) == list(Reorganisation.objects.values_list("pk", flat=True)) != []


@DEPTHS
def test_a_challenge_is_undone_and_redone(hub: Hub, depth: int) -> None:
    player = challenger(hub)
    bury(hub, depth - 1)
    assert not Challenge.objects.exists()
    fork(hub, depth)
    assert live(hub, 4) == 0
    settle_disputes(hub, 2)
    assert not Challenge.objects.exists()
    assert player.challenge_state(3)
    settle_disputes(hub, 7)
    check_won(hub, 4, 1)


@DEPTHS
def test_an_answer_is_undone_and_redone(hub: Hub, depth: int) -> None:
    """It is won when the answer is as deep as the confirmations, not when it is mined."""
    challenger(hub)
    settle(hub, 3)
    disputes.step()
    beat(hub)  # the answer waits at the node
    bury(hub, depth)
    assert live(hub, 4) == 0
    hub.node.ask("anvil_rollback", depth)  # the time to answer is short: the new branch gets no empty blocks
    hub.node.ask("evm_increaseTime", hex(7))
    beat(hub)
    assert live(hub, 4) == 1
    assert not Challenge.objects.get().rebuted
    settle_disputes(hub, 6)
    assert Reorganisation.objects.exists()
    check_won(hub, 4, 1)


@DEPTHS
def test_a_cancellation_is_undone_and_redone(hub: Hub, depth: int) -> None:
    """The request was applied; its cancellation is dropped, and made again before the checkpoint counts it."""
    thief, victim = (Player.register(hub, signer(2000 + number)) for number in range(2))
    thief.deposit(100)
    hub.settle()
    hub.go_to(3, 9)
    thief.pay(victim, 80, marker=20)
    request(hub.node, thief.wallet, 90, eon=3)
    for _ in range(4):
        hub.node.mine()
        follower.step()
    assert hub.available(thief.wallet) == -70
    beat(hub)  # the cancellation waits at the node
    bury(hub, depth)
    assert not WithdrawalRequest.objects.get().slashed
    fork(hub, depth)
    assert not WithdrawalRequest.objects.get().slashed
    assert hub.available(thief.wallet) == -70
    settle(hub, 6)
    row = WithdrawalRequest.objects.get()
    assert (row.slashed, row.slashed_eon_number) == (True, 3)
    assert [hub.available(player.wallet) for player in (thief, victim)] == [20, 80]
    hub.go_to(4, 9)
    assert [hub.available(player.wallet) for player in (thief, victim)] == [20, 80]
    assert checkpoint(4).state == State.CONFIRMED
    rows = EthereumTransaction.objects.filter(kind="slashWithdrawal")
    assert [row.state for row in rows] == [State.CONFIRMED]


def test_many_forks_in_a_row(hub: Hub, alice: Signer, bob: Signer) -> None:
    """Each deposit is dropped twice before it stays."""
    wallets = [hub.register(alice), hub.register(bob)]
    expected = [0, 0]
    for turn in range(3):
        for depth in (3, 2):
            hub.node.deposit(wallets[turn % 2].address, 10 + turn)
            bury(hub, depth)
            fork(hub, depth)
            assert [hub.available(wallet) for wallet in wallets] == expected
        hub.node.deposit(wallets[turn % 2].address, 10 + turn)
        settle(hub, 4)
        expected[turn % 2] += 10 + turn
        assert [hub.available(wallet) for wallet in wallets] == expected
    assert Reorganisation.objects.count() == 6
    assert Deposit.objects.count() == 3


@DEPTHS
def test_what_was_accepted_stays_when_the_head_goes_back_across_an_eon_border(hub: Hub, depth: int) -> None:
    """The first blocks of eon 4 are abandoned after a wallet paid in it."""
    payer, payee = (Player.register(hub, signer(2000 + number)) for number in range(2))
    payer.deposit(100)
    hub.settle()
    hub.go_to(3, 23)
    hub.node.mine(depth)
    beat(hub)
    assert hub.status.eon == 4
    transfer = payer.pay(payee, 40)
    assert transfer.eon_number == 4
    hub.node.ask("anvil_rollback", depth)
    beat(hub)
    assert (hub.node.eon, hub.status.eon) == (3, 4)
    assert [hub.available(player.wallet) for player in (payer, payee)] == [60, 40]
    payer.pay(payee, 1)  # still in eon 4
    settle(hub, 7)
    assert hub.status.eon == 4
    assert checkpoint(4).state in (State.SENT, State.CONFIRMED)
    hub.go_to(5, OPEN_ERA)
    assert [hub.available(player.wallet) for player in (payer, payee)] == [59, 41]
    # the contract itself takes the proof of what was accepted
    assert payer.challenge_state(4, transfer.sender_active_state)
    assert payee.challenge_state(4)
    settle_disputes(hub, 7)
    check_won(hub, 5, 2)


def test_the_eon_of_a_deposit_is_that_of_the_block_it_ends_up_in(hub: Hub, alice: Signer) -> None:
    """Mined in the last block of eon 1, then, after a fork, in the first of eon 2."""
    wallet = hub.register(alice)
    hub.settle()
    hub.node.mine_to_era(1, 22)
    beat(hub)
    txid = hub.node.deposit(alice.address, 50)
    hub.node.mine()
    beat(hub)
    hub.node.reorganise(1)
    hub.node.ask("anvil_dropAllTransactions")
    beat(hub)
    assert hub.node.deposit(alice.address, 50) == txid
    settle(hub, 8)
    assert Deposit.objects.get().eon_number == 2
    assert hub.available(wallet) == 50
    hub.go_to(3, 8)
    assert hub.available(wallet) == 50


def test_every_table_that_derives_from_blocks_is_named() -> None:
    """What has a block's number and is not in the lists does not derive from the block that it names."""
    others = {
        "ContractParameters": {"genesis_block"},
        "ChainStatus": {"genesis_block", "head_block", "confirmed_block", "node_block"},  # the cursor itself
        "Reorganisation": {"first_block", "abandoned_hash", "head_hash"},
        "Token": {"block"},  # the head when it was registered here
        "RootCommitment": {"block"},  # the head when it was made, from applied events alone
        "DelegatedWithdrawal": {"expiry_block"},
        "EthereumTransactionAttempt": {"block"},  # the head when it was signed
    }
    named = {model: {column} for model, column in (UNDONE | APPLIED).items()}
    found: set[type[models.Model]] = set()
    for model in [
        *(getattr(ledger_models, name) for name in ledger_models.__all__),
        EthereumTransaction,
        *UNDONE,
    ]:
        if not isinstance(model, type) or not issubclass(model, models.Model) or model._meta.abstract:
            continue
        columns = {
            field.name
            for field in model._meta.concrete_fields
            if "block" in field.name and field.name not in {"blocks", "blocks_per_eon"}
        } - others.get(model.__name__, set())
        columns -= {"block_hash"}
        if columns or model in named:
            found.add(model)
        assert columns <= named.get(model, set()) | {"mined"}, f"{model.__name__}: {columns}"
    assert found == set(named)


def test_a_receipt_of_an_abandoned_block_is_forgotten(hub: Hub) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 3)
    beat(hub)
    bury(hub, 1)
    attempt = EthereumTransactionAttempt.objects.get(transaction=checkpoint(2))
    hub.node.mine()
    beat(hub)
    assert EthereumTransactionAttempt.objects.filter(pk=attempt.pk, mined__isnull=False).exists()
    hub.node.reorganise(2)
    follower.step()
    attempt.refresh_from_db()
    assert attempt.mined is None
    assert attempt.succeeded is None
