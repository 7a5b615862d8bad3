"""Nodes that answer some questions and not others, and nonces that stay free: what the contract needs in time is
sent and mined all the same."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from django.db import transaction

from contractor import attempts, sender
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.fees import Fee
from contractor.models import EthereumTransaction, EthereumTransactionAttempt
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.proxy import Broken, Proxy, Refused
from contractor.tests.test_sender import State, checkpoint, hurry, registrations
from contractor.transactions import queue

GWEI = 10**9


def foreign(hub: Hub, operator: bytes) -> str:
    """A transaction of another program with the operator's key, waiting at the node; its hash."""
    found = hub.node.send(operator, hub.node.token.functions.transfer(hub.node.contract.address, 1))
    return "0x" + bytes(found).hex()


def expensive(hub: Hub, blocks: int) -> None:
    """Blocks of a dear time, a beat after each."""
    for _ in range(blocks):
        hub.node.ask("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
        hub.node.mine()
        hub.beat()


def test_what_fills_a_free_nonce_is_offered_more_for_too(hub: Hub, operator: bytes, settings: Any) -> None:
    """Blocks became dear after it was signed. Nothing behind it is mined before."""
    settings.HUB_BUMP_BLOCKS = 3
    hub.settle()
    hub.node.mine_to_era(2, 3)
    dropped = foreign(hub, operator)
    hub.beat()
    hub.node.ask("anvil_dropTransaction", dropped)
    hub.settle(1)
    expensive(hub, 8)
    row = checkpoint(2)
    filler = EthereumTransactionAttempt.objects.filter(cancels=True).earliest("pk")
    assert row.nonce == filler.nonce + 1
    assert contract().checkpoint(2) is not None
    hub.settle(4)
    assert checkpoint(2).state == State.CONFIRMED


def test_a_free_nonce_between_others_is_filled_at_once(
    hub: Hub, operator: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the first of them is deep: the contract's deadlines do not wait for that."""
    hub.settle()
    rows = registrations(3)
    monkeypatch.setattr(attempts, "send", lambda *_: None)
    sender.step()
    monkeypatch.undo()
    first, second, third = (EthereumTransaction.objects.get(pk=row.pk) for row in rows)
    assert [row.state for row in (first, second, third)] == [State.SENT] * 3
    # The second was reverted, is waiting again, and a fork took its block away.
    EthereumTransaction.objects.filter(pk=second.pk).update(state=State.SUPERSEDED, nonce=None)
    for _ in range(2):
        hub.node.mine()
        hub.beat()
    (last,) = third.attempts.all()
    hub.node.mine()
    assert contract().node.receipt(last.hash) is not None


def test_a_node_that_has_no_index_of_transactions_yet_holds_up_nothing(hub: Hub, liar: Proxy) -> None:
    """geth answers so for hours after it was set up anew: of what is mined or waits it knows some."""

    def indexing(method: str, parameters: list[Any], answer: Any) -> Any:
        if method in ("eth_getTransactionReceipt", "eth_getTransactionByHash") and answer is None:
            raise Refused("transaction indexing is in progress")
        return answer

    hub.settle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        registrations(1)
        sender.step()
    liar.fault = indexing
    hub.node.mine_to_era(2, 3)
    for _ in range(6):
        hub.node.mine()
        hub.beat()
    assert checkpoint(2).state == State.CONFIRMED
    assert EthereumTransaction.objects.get(tag="token/1").state == State.CONFIRMED


def test_a_receipt_that_is_not_given_decides_nothing(hub: Hub, liar: Proxy) -> None:
    """The nonce is used, by what nobody knows yet."""

    def indexing(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_getTransactionReceipt":
            raise Refused("transaction indexing is in progress")
        return answer

    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    liar.fault = indexing
    hub.settle(8)
    row = checkpoint(2)
    assert (row.state, row.missing_since) == (State.SENT, None)
    liar.fault = None
    hub.settle(1)
    assert checkpoint(2).state == State.CONFIRMED
    assert row.attempts.count() == 1


def test_a_receipt_that_is_missed_now_and_then_is_not_lost(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Of several nodes behind one address, one has not read in the block."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    nonce = checkpoint(2).nonce
    missing = proxy.only("eth_getTransactionReceipt", lambda *_: None)
    unknown = proxy.only("eth_getTransactionReceipt", proxy.refusing)
    for fault in (missing, None, None, missing, unknown, unknown, missing):
        liar.fault = fault
        hub.node.mine()
        sender.step()
        assert (checkpoint(2).state, checkpoint(2).nonce) == (State.SENT, nonce)
    assert "ALARM nonce taken" not in caplog.text
    liar.fault = None
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED


def test_one_that_the_node_fails_at_holds_up_no_other(hub: Hub, liar: Proxy) -> None:
    """A node that answers nothing sensible, or not in time, to the estimate of one transaction."""
    hub.settle()
    failing, fine = registrations(2)
    token = failing.arguments["token"]

    def fail(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_estimateGas" and token in json.dumps(parameters):
            raise Broken(500)
        return answer

    liar.fault = fail
    for _ in range(2):
        with contextlib.suppress(NodeError):
            sender.step()
    failing.refresh_from_db()
    fine.refresh_from_db()
    assert fine.state == State.SENT
    assert failing.state == State.QUEUED
    liar.fault = None
    hurry()
    sender.step()
    failing.refresh_from_db()
    assert failing.state == State.SENT


def test_one_whose_receipt_the_node_fails_at_holds_up_no_other(hub: Hub, liar: Proxy) -> None:
    """It is asked for again when the node gives it, without another block."""
    hub.settle()
    (failing,) = registrations(1)
    sender.step()
    (attempt,) = failing.attempts.all()

    def fail(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_getTransactionReceipt" and parameters[0] == "0x" + attempt.hash.hex():
            raise Broken(500)
        return answer

    liar.fault = fail
    hub.node.mine_to_era(2, 3)
    for _ in range(8):
        hub.node.mine()
        with contextlib.suppress(NodeError):
            hub.beat()
    assert checkpoint(2).state == State.CONFIRMED
    failing.refresh_from_db()
    assert failing.state == State.SENT
    sender.step()
    liar.fault = None
    hurry()
    sender.step()
    failing.refresh_from_db()
    assert failing.state == State.CONFIRMED


def test_what_is_mined_without_a_receipt_takes_no_room(
    hub: Hub, liar: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.settle()
    liar.fault = proxy.only("eth_getTransactionReceipt", proxy.refusing)
    monkeypatch.setattr(sender, "IN_FLIGHT", 2)
    with transaction.atomic():
        for number in range(3):
            queue("claimFees", {}, tag=f"fees/{number}")
    monkeypatch.setattr(sender, "build", lambda target, row: target.claim_fees())
    for _ in range(4):
        hurry()
        sender.step()
        hub.node.mine()
    assert {row.state for row in EthereumTransaction.objects.filter(kind="claimFees")} == {State.SENT}


def test_the_receipts_of_many_are_asked_for_together(
    hub: Hub, liar: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.settle()
    monkeypatch.setattr(attempts, "send", lambda *_: None)
    rows = registrations(20)
    sender.step()
    assert EthereumTransaction.objects.filter(state=State.SENT).count() == 20
    hub.node.mine()
    before = liar.requests
    sender.step()
    assert liar.requests - before < 15
    monkeypatch.undo()
    hub.settle(5)
    assert {EthereumTransaction.objects.get(pk=row.pk).state for row in rows} == {State.CONFIRMED}


def test_a_checkpoint_that_was_reverted_is_built_again_without_a_receipt(hub: Hub, liar: Proxy) -> None:
    """The contract would halt before the node gives it."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    hub.beat()
    row = checkpoint(2)
    (sent,) = row.attempts.all()
    hub.node.ask("anvil_dropTransaction", "0x" + sent.hash.hex())
    wrong = contract().submit_checkpoint(b"\7" * 32, bytes(32))
    with transaction.atomic():
        made = attempts.sign(row, sent.nonce, wrong, 200_000, Fee(GWEI, None), contract().node.head())
        sent.delete()
    attempts.send(contract(), row, made)
    liar.fault = proxy.only("eth_getTransactionReceipt", proxy.refusing)
    for _ in range(7):
        hub.node.mine()
        hurry()
        hub.beat()
    assert contract().checkpoint(2) is not None
    liar.fault = None
    hub.settle(5)
    assert checkpoint(2).state == State.CONFIRMED


@pytest.mark.parametrize("method", ["eth_getTransactionReceipt", "eth_estimateGas"])
def test_many_that_the_node_fails_at_hold_up_nothing(hub: Hub, liar: Proxy, method: str) -> None:
    """More than it has time for before the first is tried again."""
    hub.settle()
    tokens = [row.arguments["token"] for row in registrations(12)]
    failing = method == "eth_estimateGas"
    if not failing:
        sender.step()
    mine = {"0x" + bytes(row.hash).hex() for row in EthereumTransactionAttempt.objects.all()}

    def fail(asked: str, parameters: list[Any], answer: Any) -> Any:
        text = json.dumps(parameters)
        if asked == method and (parameters[0] in mine if not failing else any(one in text for one in tokens)):
            raise Broken(500)
        return answer

    liar.fault = fail
    fine = registrations(13)[-1]
    hub.node.mine()
    with contextlib.suppress(NodeError):
        sender.step()
    fine.refresh_from_db()
    assert fine.state == State.SENT
