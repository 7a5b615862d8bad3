"""Cancellations that are mined while the node withholds their receipts: their events end them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from contractor import attempts
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.fees import Fee
from contractor.models import EthereumTransaction
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.court import OPEN_ERA, beat, live, settle
from contractor.tests.proxy import Broken, Proxy, Refused
from contractor.tests.test_forks import fork, resolve
from contractor.tests.test_slashing import overdraw, slashes
from ledger.models import Challenge, ExclusiveBalanceAllotment, RootCommitment, WithdrawalRequest
from ledger.tests.checks import check_ledger

State = EthereumTransaction.State
RECEIPT = "eth_getTransactionReceipt"


def indexing(method: str, parameters: list[Any], answer: Any) -> Any:
    if method == RECEIPT:
        raise Refused("transaction indexing is in progress")
    return answer


def failing(method: str, parameters: list[Any], answer: Any) -> Any:
    if method == RECEIPT:
        raise Broken
    return answer


def missing(method: str, parameters: list[Any], answer: Any) -> Any:
    return None if method == RECEIPT else answer


@pytest.fixture
def thief(hub: Hub, liar: Proxy) -> Player:
    """It spent 60 of 100 and requested 70 at the end of eon 3; the cancellation is sent in eon 4."""
    made = [Player.register(hub, signer(2000 + number)) for number in range(2)]
    for player in made:
        player.deposit(100)
    hub.settle()
    hub.go_to(3, OPEN_ERA)
    overdraw(hub, *made)
    hub.node.mine(4)
    hub.beat()
    assert [row.state for row in slashes()] == [State.SENT]
    return made[0]


@pytest.mark.parametrize("fault", [indexing, missing])
def test_a_cancellation_without_a_receipt_is_ended_by_its_event(
    hub: Hub, liar: Proxy, thief: Player, fault: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    liar.fault = fault
    settle(hub, 5)
    (row,) = slashes()
    assert row.state == State.CONFIRMED
    assert [attempt.succeeded for attempt in row.attempts.all()] == [True]
    assert RootCommitment.objects.filter(eon_number=4).exists()
    assert "ALARM" not in caplog.text
    liar.fault = None
    settle(hub, 5)
    assert WithdrawalRequest.objects.get().slashed
    allotment = ExclusiveBalanceAllotment.objects.get(wallet=thief.wallet, eon_number=4)
    assert allotment.right - allotment.left == 40
    hub.go_to(5, OPEN_ERA)
    assert thief.challenge_state(4)
    settle(hub, 7)
    assert Challenge.objects.get().rebuted
    assert live(hub, 5) == 0


def test_a_cancellation_whose_event_a_fork_takes_away_is_sent_again(
    hub: Hub, liar: Proxy, thief: Player
) -> None:
    """And gives the request back once."""
    liar.fault = indexing
    settle(hub, 4)
    (row,) = slashes()
    assert row.state == State.CONFIRMED
    assert hub.available(thief.wallet) == 40
    fork(hub, 4)
    assert "counts again" in resolve("--apply")
    row.refresh_from_db()
    assert row.state == State.SENT
    assert hub.available(thief.wallet) == -30
    settle(hub, 5)
    row.refresh_from_db()
    assert row.state == State.CONFIRMED
    assert row.attempts.count() == 1
    assert WithdrawalRequest.objects.get().slashed
    assert hub.available(thief.wallet) == 40
    assert [made.tag for made in slashes()] == [row.tag]
    liar.fault = None
    hub.go_to(5, OPEN_ERA)
    assert hub.available(thief.wallet) == 40
    assert not hub.status.halted
    check_ledger()


def test_a_cancellation_that_stays_on_the_branch_counts_once(hub: Hub, liar: Proxy, thief: Player) -> None:
    """It is mined again before the fork is resolved."""
    liar.fault = indexing
    settle(hub, 4)
    (row,) = slashes()
    (attempt,) = row.attempts.all()
    fork(hub, 4)
    hub.node.ask("eth_sendRawTransaction", "0x" + bytes(attempt.signed_attempt).hex())
    hub.node.mine(4)
    resolve("--apply")
    settle(hub, 5)
    row.refresh_from_db()
    attempt.refresh_from_db()
    assert row.state == State.CONFIRMED
    assert attempt.mined == hub.node.block - 8
    assert hub.available(thief.wallet) == 40
    check_ledger()


@pytest.mark.parametrize("fault", [indexing, failing])
def test_a_cancellation_that_was_reverted_is_sent_again_without_a_receipt(
    hub: Hub, liar: Proxy, thief: Player, fault: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint waits for it, and would do so until the contract halts."""
    (row,) = slashes()
    (sent,) = row.attempts.all()
    hub.node.ask("anvil_dropTransaction", "0x" + sent.hash.hex())
    spoilt = bytes(sent.data)[:-64] + bytes(32) + bytes(sent.data)[-32:]
    with transaction.atomic():
        made = attempts.sign(row, sent.nonce, spoilt, sent.gas, Fee(10**9, None), contract().node.head())
        sent.delete()
    attempts.send(contract(), row, made)
    liar.fault = fault
    for _ in range(9):
        hub.node.mine()
        with contextlib.suppress(NodeError):
            beat(hub)
    receipt = hub.node.web3.eth.get_transaction_receipt("0x" + made.hash.hex())
    assert receipt["status"] == 0
    row.refresh_from_db()
    assert row.state == State.CONFIRMED
    assert row.nonce is not None
    assert row.nonce > made.nonce
    assert contract().checkpoint(4) is not None
    assert WithdrawalRequest.objects.get().slashed
    assert "ALARM" not in caplog.text
