"""Payments whose events a node left out."""

from __future__ import annotations

from typing import Any

import pytest

from contractor.tests.conftest import Hub
from contractor.tests.proxy import Proxy
from contractor.tests.test_withdrawals import X, deposited, mature, payment, request, settle
from ledger.models import Event, Outbox, Wallet, Withdrawal, WithdrawalRequest
from nocust.encoding import keccak
from nocust.signatures import Signer

TOPIC = "0x" + keccak(b"WithdrawalConfirmation(address,address,uint256)").hex()


def hide(method: str, parameters: list[Any], answer: Any) -> Any:
    """All payments are left out."""
    if method != "eth_getLogs":
        return answer
    return [log for log in answer if log["topics"][0] != TOPIC]


def requested(hub: Hub, wallet: Wallet, amounts: dict[int, int]) -> list[WithdrawalRequest]:
    """The wallet's withdrawals of these amounts, requested in these eons, oldest first."""
    for eon, amount in amounts.items():
        hub.go_to(eon, 8)
        request(hub.node, wallet, amount, eon=eon)
        hub.settle()
    return list(WithdrawalRequest.objects.order_by("id"))


def test_a_payment_that_a_node_left_out_is_booked(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the next one of the same holder, which would settle the older request."""
    wallet = deposited(hub, alice, 100)
    first, second = requested(hub, wallet, {3: 30, 4: 5})
    hub.go_to(5, X)
    liar.fault = hide
    holdings = hub.node.balance(alice.address)
    settle(hub, 8)
    assert hub.node.balance(alice.address) == holdings + 30
    assert not Withdrawal.objects.exists()
    liar.fault = None
    hub.node.mine_to_era(6, 0)
    settle(hub, 4)
    (paid,) = Withdrawal.objects.all()
    assert (paid.request, paid.amount) == (first, 30)
    settle(hub, 9)
    assert [row.request for row in Withdrawal.objects.order_by("id")] == [first, second]
    told = Outbox.objects.filter(event=Event.CONFIRMED_WITHDRAWAL)
    assert sorted(row.object_id for row in told) == sorted(row.pk for row in Withdrawal.objects.all())
    assert "ALARM" not in caplog.text
    assert hub.available(wallet) == 65


def test_somebody_is_told_of_a_payment_that_nobody_sees(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    mature(hub, alice, 5, X)
    liar.fault = hide
    settle(hub, 8)
    hub.node.mine_to_era(6, 0)
    settle(hub, 9)
    assert "the node gives no event of that" in payment().note
    assert "ALARM transaction held up" in caplog.text
    liar.fault = None
    settle(hub, 2)
    assert Withdrawal.objects.get().amount == 30


def test_payments_of_several_eons_that_a_node_left_out_are_booked_together(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest of them paid a request that could still be waiting."""
    requested(hub, deposited(hub, alice, 100), {3: 30, 4: 5})
    liar.fault = hide
    for eon in (5, 6):
        hub.go_to(eon, X)
        settle(hub, 8)
    assert not Withdrawal.objects.exists()
    liar.fault = None
    settle(hub, 2)
    assert [(row.eon_number, row.amount) for row in Withdrawal.objects.order_by("id")] == [(5, 30), (6, 5)]
    assert "ALARM payment without request" not in caplog.text


def test_a_payment_of_long_after_it_was_due_is_booked(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """It was made while the hub was away, five eons after it could be."""
    requested(hub, deposited(hub, alice, 100), {3: 30})
    hub.go_to(10, X)
    liar.fault = hide
    settle(hub, 8)
    assert not Withdrawal.objects.exists()
    liar.fault = None
    settle(hub, 3)
    assert [(row.eon_number, row.amount) for row in Withdrawal.objects.all()] == [(10, 30)]
    assert "ALARM payment without request" not in caplog.text


def test_a_payment_is_not_taken_for_one_before_that_nobody_saw(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = requested(hub, deposited(hub, alice, 100), {3: 30, 4: 5})
    hub.go_to(5, X)
    blocks = {hex(hub.node.block + ahead) for ahead in range(12)}
    liar.fault = lambda method, parameters, answer: (
        answer
        if method != "eth_getLogs"
        else [log for log in answer if log["topics"][0] != TOPIC or log["blockNumber"] not in blocks]
    )
    settle(hub, 8)
    assert not Withdrawal.objects.exists()
    hub.go_to(6, X)
    settle(hub, 8)
    assert [(row.request, row.amount) for row in Withdrawal.objects.all()] == [(second, 5)]
    liar.fault = None
    settle(hub, 3)
    found = [(row.request, row.amount) for row in Withdrawal.objects.order_by("request")]
    assert found == [(first, 30), (second, 5)]
    assert "ALARM payment without request" not in caplog.text


def test_a_payment_that_was_left_out_is_booked_though_another_is_due(
    hub: Hub, liar: Proxy, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """The contract has something to pay, but less than what is due."""
    first, second = requested(hub, deposited(hub, alice, 100), {3: 30, 4: 5})
    liar.fault = hide
    hub.go_to(5, X)
    settle(hub, 8)
    hub.go_to(6, X)
    hub.settle(3)
    liar.fault = None
    settle(hub, 1)
    assert [(row.request, row.amount) for row in Withdrawal.objects.all()] == [(first, 30)]
    settle(hub, 8)
    found = [(row.request, row.amount) for row in Withdrawal.objects.order_by("id")]
    assert found == [(first, 30), (second, 5)]
    assert "ALARM payment without request" not in caplog.text
