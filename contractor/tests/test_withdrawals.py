"""Withdrawals from the request to the payment, and the ones that are cancelled."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from auditor import render
from contractor import sender, slashing, withdrawals
from contractor.chain import chain
from contractor.models import EthereumTransaction
from contractor.tests.conftest import BLOCKS_PER_EON, DevelopmentNode, Hub
from contractor.transactions import queue
from heartbeat.tests.drill import Drill
from ledger import store
from ledger.directory import owner_of
from ledger.models import (
    Challenge,
    DelegatedWithdrawal,
    Event,
    ExclusiveBalanceAllotment,
    Outbox,
    RootCommitment,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.proofs import proofs
from ledger.sql import execute, fetch
from ledger.store import StoredTransfer
from nocust.addresses import to_checksum
from nocust.messages import withdrawal_authorization_hash
from nocust.signatures import Signer
from operator_api.simulation.wallets import SimulatedWallet
from transactor.services import delegate_withdrawal

X = BLOCKS_PER_EON // 3
FEE = 100_100 * 5 * 10**9


def request(node: DevelopmentNode, wallet: Wallet, amount: int, eon: int) -> None:
    """The owner's own request, with the proof of the checkpoint before `eon`, as the stock client makes it."""
    found: dict[str, Any] = render.proof(proofs([(wallet.pk, eon - 1)])[wallet.pk, eon - 1])
    call = node.contract.functions.requestWithdrawal(
        to_checksum(wallet.token.address),
        [found["active_state_checksum"], found["passive_checksum"]],
        found["trail"],
        found["allotment_chain"],
        found["membership_chain"],
        [int(value) for value in found["values"]],
        [
            [int(found["left"]), int(found["right"])],
            [int(found["passive_amount"]), int(found["passive_marker"])],
        ],
        amount,
    )
    node.send(wallet.address, call, value=FEE)


def deposited(hub: Hub, signer: Signer, amount: int) -> Wallet:
    wallet = hub.register(signer)
    hub.node.deposit(signer.address, amount)
    hub.settle()
    return wallet


def beat(hub: Hub) -> None:
    hub.beat()
    withdrawals.confirm_due_withdrawals()
    slashing.slash_overdrawn()
    sender.step()


def settle(hub: Hub, blocks: int = 5) -> None:
    for _ in range(blocks):
        hub.node.mine()
        EthereumTransaction.objects.update(retry_at=timezone.now())
        beat(hub)


def authorise(hub: Hub, wallet: Wallet, signer: Signer, amount: int, expiry: int) -> DelegatedWithdrawal:
    message = withdrawal_authorization_hash(
        bytes.fromhex(hub.node.contract.address[2:]), wallet.token.address, wallet.address, expiry, amount
    )
    made = delegate_withdrawal(owner_of(wallet), amount, expiry, signer.sign(message))
    assert isinstance(made, DelegatedWithdrawal), made
    return made


def test_a_request_is_debited_paid_at_maturity_and_told(hub: Hub, alice: Signer, operator: bytes) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    request(hub.node, wallet, 5, eon=3)
    settle(hub)
    assert hub.available(wallet) == 65
    first, second = WithdrawalRequest.objects.order_by("id")
    assert (first.amount, first.eon_number, first.wallet) == (30, 3, wallet)
    assert Outbox.objects.filter(event=Event.REQUESTED_WITHDRAWAL).count() == 2

    hub.go_to(4, 8)
    hub.go_to(5, X - 2)
    beat(hub)
    assert not EthereumTransaction.objects.filter(kind="confirmWithdrawal").exists()
    holdings = hub.node.balance(alice.address)
    settle(hub, 8)
    assert hub.node.balance(alice.address) == holdings + 35
    rows = Withdrawal.objects.order_by("id")
    assert [(row.request, row.amount, row.eon_number) for row in rows] == [(first, 30, 5), (second, 5, 5)]
    told = Outbox.objects.filter(event=Event.CONFIRMED_WITHDRAWAL)
    assert sorted(row.object_id for row in told) == sorted(row.pk for row in rows)
    sent = EthereumTransaction.objects.get(kind="confirmWithdrawal")
    assert sent.state == EthereumTransaction.State.CONFIRMED
    settle(hub, 3)
    assert EthereumTransaction.objects.filter(kind="confirmWithdrawal").count() == 1
    hub.go_to(6, 8)
    assert hub.available(wallet) == 65


def test_a_missed_window_is_made_up_for(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    hub.settle()
    hub.go_to(7, 7)  # nobody confirmed anything in eons 5 and 6
    settle(hub)
    assert Withdrawal.objects.get().amount == 30


def mature(hub: Hub, alice: Signer, eon: int, era: int) -> Wallet:
    """A wallet with a request of 30 that can be paid from era X of eon 5 on."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    hub.settle()
    hub.go_to(eon, era)
    return wallet


def payment() -> EthereumTransaction:
    return EthereumTransaction.objects.get(kind="confirmWithdrawal")


def pay_long_ago(wallet: Wallet, count: int) -> None:
    """Requests of the wallet in eon 1 that were paid in eon 3."""
    execute(
        "WITH made AS (INSERT INTO ledger_withdrawalrequest"
        " (txid, log_index, block, eon_number, amount, time, token_id, address, wallet_id, slashed)"
        " SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 0, 1, 1, 1, now(), %s, %s, %s, false"
        " FROM generate_series(1, %s) n RETURNING *)"
        " INSERT INTO ledger_withdrawal (txid, log_index, block, eon_number, amount, time, wallet_id, request_id)"
        " SELECT txid, 1, 1, 3, 1, now(), wallet_id, id FROM made",
        [wallet.token.pk, wallet.address, wallet.pk, count],
    )
    execute("ANALYZE ledger_withdrawalrequest, ledger_withdrawal")


def rows_read(plan: dict[str, Any]) -> float:
    """Rows of requests and payments that a plan looked at."""
    read = 0.0
    if plan.get("Relation Name", "").startswith("ledger_withdrawal"):
        read = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return read + sum(rows_read(part) for part in plan.get("Plans", ()))


def test_what_was_paid_is_not_read_to_find_what_is_due(hub: Hub, alice: Signer) -> None:
    wallet = mature(hub, alice, 5, X)
    pay_long_ago(wallet, 2000)
    with CaptureQueriesContext(connection) as queries:
        assert withdrawals.confirm_due_withdrawals() == 1
    (statement,) = [row["sql"] for row in queries if "ledger_withdrawalrequest" in row["sql"]]
    (([found],),) = fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
    assert rows_read(found["Plan"]) == 1, found


def test_a_payment_that_is_reverted_is_made_again(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mature(hub, alice, 5, X)
    holdings = hub.node.balance(alice.address)
    assert withdrawals.confirm_due_withdrawals() == 1
    with monkeypatch.context() as patch:
        patch.setattr(chain().node, "estimate_gas", lambda *_: 30_000)  # it runs out of gas
        hub.beat()
    hub.settle(3)
    assert payment().state == EthereumTransaction.State.SENT  # a fork may still change that
    hub.settle(1)
    assert payment().state == EthereumTransaction.State.FAILED
    assert "ALARM transaction failed" in caplog.text
    assert hub.node.balance(alice.address) == holdings
    before = timezone.now()
    assert withdrawals.confirm_due_withdrawals() == 1
    assert withdrawals.confirm_due_withdrawals() == 0
    row = payment()
    assert row.state == EthereumTransaction.State.QUEUED
    assert 55 < (row.retry_at - before).total_seconds() < 65
    settle(hub)
    assert payment().state == EthereumTransaction.State.CONFIRMED
    assert hub.node.balance(alice.address) == holdings + 30
    assert Withdrawal.objects.get().amount == 30
    settle(hub, 2)
    assert payment().attempts.count() == 2


def test_a_payment_that_is_mined_and_pays_nothing_is_made_again(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a fork puts it into another block than the one it was made for."""
    wallet = mature(hub, alice, 4, X)
    newest = WithdrawalRequest.objects.get().pk
    tag = f"confirm-withdrawal/{wallet.token.address.hex()}/{alice.address.hex()}/{newest}"
    arguments = {
        "token": wallet.token.address.hex(),
        "holder": alice.address.hex(),
        "newest_request": newest,
    }
    with transaction.atomic():
        queue("confirmWithdrawal", arguments, tag=tag)
    with monkeypatch.context() as patch:
        patch.setattr(type(chain()), "payable_now", lambda *_: 30)
        hub.beat()
    hub.settle(4)
    assert payment().state == EthereumTransaction.State.CONFIRMED
    assert not Withdrawal.objects.exists()
    hub.go_to(5, X)
    settle(hub, 7)
    assert Withdrawal.objects.get().amount == 30


def test_payments_that_fail_are_made_again_less_and_less_often() -> None:
    waits = [withdrawals.retry_seconds(mined) for mined in range(100)]
    assert waits[:4] == [0, 60, 120, 240]
    assert waits == sorted(waits)
    assert waits[-1] == 86_400
    assert sum(waits[:20]) > 7 * 86_400


def test_a_payment_confirmed_by_the_owner_needs_no_second(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    hub.settle()
    hub.go_to(5, X + 1)
    holder = to_checksum(alice.address)
    hub.node.send(
        alice.address, hub.node.contract.functions.confirmWithdrawal(hub.node.contract.address, holder)
    )
    settle(hub, 6)
    assert Withdrawal.objects.get().amount == 30
    states = set(EthereumTransaction.objects.filter(kind="confirmWithdrawal").values_list("state", flat=True))
    assert states <= {"superseded", "confirmed", "sent"}
    hub.go_to(6, 9)
    assert hub.available(wallet) == 70


def test_a_delegated_withdrawal_end_to_end(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(2, 7)
    made = authorise(hub, wallet, alice, 40, expiry=hub.node.block + 15)
    settle(hub, 6)
    made.refresh_from_db()
    request_row = WithdrawalRequest.objects.get()
    assert (made.state, made.request) == (DelegatedWithdrawal.State.REQUESTED, request_row)
    assert (request_row.amount, request_row.eon_number) == (40, 2)
    assert hub.available(wallet) == 60
    hub.go_to(4, X)
    settle(hub, 6)
    assert Withdrawal.objects.get().amount == 40


def test_an_expired_delegated_withdrawal_fails_and_frees_its_funds(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(2, 7)
    made = authorise(hub, wallet, alice, 40, expiry=hub.node.block + 5)
    hub.node.mine(5)  # the hub was down
    beat(hub)
    made.refresh_from_db()
    assert made.state == DelegatedWithdrawal.State.FAILED
    sent = EthereumTransaction.objects.get(kind="requestDelegatedWithdrawal")
    assert sent.state == EthereumTransaction.State.FAILED
    assert hub.available(wallet) == 100


def test_an_overdrawn_request_is_cancelled_and_the_next_checkpoint_stands(
    hub: Hub, alice: Signer, bob: Signer
) -> None:
    """The owner withdraws what it has already spent; its own balance marker gives the money away."""
    wallet = deposited(hub, alice, 100)
    other = hub.register(bob)
    contract = wallet.token.address
    spender = SimulatedWallet(alice, contract, contract)
    hub.go_to(3, 9)
    spender.wallet_id, spender.trail = wallet.pk, wallet.trail_identifier
    spender.enter(3)
    outcome = store.execute([spender.transfer(owner_of(other), 80, marker=20)])
    assert isinstance(outcome[0], StoredTransfer), outcome
    # in the last block of the eon, so that it is cancelled after the accumulator was closed
    hub.node.mine_to_era(3, 22)
    beat(hub)
    request(hub.node, wallet, 90, eon=3)
    hub.node.mine()
    beat(hub)
    settle(hub, 3)
    assert hub.available(wallet) == -70
    assert not RootCommitment.objects.filter(eon_number=4).exists()  # it waits for the cancellation
    settle(hub, 10)
    cancelled = WithdrawalRequest.objects.get()
    assert (cancelled.slashed, cancelled.slashed_eon_number) == (True, 3)
    assert hub.available(wallet) == 20
    assert hub.available(other) == 80
    allotment = ExclusiveBalanceAllotment.objects.get(wallet=wallet, eon_number=4)
    assert allotment.right - allotment.left == 20
    submitted = EthereumTransaction.objects.get(tag="checkpoint/4")
    assert submitted.state == EthereumTransaction.State.CONFIRMED
    hub.go_to(5, 9)
    settle(hub)
    assert not hub.status.halted
    submitted = EthereumTransaction.objects.get(tag="checkpoint/5")
    assert submitted.state == EthereumTransaction.State.CONFIRMED
    assert not Withdrawal.objects.exists()


def test_an_overdrawn_request_of_the_same_eon_is_cancelled(hub: Hub, alice: Signer, bob: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    other = hub.register(bob)
    hub.go_to(3, 9)
    spender = SimulatedWallet(alice, wallet.token.address, wallet.token.address)
    spender.wallet_id, spender.trail = wallet.pk, wallet.trail_identifier
    spender.enter(3)
    store.execute([spender.transfer(owner_of(other), 80, marker=20)])
    request(hub.node, wallet, 90, eon=3)
    settle(hub, 10)
    cancelled = WithdrawalRequest.objects.get()
    assert (cancelled.slashed, cancelled.slashed_eon_number) == (True, 3)
    assert hub.available(wallet) == 20
    hub.go_to(4, 9)
    assert hub.available(wallet) == 20


def test_a_cancellation_that_is_reverted_is_made_again(
    hub: Hub, alice: Signer, bob: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = deposited(hub, alice, 100)
    other = hub.register(bob)
    hub.go_to(3, 9)
    spender = SimulatedWallet(alice, wallet.token.address, wallet.token.address)
    spender.wallet_id, spender.trail = wallet.pk, wallet.trail_identifier
    spender.enter(3)
    store.execute([spender.transfer(owner_of(other), 80, marker=20)])
    request(hub.node, wallet, 90, eon=3)
    with monkeypatch.context() as patch:
        patch.setattr(chain().node, "estimate_gas", lambda *_: 30_000)  # it runs out of gas
        settle(hub, 5)
    row = EthereumTransaction.objects.get(kind="slashWithdrawal")
    assert row.state == EthereumTransaction.State.SENT
    settle(hub, 8)
    row.refresh_from_db()
    assert row.state == EthereumTransaction.State.CONFIRMED
    assert row.attempts.filter(succeeded=False).count() == 1
    assert WithdrawalRequest.objects.get().slashed
    assert hub.available(wallet) == 20
    hub.go_to(4, 9)
    assert not hub.status.halted


def test_a_cancellation_that_the_contract_refuses_delays_no_checkpoint(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.node.mine_to_era(2, 0)
    with transaction.atomic():
        queue(
            "slashWithdrawal",
            {"wallet": wallet.pk, "oldest_eon": 1},
            tag="slash/refused",
        )
    beat(hub)
    settle(hub, 7)
    assert RootCommitment.objects.filter(eon_number=2).exists()


@pytest.mark.alarm("challenge")
def test_a_challenge_is_recorded_and_raised(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 9)
    found: dict[str, Any] = render.proof(proofs([(wallet.pk, 2)])[wallet.pk, 2])
    call = hub.node.contract.functions.challengeStateUpdateWithProofOfExclusiveBalanceAllotment(
        hub.node.contract.address,
        [found["active_state_checksum"], found["passive_checksum"]],
        found["trail"],
        found["allotment_chain"],
        found["membership_chain"],
        [int(value) for value in found["values"]],
        [[int(found["left"]), int(found["right"])], [0, 0], [0, 0]],
        [b"\0" * 32] * 3,
        0,
    )
    hub.node.send(alice.address, call, value=10**17)
    hub.settle(5)
    challenge = Challenge.objects.get()
    assert (challenge.sender, challenge.recipient, challenge.rebuted) == (alice.address, alice.address, False)
    assert challenge.eon_number == 3
    assert "to be answered by block" in drill.raised("challenge")
    drill.passes("challenge", lambda: settle(hub, 1))


@pytest.mark.alarm("foreign checkpoint")
def test_a_checkpoint_that_is_not_ours_is_an_alarm(
    hub: Hub, operator: bytes, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 1)
    hub.node.send(
        operator,
        hub.node.contract.functions.submitCheckpoint(
            hub.node.contract.functions.getParentChainAccumulatorAtSlot(1).call(), b"\5" * 32
        ),
    )
    settle(hub, 8)
    assert RootCommitment.objects.filter(eon_number=2).exists()
    drill.raised("foreign checkpoint")
    drill.passes("foreign checkpoint", lambda: settle(hub, 1))
    assert EthereumTransaction.objects.get(tag="checkpoint/2").state == EthereumTransaction.State.FAILED
