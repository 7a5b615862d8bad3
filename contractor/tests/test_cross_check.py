"""A node that leaves events out or invents them is found out by what the contract itself counts."""

from __future__ import annotations

from typing import Any

import pytest

from contractor import chain, checkpoints, cross_check, follower
from contractor.errors import NodeError, NodeRefusedError
from contractor.interface import EONS_KEPT, Contract
from contractor.models import Accumulator
from contractor.tests import proxy
from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub, signer
from contractor.tests.court import OPEN_ERA, check_won, live, players
from contractor.tests.court import settle as settle_disputes
from contractor.tests.proxy import Proxy
from contractor.tests.test_sender import State, checkpoint
from contractor.tests.test_withdrawals import beat, deposited, request, settle
from heartbeat.tests.drill import Drill
from ledger.models import Challenge, Deposit, RootCommitment, Wallet, WithdrawalRequest
from nocust.signatures import Signer


def hide(method: str, parameters: list[Any], answer: Any) -> Any:
    """All logs but the first of each block are left out."""
    if method != "eth_getLogs":
        return answer
    blocks: dict[str, Any] = {}
    for log in answer:
        blocks.setdefault(log["blockHash"], log)
    return list(blocks.values())


def with_one_deposit_hidden(hub: Hub, liar: Proxy, *owners: Signer) -> list[Wallet]:
    """The wallets of the owners, each of whom deposited 50 in one block: the node hides all but the first."""
    wallets = [hub.register(owner) for owner in owners]
    hub.settle()
    liar.fault = hide
    for wallet in wallets:
        hub.node.deposit(wallet.address, 50)
    settle(hub, 5)
    return wallets


def check_accumulators(hub: Hub) -> None:
    """All five of the contract as of the newest applied block."""
    contract, status = chain.chain(), hub.status
    for slot in range(EONS_KEPT):
        newest = Accumulator.objects.filter(slot=slot).order_by("-block").first()
        assert newest is not None
        assert newest.value == contract.accumulator(slot, block=status.confirmed_block), slot


def test_the_hub_counts_as_the_contract_does(hub: Hub, alice: Signer, bob: Signer) -> None:
    """Through more eons than there are hashes: deposits, requests, payments, cancellations."""
    thief, victim = Player.register(hub, alice), Player.register(hub, bob)
    thief.deposit(100)
    settle(hub, 4)
    for eon in range(2, 9):
        hub.go_to(eon, 9)
        victim.deposit(eon)
        if eon in (3, 4):
            request(hub.node, victim.wallet, 1, eon=eon)
        if eon == 5:
            thief.pay(victim, 80, marker=20)
            request(hub.node, thief.wallet, 90, eon=eon)
        settle(hub, 5)
        check_accumulators(hub)
    assert WithdrawalRequest.objects.filter(slashed=True).count() == 1
    assert not hub.status.halted
    assert Accumulator.objects.count() < 15


@pytest.mark.parametrize("depth", [1, 3])
def test_forks_do_not_confuse_it(hub: Hub, alice: Signer, depth: int) -> None:
    hub.register(alice)
    for amount in (1, 2):
        hub.node.deposit(alice.address, amount)
        settle(hub, depth)
        hub.node.reorganise(depth)
        settle(hub, 1)
    settle(hub, 4)
    check_accumulators(hub)


def test_a_deposit_that_a_node_left_out_is_taken_in_before_the_checkpoint(
    hub: Hub, liar: Proxy, alice: Signer, bob: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    wallets = with_one_deposit_hidden(hub, liar, alice, bob)
    assert [hub.available(wallet) for wallet in wallets] == [50, 0]
    liar.fault = None
    hub.node.mine_to_era(2, 4)
    settle(hub, 5)
    assert [hub.available(wallet) for wallet in wallets] == [50, 50]
    assert Deposit.objects.count() == 2
    assert checkpoint(2).state in (State.SENT, State.CONFIRMED)
    check_accumulators(hub)
    assert "ALARM" not in caplog.text
    hub.go_to(3, 8)
    assert [hub.available(wallet) for wallet in wallets] == [50, 50]


@pytest.mark.alarm("events differ")
def test_a_checkpoint_waits_half_an_eon_for_events_that_are_missing(
    hub: Hub, liar: Proxy, alice: Signer, bob: Signer, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    with_one_deposit_hidden(hub, liar, alice, bob)
    hub.node.mine_to_era(2, 4)
    settle(hub, 3)
    assert not RootCommitment.objects.filter(eon_number=2).exists()
    drill.raised("events differ")
    hub.node.mine_to_era(2, BLOCKS_PER_EON // 2 + 1)
    settle(hub, 3)
    assert RootCommitment.objects.filter(eon_number=2).exists()
    check_accumulators(hub)  # which it goes on from
    liar.fault = None
    drill.passes("events differ", lambda: settle(hub, 2))


def test_an_invented_deposit_is_noticed(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = hub.register(alice)
    hub.settle()

    def double(method: str, parameters: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        return [*answer, *({**log, "logIndex": "0x77"} for log in answer if log["logIndex"] == "0x0")]

    liar.fault = double
    hub.node.deposit(alice.address, 50)
    settle(hub, 5)
    assert hub.available(wallet) == 100
    liar.fault = None
    hub.node.mine_to_era(2, 4)
    settle(hub, 2)
    assert "ALARM events differ" in caplog.text
    assert not RootCommitment.objects.filter(eon_number=2).exists()


@pytest.mark.alarm("challenge unseen")
def test_a_challenge_that_a_node_left_out_is_won(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    made = [Player.register(hub, signer(2000 + number)) for number in range(2)]
    for player in made:
        player.deposit(100)
    hub.settle()
    hub.go_to(4, OPEN_ERA)
    for player in made:
        player.challenge_state(3, mine=False)
    hub.node.mine()
    hub.node.mine(2)
    hub.beat()
    liar.fault = hide
    hub.node.mine()
    hub.beat()
    assert Challenge.objects.count() == 1
    drill.raised("challenge unseen")
    liar.fault = None
    settle_disputes(hub, 6)
    assert Challenge.objects.count() == 2
    check_won(hub, 4, 2)
    drill.passes("challenge unseen", lambda: settle(hub, 2))


def test_nothing_is_taken_in_of_a_branch_that_the_hub_does_not_follow(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """There the contract has counted another deposit, too."""
    wallet = hub.register(alice)
    hub.settle(6)
    hub.node.reorganise(6)
    hub.node.ask("anvil_rollback", 6)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(8)
    with pytest.raises(NodeError, match="another block"):
        cross_check.events_agree(chain.chain(), hub.status, 1)
    assert (Deposit.objects.count(), hub.available(wallet)) == (0, 0)
    assert "ALARM" not in caplog.text


def test_a_challenge_that_is_won_stands_for_none_that_a_node_left_out(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = players(hub, 2)
    hub.go_to(4, OPEN_ERA)
    assert first.challenge_state(3)
    settle_disputes(hub, 7)
    assert "ALARM challenge unseen" not in caplog.text
    liar.fault = lambda method, _, answer: [] if method == "eth_getLogs" else answer
    assert second.challenge_state(3)
    settle(hub, 3)
    assert "ALARM challenge unseen" in caplog.text
    liar.fault = None
    settle_disputes(hub, 6)
    assert live(hub, 4) == 0
    assert [row.rebuted for row in Challenge.objects.all()] == [True, True]


def test_a_node_without_old_states_holds_up_nothing(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deposited(hub, alice, 50)

    honest = Contract.accumulator

    def missing(contract: Contract, eon: int, block: int | None = None) -> bytes:
        if block is not None:
            raise NodeRefusedError("missing trie node")
        return honest(contract, eon)

    monkeypatch.setattr(Contract, "accumulator", missing)
    assert cross_check.events_agree(chain.chain(), hub.status, 1)
    monkeypatch.undo()
    hub.node.mine_to_era(2, 4)
    beat(hub)
    assert RootCommitment.objects.filter(eon_number=2).exists()


def test_a_node_that_refuses_everything_for_a_moment_proves_nothing(
    hub: Hub, liar: Proxy, alice: Signer, bob: Signer
) -> None:
    """It is asked too much, and left a deposit out before: the checkpoint without that could not be defended."""
    wallets = with_one_deposit_hidden(hub, liar, alice, bob)
    hub.node.mine_to_era(2, 4)
    follower.step()
    liar.fault = proxy.only("eth_call", proxy.refusing)
    with pytest.raises(NodeError):
        checkpoints.create_due_checkpoint()
    liar.fault = None
    assert checkpoints.create_due_checkpoint() == 1
    assert [hub.available(wallet) for wallet in wallets] == [50, 50]


def test_a_ledger_that_did_not_count_from_the_start_checks_nothing(hub: Hub, alice: Signer) -> None:
    Accumulator.objects.all().delete()
    deposited(hub, alice, 50)
    assert not Accumulator.objects.exists()
    hub.node.mine_to_era(2, 4)
    follower.step()
    assert checkpoints.create_due_checkpoint() == 1


def test_a_node_that_is_down_holds_a_checkpoint_up_for_half_an_eon(
    hub: Hub, liar: Proxy, alice: Signer
) -> None:
    deposited(hub, alice, 50)
    hub.node.mine_to_era(2, 4)
    follower.step()
    liar.fault = proxy.only("eth_call", proxy.broken)
    with pytest.raises(NodeError):
        checkpoints.create_due_checkpoint()
    liar.fault = None
    hub.node.mine_to_era(2, BLOCKS_PER_EON // 2 + 1)
    follower.step()
    liar.fault = proxy.only("eth_call", proxy.broken)
    assert checkpoints.create_due_checkpoint() == 1


def elsewhere(block: int, logs: list[Any] | None) -> proxy.Fault:
    """A node that is on another branch, from block `block` on, while it is asked for logs: it has these, or else
    the same in other blocks. For other questions it comes back."""
    lie = proxy.forked(block)

    def fault(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_getBlockByNumber" and parameters[0] == hex(block):
            return lie(method, parameters, answer)
        if method == "eth_getLogs" and "fromBlock" in parameters[0]:
            return (
                [{**log, "blockHash": proxy.other(log["blockHash"])} for log in answer]
                if logs is None
                else logs
            )
        return answer

    return fault


def test_logs_of_another_branch_are_not_read_again(hub: Hub, liar: Proxy, alice: Signer) -> None:
    """Though the node is on the known one before and after."""
    hub.register(alice)
    hub.settle()
    hub.node.deposit(alice.address, 50)
    settle(hub, 6)
    block, status = hub.node.block - 5, hub.status
    liar.fault = elsewhere(block, None)
    with pytest.raises(NodeError, match="a log of another block"):
        cross_check.read_again(chain.chain(), status, block - 2, status.confirmed_block)
    liar.fault = elsewhere(block, [])
    (found,) = cross_check.read_again(chain.chain(), status, block - 2, status.confirmed_block)
    assert found.place.block == block
