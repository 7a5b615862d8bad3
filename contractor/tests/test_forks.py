"""Forks deeper than the confirmations: the hub stops, and an operator's command lets it go on."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from contractor import chain, checkpoints, disputes, follower, sender, withdrawals
from contractor.chain import contract
from contractor.errors import ForkTooDeepError
from contractor.forks import compare
from contractor.models import EthereumTransaction
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.court import EPOCH, challenger, check_won, live
from contractor.tests.court import settle as settle_disputes
from contractor.tests.proxy import Proxy
from contractor.tests.test_sender import checkpoint
from contractor.tests.test_withdrawals import X, deposited, request, settle
from contractor.transactions import queue
from ledger import store
from ledger.models import ChainStatus, Challenge, Deposit, Reorganisation, Withdrawal, WithdrawalRequest
from nocust.addresses import to_checksum
from nocust.signatures import Signer
from operator_api.error_codes import ErrorCode
from operator_api.models import OperatorAction

State = EthereumTransaction.State
REASON = "the branch is final"


def fork(hub: Hub, depth: int) -> None:
    """A deep fork that the hub notices."""
    hub.node.reorganise(depth)
    hub.node.mine()
    with pytest.raises(ForkTooDeepError):
        follower.step()
    assert store.stopped(hub.status) == ErrorCode.CHAIN_FORKED


def resolve(*arguments: str) -> str:
    out = StringIO()
    call_command("resolve_fork", *arguments, reason=REASON, stdout=out)
    return out.getvalue()


def test_a_deposit_that_is_mined_again_is_credited_once(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle(6)
    fork(hub, 6)
    with pytest.raises(CommandError, match="deposit of 50 of ETH"):
        resolve("--apply")
    assert ChainStatus.objects.filter(forked=True).exists()
    hub.node.deposit(alice.address, 50)
    hub.node.deposit(alice.address, 7)
    hub.node.mine(4)
    text = resolve()
    assert "1 rows move to block" in text
    assert "with --apply" in text
    with pytest.raises(CommandError, match="say why"):
        call_command("resolve_fork", "--apply", stdout=StringIO())
    assert ChainStatus.objects.filter(forked=True).exists()
    assert not OperatorAction.objects.exists()
    applied = hub.status.confirmed_block
    assert "resolved" in resolve("--apply")
    note = OperatorAction.objects.get()
    assert (note.action, note.reason) == ("resolve fork", REASON)
    assert note.subject == f"blocks {hub.status.confirmed_block + 1} to {applied}"
    assert note.who.startswith("manage.py by ")
    hub.settle(1)
    assert not hub.status.forked
    assert store.stopped(hub.status) is None
    assert hub.available(wallet) == 57
    assert sorted(row.amount for row in Deposit.objects.all()) == [7, 50]
    for row in Deposit.objects.all():
        receipt = hub.node.web3.eth.get_transaction_receipt("0x" + row.txid.hex())
        assert receipt["blockNumber"] == row.block
    assert Reorganisation.objects.get(deep=True).blocks > 3
    hub.go_to(3, 8)
    assert hub.available(wallet) == 57
    assert "has not forked" in resolve()


def test_branches_are_compared_by_their_own_logs(hub: Hub, liar: Proxy, alice: Signer) -> None:
    """The node is on another one while it is asked for those of many blocks."""
    hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle(6)
    fork(hub, 6)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    honest = resolve()
    assert "1 rows move to block" in honest
    liar.fault = lambda method, parameters, answer: (
        [] if method == "eth_getLogs" and "fromBlock" in parameters[0] else answer
    )
    assert resolve() == honest


def test_deposits_that_changed_places_are_told_apart(hub: Hub, alice: Signer, bob: Signer) -> None:
    wallet, other = hub.register(alice), hub.register(bob)
    hub.node.deposit(alice.address, 5)
    hub.node.deposit(bob.address, 5)
    hub.node.deposit(alice.address, 5)
    hub.settle(6)
    fork(hub, 6)
    hub.node.deposit(bob.address, 5)
    hub.node.mine()
    hub.node.deposit(alice.address, 5)
    hub.node.deposit(alice.address, 5)
    hub.node.mine(4)
    resolve("--apply")
    hub.settle(2)
    assert (hub.available(wallet), hub.available(other)) == (10, 5)
    assert Deposit.objects.count() == 3


def test_a_request_that_is_none_is_given_back(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 12)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    assert hub.available(wallet) == 70
    fork(hub, 5)
    hub.node.mine(4)
    assert "the request of 30 by" in resolve()
    resolve("--apply")
    settle(hub, 2)
    assert hub.available(wallet) == 100
    hub.go_to(4, 9)
    settle(hub)
    assert hub.available(wallet) == 100
    assert checkpoint(4).state == State.CONFIRMED
    assert not hub.status.halted


def test_a_request_that_is_mined_again_is_debited_once(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    fork(hub, 5)
    request(hub.node, wallet, 30, eon=3)
    hub.node.mine(4)
    resolve("--apply")
    settle(hub, 2)
    assert hub.available(wallet) == 70
    row = WithdrawalRequest.objects.get()
    assert not row.slashed
    hub.go_to(5, X)
    settle(hub, 6)
    assert Withdrawal.objects.get().request == row


def test_a_payment_that_is_none_is_made_again(hub: Hub, alice: Signer) -> None:
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 12)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    hub.go_to(5, X - 1)
    holdings = hub.node.balance(alice.address)
    settle(hub, 6)
    assert Withdrawal.objects.get().amount == 30
    assert hub.node.balance(alice.address) == holdings + 30
    fork(hub, 6)
    hub.node.mine(3)
    assert hub.node.balance(alice.address) == holdings
    assert "the payment of 30" in resolve("--apply")
    assert not Withdrawal.objects.exists()
    settle(hub, 8)
    assert Withdrawal.objects.get().amount == 30
    assert hub.node.balance(alice.address) == holdings + 30


def test_a_payment_that_its_owner_made_is_made_by_the_hub_when_a_fork_takes_it_back(
    hub: Hub, alice: Signer
) -> None:
    """The hub's own transaction ended as not needed."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 12)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    hub.go_to(5, X)
    holdings = hub.node.balance(alice.address)
    confirm = hub.node.contract.functions.confirmWithdrawal(
        hub.node.contract.address, to_checksum(wallet.address)
    )
    hub.node.send(alice.address, confirm)
    withdrawals.confirm_due_withdrawals()  # queued, and not sent before the owner's is applied
    for _ in range(4):
        hub.node.mine()
        follower.step()
    settle(hub, 1)
    row = EthereumTransaction.objects.get(kind="confirmWithdrawal")
    assert (row.state, Withdrawal.objects.count()) == (State.SUPERSEDED, 1)
    fork(hub, 6)
    hub.node.mine(3)
    assert "the payment of 30" in resolve("--apply")
    settle(hub, 8)
    assert hub.node.balance(alice.address) >= holdings + 30
    assert Withdrawal.objects.get().amount == 30
    row.refresh_from_db()
    assert row.state == State.CONFIRMED


@pytest.mark.parametrize("answered", [False, True])
def test_a_challenge_that_moves_to_another_block_is_won(hub: Hub, answered: bool) -> None:
    """Whether the answer waits in the queue when the chain forks, or was mined: then it is mined again before the
    challenge on the new branch, and reverted."""
    player = challenger(hub)
    block = hub.node.block
    hub.settle(3)
    assert disputes.step() == 1
    if answered:
        hub.beat()
        hub.node.mine()
        assert live(hub, 4) == 0
        hub.beat()
    depth = hub.node.block - block + 1
    hub.node.reorganise(depth)
    hub.node.ask("anvil_rollback", depth)
    hub.node.ask("anvil_dropAllTransactions")
    hub.node.ask("evm_increaseTime", hex(7))
    assert hub.node.block == block - 1
    if answered:
        sender.step()  # the same again
    hub.node.mine()
    assert player.challenge_state(3)
    assert (hub.node.block, live(hub, 4)) == (block + 1, 1)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    hub.node.mine(3)
    if answered:
        sender.step()
    assert f"1 rows move to block {block + 1}" in resolve("--apply")
    row = Challenge.objects.get()
    assert (row.block, row.deadline, row.rebuted) == (block + 1, block + EPOCH, False)
    settle_disputes(hub, 6)
    check_won(hub, 4, 1)
    open_rows = EthereumTransaction.objects.filter(state__in=(State.QUEUED, State.SENT))
    assert not open_rows.filter(kind="answerChallenge").exists()


def test_a_challenge_that_is_none_any_more_needs_no_answer(hub: Hub) -> None:
    challenger(hub)
    hub.settle(3)
    assert disputes.step() == 1
    fork(hub, 4)
    hub.node.mine(3)
    assert "is none any more" in resolve("--apply")
    settle_disputes(hub, 4)
    assert Challenge.objects.get().rebuted
    assert EthereumTransaction.objects.get(kind="answerChallenge").state == State.SUPERSEDED
    check_won(hub, 4, 1)


def test_no_checkpoint_is_made_of_a_ledger_of_another_chain(hub: Hub, alice: Signer) -> None:
    hub.settle()
    hub.node.mine_to_era(1, 22)
    hub.node.fund(alice.address)
    hub.node.pay(alice.address)  # so that the branches differ
    hub.node.mine(5)
    follower.step()
    assert checkpoints.is_due(hub.status)
    fork(hub, 6)
    assert checkpoints.create_due_checkpoint() == 0
    hub.node.mine(3)
    resolve("--apply")
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED


def test_a_checkpoint_that_was_confirmed_is_submitted_again(hub: Hub) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    fork(hub, 6)
    assert contract().checkpoint(2) is None
    hub.node.mine(3)
    resolve("--apply")
    assert checkpoint(2).state == State.SENT
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert contract().checkpoint(2) is not None


@pytest.mark.parametrize("late", [False, True])
def test_a_nonce_that_a_fork_freed_is_given_again(hub: Hub, late: bool) -> None:
    """It was that of a cancelled transaction. Its payment of nothing is on the old branch alone, or mined after all
    while the nonce's new owner is on its way."""
    hub.settle(4)
    with transaction.atomic():
        row = queue("registerERC20", {"token": "12" * 20}, tag="a typo")
    sender.step()
    call_command("transactions", "cancel", str(row.pk), reason="a typo", stdout=StringIO())
    sender.step()
    hub.settle(5)
    row.refresh_from_db()
    assert row.state == State.CANCELLED
    nonce, cancellation = row.nonce, row.attempts.last()
    assert nonce is not None
    assert cancellation is not None
    fork(hub, 6)
    hub.node.mine(3)
    resolve("--apply")
    hub.settle(2)
    hub.node.mine_to_era(2, 4)
    hub.beat()
    assert checkpoint(2).nonce == nonce
    if late:
        hub.node.ask("anvil_dropAllTransactions")
        hub.node.ask("eth_sendRawTransaction", f"0x{bytes(cancellation.signed_attempt).hex()}")
    hub.settle(10)
    assert (checkpoint(2).state, checkpoint(2).nonce) == (State.CONFIRMED, nonce + late)
    row.refresh_from_db()
    assert (row.state, row.nonce) == (State.CANCELLED, None)


def test_an_event_of_a_closed_eon_can_not_be_taken_in(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.settle()
    hub.node.mine_to_era(1, 22)
    hub.beat()
    hub.node.mine_to_era(2, 3)  # the checkpoint that closes eon 1
    hub.beat()
    hub.node.mine(2)
    hub.node.reorganise(8)
    hub.node.ask("anvil_rollback", 7)  # the last block of eon 1 is the next one
    hub.node.deposit(alice.address, 50)
    hub.node.mine(10)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    with pytest.raises(CommandError, match="belongs to an eon whose ledger is closed"):
        resolve("--apply")
    assert hub.available(wallet) == 0


def test_a_forked_hub_starts_and_serves(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.settle(6)
    fork(hub, 6)
    call_command("prepare_hub", timeout=1.0)
    told = capsys.readouterr()
    assert "accepts nothing new until that is resolved" in told.err
    assert "the ledger is at block" in told.out


def test_a_node_that_comes_back_to_the_known_branch_ends_it(hub: Hub, settings: Any) -> None:
    hub.settle(6)
    with Proxy(hub.node.url) as node:
        settings.HUB_ETHEREUM_NODE_URL = node.url
        chain.forget()
        node.fault = proxy.forked(hub.status.confirmed_block - 1)
        hub.node.mine()
        for _ in range(2):
            with pytest.raises(ForkTooDeepError):
                follower.step()
        assert store.stopped(hub.status) == ErrorCode.CHAIN_FORKED
        node.fault = None
        follower.step()
        assert store.stopped(hub.status) is None
    chain.forget()


def test_a_repair_of_something_else_is_refused(hub: Hub) -> None:
    """The chain was followed between the comparison and the repair."""
    from contractor.errors import ChainError
    from contractor.fork_repair import repair

    hub.settle(6)
    fork(hub, 6)
    hub.node.mine(4)
    seen = hub.status
    found = compare(contract(), seen)
    ChainStatus.objects.update(head_hash=b"\1" * 32)
    with pytest.raises(ChainError, match="compare again"):
        repair(found, seen)
    assert hub.status.forked
