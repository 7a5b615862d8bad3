"""A node that times out, answers errors, half a range, stale heads, duplicates and swapped logs: no effect is lost
or doubled."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from contractor import checkpoints, disputes, follower, logs, sender, withdrawals
from contractor.errors import ChainError, NodeError
from contractor.models import EthereumTransaction
from contractor.tests import proxy
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.court import OPEN_ERA, check_won, live, players
from contractor.tests.proxy import Fault, Proxy
from contractor.tests.test_withdrawals import X, request
from ledger.models import (
    Challenge,
    Deposit,
    Event,
    Outbox,
    RootCommitment,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from nocust.addresses import to_checksum

State = EthereumTransaction.State
WALLETS = 3


@pytest.fixture
def node(node: Any, settings: Any) -> Any:
    """Time-outs that tests can wait for."""
    settings.HUB_NODE_TIMEOUT_SECONDS = 1
    return node


def attempt(part: Callable[[], Any]) -> None:
    """As the beat does: what goes wrong with the node passes by."""
    try:
        part()
    except NodeError:
        return


def beat(hub: Hub) -> None:
    EthereumTransaction.objects.update(retry_at=timezone.now())
    for part in (
        follower.run,
        checkpoints.create_due_checkpoint,
        withdrawals.confirm_due_withdrawals,
        sender.step,
    ):
        attempt(part)


def patiently(hub: Hub, liar: Proxy, blocks: int = 1, beats: int = 2) -> None:
    """Mine; a few beats after each block, and a good node for a moment when the worst comes to the worst: an eon in
    which nothing gets through halts any hub."""
    for _ in range(blocks):
        hub.node.mine()
        for _ in range(beats):
            beat(hub)
        if hub.status.head_block < hub.node.block - 3:
            fault, liar.fault = liar.fault, None
            beat(hub)
            liar.fault = fault


def play(hub: Hub, liar: Proxy) -> list[Wallet]:
    """Deposits, requests and their payments through five eons."""
    wallets = [hub.register(signer(3000 + number)) for number in range(WALLETS)]
    for wallet in wallets:
        hub.node.deposit(wallet.address, 100)
        hub.node.deposit(wallet.address, 7)
    patiently(hub, liar, 5)
    for eon in (2, 3):
        hub.node.mine_to_era(eon, 2)
        patiently(hub, liar, 7)
    for wallet in wallets[:2]:
        request(hub.node, wallet, 30, eon=3)
    patiently(hub, liar, 5)
    hub.node.mine_to_era(4, 2)
    patiently(hub, liar, 6)
    hub.node.mine_to_era(5, X - 5)
    patiently(hub, liar, 11)
    liar.fault = None
    patiently(hub, liar, 5)
    return wallets


def check(hub: Hub, wallets: list[Wallet]) -> None:
    assert [hub.available(wallet) for wallet in wallets] == [77, 77, 107]
    assert Deposit.objects.count() == 2 * WALLETS
    assert sorted(row.amount for row in WithdrawalRequest.objects.all()) == [30, 30]
    assert sorted(row.amount for row in Withdrawal.objects.all()) == [30, 30]
    assert not Challenge.objects.exists()
    assert Outbox.objects.filter(event=Event.CONFIRMED_DEPOSIT).count() == 2 * WALLETS
    assert Outbox.objects.filter(event=Event.CONFIRMED_WITHDRAWAL).count() == 2
    assert not hub.status.halted
    for commitment in RootCommitment.objects.all():
        row = EthereumTransaction.objects.get(tag=f"checkpoint/{commitment.eon_number}")
        assert row.state == State.CONFIRMED
    mined = hub.node.web3.eth.get_logs({"address": hub.node.contract.address, "fromBlock": 0})
    assert len({(log["transactionHash"], log["logIndex"]) for log in mined}) == len(mined)
    paid = hub.node.contract.events.WithdrawalConfirmation().get_logs(from_block=0)
    assert sum(log["args"]["amount"] for log in paid) == 60


def always(fault: Fault) -> Callable[[Proxy], Fault]:
    return lambda _: fault


@pytest.mark.parametrize(
    "make",
    [
        always(proxy.half_a_range),
        always(proxy.duplicates),
        always(proxy.swapped),
        always(proxy.removed),
        lambda node: proxy.stale(node, 1),
    ],
    ids=["half a range", "duplicates", "swapped", "removed", "stale"],
)
def test_a_node_that_always_gets_it_wrong(
    hub: Hub, liar: Proxy, make: Callable[[Proxy], Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ASKED_ALONE", -1)  # ranges are what nodes get wrong
    liar.fault = make(liar)
    check(hub, play(hub, liar))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_that_fails_in_all_ways_at_random(hub: Hub, liar: Proxy, seed: int) -> None:
    liar.fault = proxy.any_of(
        seed,
        0.3,
        proxy.broken,
        proxy.refusing,
        proxy.half_a_range,
        proxy.duplicates,
        proxy.swapped,
        proxy.removed,
        proxy.stale(liar, 1),
        proxy.stale(liar, 4),
        proxy.only("eth_sendRawTransaction", proxy.broken),
    )
    check(hub, play(hub, liar))


@pytest.mark.parametrize("seed", [3, 4])
def test_challenges_are_won_through_a_node_that_fails_at_random(hub: Hub, liar: Proxy, seed: int) -> None:
    """About a state and a delivery, with five blocks to answer in and a dozen beats in each, as in reality."""
    payer, payee = (Player.register(hub, signer(2000 + number)) for number in range(2))
    payer.deposit(100)
    hub.settle()
    hub.go_to(3, 7)
    transfer = payer.pay(payee, 10)
    hub.go_to(4, OPEN_ERA)
    payer.challenge_state(3, mine=False)
    payee.challenge_delivery(payer, transfer, mine=False)
    liar.fault = proxy.any_of(
        seed,
        0.2,
        proxy.broken,
        proxy.refusing,
        proxy.duplicates,
        proxy.swapped,
        proxy.removed,
        proxy.stale(liar, 1),
        proxy.only("eth_sendRawTransaction", proxy.broken),
    )
    for _ in range(9):
        hub.node.mine()
        for _ in range(12):
            EthereumTransaction.objects.update(retry_at=timezone.now())
            for part in (follower.run, checkpoints.create_due_checkpoint, disputes.step, sender.step):
                attempt(part)
    liar.fault = None
    check_won(hub, 4, 2)


def test_a_node_that_never_answers_is_given_up_in_time(hub: Hub, liar: Proxy) -> None:
    before = hub.status
    hub.node.mine()
    liar.fault = proxy.silent
    with pytest.raises(NodeError, match="does not answer"):
        follower.step()
    assert hub.status.head_hash == before.head_hash
    liar.fault = None
    assert follower.step() == 1


def _give(answer: Any, *_: Any) -> Any:
    return answer


def test_half_an_answer_is_none(hub: Hub, liar: Proxy) -> None:
    """Answers that are no headers, or of other blocks."""
    hub.node.mine(3)
    before = hub.status
    answers: list[Any] = [None, {}, [], "0x", {"number": "0x1"}, 5]
    for answer in answers:
        liar.fault = proxy.only("eth_getBlockByNumber", partial(_give, answer))
        with pytest.raises(NodeError):
            follower.step()
    liar.fault = proxy.only("eth_getLogs", lambda *_: [{"address": "0x"}])
    with pytest.raises(NodeError):
        follower.step()
    assert hub.status.head_hash == before.head_hash


@pytest.mark.parametrize("cut", [slice(1), slice(1, None)], ids=["the first alone", "without the first"])
def test_a_part_of_several_answers_is_none(hub: Hub, liar: Proxy, cut: slice) -> None:
    """A node that answers at most so many questions of a request, and says nothing of the others."""
    wallet = hub.register(signer(3000))
    for amount in (1, 2, 3):
        hub.node.deposit(wallet.address, amount)
        hub.node.mine()
    hub.node.mine(3)
    honest = liar.answer

    def partly(body: bytes) -> bytes:
        answers = json.loads(honest(body))
        asked = isinstance(answers, list) and b"eth_getLogs" in body
        return json.dumps(answers[cut] if asked else answers).encode()

    liar.answer = partly  # type: ignore[method-assign]
    with pytest.raises(NodeError):
        follower.step()
    liar.answer = honest  # type: ignore[method-assign]
    follower.step()
    assert hub.available(wallet) == 6


def test_logs_of_another_block_of_the_same_request_are_none(hub: Hub, liar: Proxy) -> None:
    """A node that gives the answer to one question twice, and to another one none."""
    wallet = hub.register(signer(3000))
    for amount in (1, 2):
        hub.node.deposit(wallet.address, amount)
        hub.node.mine()
    hub.node.mine(3)
    given: list[Any] = []

    def first(method: str, parameters: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        given.append(answer)
        return given[0]

    liar.fault = first
    with pytest.raises(NodeError):
        follower.step()
    liar.fault = None
    follower.step()
    assert hub.available(wallet) == 3


def test_a_transaction_that_the_node_took_without_saying_so_is_sent_once(hub: Hub, liar: Proxy) -> None:
    """It is forwarded, and the answer lost."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    liar.fault = proxy.only("eth_sendRawTransaction", proxy.broken)
    for _ in range(3):
        beat(hub)
    liar.fault = None
    for _ in range(6):
        hub.node.mine()
        beat(hub)
    row = EthereumTransaction.objects.get(tag="checkpoint/2")
    assert row.state == State.CONFIRMED
    assert row.attempts.count() == 1


def test_a_lie_about_events_stops_the_hub_or_changes_nothing(hub: Hub, liar: Proxy) -> None:
    """Logs with another block's hash are not taken."""
    wallet = hub.register(signer(3000))
    hub.node.deposit(wallet.address, 100)
    hub.node.mine(4)

    def elsewhere(method: str, parameters: list[Any], answer: Any) -> Any:
        if method != "eth_getLogs":
            return answer
        return [{**log, "blockHash": "0x" + "55" * 32} for log in answer]

    liar.fault = elsewhere
    with pytest.raises(ChainError):
        follower.step()
    assert hub.available(wallet) == 0


def test_a_challenge_that_the_node_fails_at_keeps_no_other_from_its_answer(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """And somebody is told in time."""
    first, second = players(hub, 2)
    hub.go_to(4, OPEN_ERA)
    for player in (first, second):
        player.challenge_state(3, mine=False)
    hub.node.mine(4)
    hub.beat()
    text = first.address.hex()

    def fail(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_call" and text in json.dumps(parameters):
            raise proxy.Broken
        return answer

    liar.fault = fail
    for _ in range(3):
        with pytest.raises(NodeError):
            disputes.step()
        attempt(sender.step)
        hub.node.mine()
    assert live(hub, 4) == 1
    told = [text for text in caplog.messages if "ALARM challenge at risk" in text]
    assert any(to_checksum(first.address) in text for text in told)
