"""Transactions that are not mined, not sent, reverted or displaced: the operator is told until they are mended."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from contractor import attempts, sender
from contractor.builders import build
from contractor.chain import contract
from contractor.fees import Fee, Market
from contractor.models import EthereumTransaction
from contractor.tests.conftest import Hub
from contractor.tests.test_sender import State, checkpoint, hopeless, hurry
from heartbeat.tests.drill import Drill
from ledger.models import DelegatedWithdrawal
from nocust.signatures import Signer


def stuck(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> EthereumTransaction:
    """Checkpoint 2, signed for the market of the moment and never seen by the node."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        hub.beat()
    return checkpoint(2)


@pytest.mark.alarm("stuck transaction")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_stuck_transaction_is_sent_again_at_a_higher_price(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Any, legacy: bool, drill: Drill
) -> None:
    if legacy:
        market = Market(None, 2 * 10**9, 0)
        monkeypatch.setattr(contract().node, "fee_market", lambda: market)
    row = stuck(hub, monkeypatch)
    (first,) = row.attempts.all()
    assert (first.priority_fee is None) == legacy
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        hub.settle(settings.HUB_BUMP_BLOCKS - 1)
    assert row.attempts.count() == 1
    hub.settle(1)
    cheap, dear = row.attempts.all()
    assert cheap == first
    assert dear.nonce == cheap.nonce
    assert dear.gas_price == -(-cheap.gas_price * 125 // 100)
    if cheap.priority_fee is not None:
        assert dear.priority_fee == -(-cheap.priority_fee * 125 // 100)
    assert bytes(dear.data) == bytes(cheap.data)
    assert "checkpoint/2: nonce" in drill.raised("stuck transaction")
    found = hub.node.web3.eth.get_transaction("0x" + dear.hash.hex())
    assert found["type"] == (0 if legacy else 2)
    hub.settle(4)
    assert checkpoint(2).state == State.CONFIRMED
    drill.over("stuck transaction")


def test_the_cheaper_attempt_counts_when_it_is_the_one_mined(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All attempts of a nonce are watched: a miner may take any."""
    row = stuck(hub, monkeypatch)
    (first,) = row.attempts.all()
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        call_command("transactions", "bump", str(row.pk), "--reason", "a test")
        sender.step()
    assert row.attempts.count() == 2
    attempts.send(contract(), row, first)
    hub.settle(5)
    assert checkpoint(2).state == State.CONFIRMED
    first.refresh_from_db()
    assert first.succeeded


@pytest.mark.alarm("fee cap")
def test_nothing_is_offered_beyond_the_cap(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Any, drill: Drill
) -> None:
    row = stuck(hub, monkeypatch)
    (first,) = row.attempts.all()
    settings.HUB_FEE_CAP = first.gas_price
    call_command("transactions", "bump", str(row.pk), "--reason", "a test")
    sender.step()
    assert row.attempts.get() == first
    assert f"HUB_FEE_CAP is {first.gas_price} wei" in drill.raised("fee cap")
    assert contract().node.knows(first.hash)  # it was sent again as it is
    settings.HUB_FEE_CAP = 10**12
    call_command("transactions", "bump", str(row.pk), "--reason", "a test")
    sender.step()
    assert row.attempts.count() == 2
    hub.settle(2)
    drill.over("fee cap")


@pytest.mark.alarm("transaction held up")
def test_what_needs_too_much_gas_is_not_sent(hub: Hub, settings: Any, drill: Drill) -> None:
    hub.settle()
    settings.HUB_GAS_CAP = 50_000
    hub.node.mine_to_era(2, 3)

    def try_again() -> None:
        for _ in range(sender.ALARM_REFUSALS):
            hurry()
            hub.beat()

    try_again()
    row = checkpoint(2)
    assert (row.state, row.nonce) == (State.QUEUED, None)
    assert "HUB_GAS_CAP is 50000" in row.note
    assert "HUB_GAS_CAP is 50000" in drill.raised("transaction held up")
    drill.lasts("transaction held up", try_again)
    settings.HUB_GAS_CAP = 5_000_000
    hurry()
    hub.settle(1)
    drill.over("transaction held up")


@pytest.mark.alarm("nonce taken")
def test_a_nonce_taken_by_somebody_else_is_replaced(
    hub: Hub, operator: bytes, monkeypatch: pytest.MonkeyPatch, drill: Drill
) -> None:
    hub.settle()
    hub.node.mine_to_era(2, 3)
    monkeypatch.setattr(attempts, "send", lambda *_: None)
    hub.beat()
    monkeypatch.undo()
    hub.node.send(operator, hub.node.token.functions.transfer(hub.node.contract.address, 1))
    taken = checkpoint(2).nonce
    hub.settle(5)
    row = checkpoint(2)
    assert taken is not None
    assert row.nonce == taken + 1
    assert f"nonce {taken} of the operator was used" in drill.raised("nonce taken")
    drill.passes("nonce taken", lambda: hub.settle(5))
    assert checkpoint(2).state == State.CONFIRMED


@pytest.mark.alarm("transaction failed")
def test_a_reverted_transaction_fails_once_it_is_deep(hub: Hub, alice: Signer, drill: Drill) -> None:
    hub.settle()
    row = hopeless(hub, alice)
    withdrawal = DelegatedWithdrawal.objects.get()
    data = build(contract(), row)
    with transaction.atomic():
        row.state, row.nonce = State.SENT, contract().node.transaction_count(contract().parameters().operator)
        row.save()
        attempt = attempts.sign(row, row.nonce, data, 200_000, Fee(10**9, None), contract().node.head())
    attempts.send(contract(), row, attempt)
    hub.settle(2)
    assert EthereumTransaction.objects.get(pk=row.pk).state == State.SENT
    hub.settle(3)
    assert EthereumTransaction.objects.get(pk=row.pk).state == State.FAILED
    withdrawal.refresh_from_db()
    assert withdrawal.state == DelegatedWithdrawal.State.FAILED
    assert "reverted in block" in drill.raised("transaction failed")
    drill.passes("transaction failed", lambda: hub.settle(1))
