"""The transaction queue against a real node: restarts, refusals, reverts, lost nonces, stuck transactions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from contractor import attempts, sender
from contractor.builders import NotYetError, RefusedError, build
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.fees import Fee
from contractor.interface import Contract
from contractor.models import EthereumTransaction, EthereumTransactionAttempt
from contractor.tests.conftest import Hub
from contractor.transactions import queue, queue_again
from ledger.models import DelegatedWithdrawal, RootCommitment
from nocust.signatures import Signer

State = EthereumTransaction.State


def checkpoint(eon: int) -> EthereumTransaction:
    return EthereumTransaction.objects.get(tag=f"checkpoint/{eon}")


def hurry() -> None:
    """Let what waits for its next try be tried now."""
    EthereumTransaction.objects.update(retry_at=timezone.now())


def hopeless(hub: Hub, owner: Signer) -> EthereumTransaction:
    """A queued withdrawal whose authorisation is none, which the contract refuses."""
    withdrawal = DelegatedWithdrawal.objects.create(
        wallet=hub.register(owner),
        amount=1,
        expiry_block=hub.node.block + 1000,
        signature=b"\1" * 64 + b"\x1b",
        time=timezone.now(),
    )
    with transaction.atomic():
        return queue("requestDelegatedWithdrawal", {"delegated_withdrawal": withdrawal.pk}, tag="hopeless")


def test_checkpoints_are_made_submitted_and_confirmed(hub: Hub) -> None:
    hub.settle()
    assert checkpoint(1).state == State.CONFIRMED
    hub.go_to(3, 10)
    hub.settle()
    for eon in (1, 2, 3):
        assert checkpoint(eon).state == State.CONFIRMED
        assert contract().checkpoint(eon) == RootCommitment.objects.get(eon_number=eon).merkle_root
    assert not hub.status.halted


def test_a_checkpoint_waits_for_the_last_block_of_the_eon_before(hub: Hub) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 1)
    hub.beat()
    assert not RootCommitment.objects.filter(eon_number=2).exists()
    hub.node.mine()
    hub.beat()
    assert RootCommitment.objects.get(eon_number=2).block == hub.node.block


def test_the_same_tag_is_queued_once(hub: Hub) -> None:
    with transaction.atomic():
        first = queue("registerERC20", {"token": "11" * 20}, tag="x")
        assert queue("registerERC20", {"token": "22" * 20}, tag="x") == first
    assert EthereumTransaction.objects.get(tag="x").arguments == {"token": "11" * 20}
    with pytest.raises(ValueError, match="no transaction of kind"):
        queue("somethingElse", {}, tag="y")


@pytest.mark.django_db(transaction=True)
def test_queueing_needs_a_transaction() -> None:
    with pytest.raises(ValueError, match="atomic"):
        queue("registerERC20", {"token": "11" * 20}, tag="x")


def test_a_death_between_signing_and_sending_sends_the_same_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 3)
    monkeypatch.setattr(attempts, "send", lambda *_: None)
    hub.beat()
    (attempt,) = checkpoint(2).attempts.all()
    assert not contract().node.knows(attempt.hash)
    monkeypatch.undo()
    sender._watched = None  # as in a new process
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert checkpoint(2).attempts.get() == attempt


def test_sending_again_what_the_node_has_is_harmless(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    row = checkpoint(1)
    (attempt,) = row.attempts.all()
    attempts.send(contract(), row, attempt)
    hub.settle(2)
    attempts.send(contract(), row, attempt)
    assert "ALARM" not in caplog.text
    hub.settle()
    assert checkpoint(1).state == State.CONFIRMED


def test_a_checkpoint_whose_basis_changed_is_built_again(hub: Hub, alice: Signer) -> None:
    """A slash changes the accumulator of the eon before after the checkpoint was built (`spec/ledger.md` §19)."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    (first,) = checkpoint(2).attempts.all()
    # the same nonce with a wrong basis, as if the accumulator had changed after signing
    wrong = contract().submit_checkpoint(b"\7" * 32, RootCommitment.objects.get(eon_number=2).merkle_root)
    hub.node.ask("anvil_dropTransaction", "0x" + first.hash.hex())
    first.delete()
    row = checkpoint(2)
    assert row.nonce is not None
    with transaction.atomic():
        reverting = attempts.sign(row, row.nonce, wrong, 200_000, Fee(10**9, None), contract().node.head())
    attempts.send(contract(), row, reverting)
    hub.node.mine()
    hub.beat()
    assert contract().checkpoint(2) is None
    row = checkpoint(2)
    assert (row.state, row.nonce) == (State.SENT, reverting.nonce + 1)
    hub.settle(5)
    assert checkpoint(2).state == State.CONFIRMED
    assert contract().checkpoint(2) == RootCommitment.objects.get(eon_number=2).merkle_root


def test_a_checkpoint_of_an_eon_that_is_over_fails_with_an_alarm(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.settle()
    with transaction.atomic():
        queue("submitCheckpoint", {"eon": 1, "root": "07" * 32}, tag="checkpoint/late")
    hub.go_to(2, 8)
    row = EthereumTransaction.objects.get(tag="checkpoint/late")
    assert row.state == State.FAILED
    assert "ALARM transaction failed" in caplog.text
    assert checkpoint(2).state in {State.SENT, State.CONFIRMED}


def test_what_the_contract_refuses_holds_up_nothing(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.settle()
    hopeless(hub, alice)
    hub.node.mine_to_era(2, 3)
    hub.beat()
    for _ in range(sender.ALARM_REFUSALS):
        hurry()
        hub.settle(1)
    assert checkpoint(2).state == State.CONFIRMED
    row = EthereumTransaction.objects.get(tag="hopeless")
    assert (row.state, row.nonce) == (State.QUEUED, None)
    assert row.refusals >= sender.ALARM_REFUSALS
    assert "ALARM transaction held up" in caplog.text


def test_what_can_not_be_built_holds_up_nothing(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody expects, in a transaction that goes before others."""
    hub.settle()
    with transaction.atomic():
        queue("slashWithdrawal", {"wallet": 0, "oldest_eon": 1}, tag="slash/broken")
    hub.node.mine_to_era(2, 3)
    for _ in range(sender.ALARM_REFUSALS + 1):
        hurry()
        hub.settle(1)
    assert checkpoint(2).state in (State.SENT, State.CONFIRMED)
    assert "can't be built" in caplog.text


def registrations(count: int) -> list[EthereumTransaction]:
    """Transactions that can wait."""
    with transaction.atomic():
        return [queue("registerERC20", {"token": f"{n:040x}"}, tag=f"token/{n}") for n in range(1, count + 1)]


def test_what_can_wait_leaves_room_for_what_is_urgent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.settle()
    monkeypatch.setattr(sender, "IN_FLIGHT", 4)
    monkeypatch.setattr(attempts, "send", lambda *_: None)  # nothing is mined
    hub.node.mine_to_era(2, 1)
    registrations(4)
    for _ in range(3):
        hub.beat()
        hurry()
    assert EthereumTransaction.objects.filter(kind="registerERC20", state=State.SENT).count() == 2
    hub.node.mine_to_era(2, 3)
    hub.beat()
    assert checkpoint(2).state == State.SENT


def test_each_gets_its_turn(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is refused again and again stands behind those that were not tried."""
    hub.settle()
    monkeypatch.setattr(sender, "IN_FLIGHT", 2)  # one of them can wait
    refused, fine = registrations(2)
    now = timezone.now()

    def build_most(target: Contract, row: EthereumTransaction) -> bytes:
        if row.pk == refused.pk:
            raise RefusedError("no")
        return build(target, row)

    monkeypatch.setattr(sender, "build", build_most)
    EthereumTransaction.objects.filter(pk=refused.pk).update(retry_at=now - timedelta(seconds=1))
    EthereumTransaction.objects.filter(pk=fine.pk).update(retry_at=now - timedelta(seconds=2))
    sender.submit(contract(), contract().node.head())
    fine.refresh_from_db()
    assert fine.state == State.SENT


def test_many_of_a_kind_leave_the_others_their_turn(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Withdrawals that the contract refuses, of which users can have as many as they have wallets."""
    hub.settle()
    monkeypatch.setattr(sender, "IN_FLIGHT", 4)  # two of them can wait
    registrations(4)
    with transaction.atomic():
        fees = queue("claimFees", {}, tag="fees")

    def build_most(target: Contract, row: EthereumTransaction) -> bytes:
        if row.pk != fees.pk:
            raise RefusedError("no")
        return target.claim_fees()

    monkeypatch.setattr(sender, "build", build_most)
    for _ in range(3):
        hurry()
        sender.submit(contract(), contract().node.head())
    fees.refresh_from_db()
    assert fees.state == State.SENT


def test_what_has_to_wait_keeps_nothing_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancellations wait for the checkpoint, and the checkpoint for answers: whoever overdraws many wallets must
    not keep those from being sent."""
    hub.settle()
    monkeypatch.setattr(sender, "IN_FLIGHT", 4)
    with transaction.atomic():
        for number in range(8):
            queue("slashWithdrawal", {"wallet": number, "oldest_eon": 1}, tag=f"slash/{number}")
        answer = queue("answerChallenge", {"challenge": 1}, tag="answer/1/1")
    (other,) = registrations(1)

    def build_answers(target: Contract, row: EthereumTransaction) -> bytes:
        if row.kind == "slashWithdrawal":
            raise NotYetError("before the checkpoint is on chain")
        return build(target, row) if row.pk == other.pk else target.claim_fees()

    monkeypatch.setattr(sender, "build", build_answers)
    for _ in range(3):
        hurry()  # the beat takes as long as what waits
        sender.submit(contract(), contract().node.head())
    for row in (answer, other):
        row.refresh_from_db()
        assert row.state == State.SENT


def test_a_checkpoint_that_is_on_chain_counts_when_it_is_deep(hub: Hub) -> None:
    """It was thought to be lost, and is mined in a block that does not last."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    hub.settle(1)
    queue_again(checkpoint(2), "its nonce seemed to be taken")
    hub.beat()
    row = checkpoint(2)
    assert (row.state, row.nonce) == (State.QUEUED, None)
    assert "not deep enough" in row.note
    hub.node.reorganise(1)
    hub.node.ask("anvil_dropAllTransactions")
    assert contract().checkpoint(2) is None
    hurry()
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert contract().checkpoint(2) == RootCommitment.objects.get(eon_number=2).merkle_root


def test_a_dropped_transaction_is_sent_again(hub: Hub) -> None:
    """The node forgets what waits in its pool."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    (attempt,) = checkpoint(2).attempts.all()
    hub.node.ask("anvil_dropTransaction", "0x" + attempt.hash.hex())
    assert not contract().node.knows(attempt.hash)
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert checkpoint(2).attempts.get() == attempt


def test_an_abandoned_transaction_is_sent_again(hub: Hub) -> None:
    """A fork drops the block that held the checkpoint."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    hub.settle(1)
    attempt = EthereumTransactionAttempt.objects.get(transaction=checkpoint(2))
    assert contract().node.receipt(attempt.hash) is not None
    hub.node.reorganise(1)
    assert contract().node.receipt(attempt.hash) is None
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED


def test_a_node_that_dies_while_sending_is_recoverable(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 3)

    def die(*_: Any) -> None:
        raise NodeError("gone")

    monkeypatch.setattr(contract().node, "send", die)
    with pytest.raises(NodeError):
        hub.beat()
    monkeypatch.undo()
    assert checkpoint(2).state == State.SENT
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert checkpoint(2).attempts.count() == 1
