"""The operator's fees: taken out of the contract now and then, and never before what is urgent."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from contractor import earnings, sender
from contractor.builders import NotYetError, build
from contractor.chain import chain
from contractor.models import EthereumTransaction
from contractor.tests.conftest import BLOCKS_PER_EON, Hub
from contractor.tests.test_withdrawals import FEE, deposited, request
from contractor.transactions import queue
from nocust.signatures import Signer

State = EthereumTransaction.State


def beat(hub: Hub, blocks: int = 1) -> None:
    for _ in range(blocks):
        hub.node.mine()
        EthereumTransaction.objects.update(retry_at=timezone.now())
        hub.beat()
        earnings.claim_earned_fees()
        sender.step()


def claims() -> list[EthereumTransaction]:
    return list(EthereumTransaction.objects.filter(kind="claimFees").order_by("id"))


def earn(hub: Hub, alice: Signer) -> None:
    """A request of a withdrawal, in eon 3, pays the operator."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 7)
    request(hub.node, wallet, 30, eon=3)
    hub.node.mine()
    assert chain().claimable_fees() == FEE


def test_fees_are_claimed_once_an_eon(hub: Hub, alice: Signer, operator: bytes, settings: Any) -> None:
    settings.HUB_CLAIM_FEES_ABOVE = FEE - 1
    earn(hub, alice)
    beat(hub)
    assert not claims()  # not in the first half of an eon
    hub.node.mine_to_era(3, BLOCKS_PER_EON // 2)
    holdings = hub.node.balance(operator)
    beat(hub, 6)
    (row,) = claims()
    assert row.state == State.CONFIRMED
    assert chain().claimable_fees() == 1  # which the contract leaves behind
    receipt = hub.node.web3.eth.get_transaction_receipt("0x" + row.attempts.get().hash.hex())
    paid = receipt["gasUsed"] * receipt["effectiveGasPrice"]
    assert hub.node.balance(operator) == holdings + FEE - 1 - paid
    assert receipt["gasUsed"] < 50_000
    hub.go_to(4, BLOCKS_PER_EON // 2)
    earnings.forget()
    beat(hub, 2)
    assert len(claims()) == 1  # there is nothing to claim


def test_small_fees_stay(hub: Hub, alice: Signer, settings: Any) -> None:
    settings.HUB_CLAIM_FEES_ABOVE = FEE
    earn(hub, alice)
    hub.node.mine_to_era(3, BLOCKS_PER_EON // 2)
    beat(hub, 2)
    settings.HUB_CLAIM_FEES_ABOVE = 0
    earnings.forget()
    beat(hub, 2)
    assert not claims()


def test_what_is_urgent_goes_first(hub: Hub, alice: Signer, settings: Any) -> None:
    settings.HUB_CLAIM_FEES_ABOVE = 1
    earn(hub, alice)
    with transaction.atomic():
        queue("slashWithdrawal", {"wallet": 0, "oldest_eon": 3}, tag="slash/waiting")
        row = queue("claimFees", {}, tag="claim-fees/3")
    with pytest.raises(NotYetError, match="urgent"):
        build(chain(), row)
    EthereumTransaction.objects.filter(tag="slash/waiting").update(state=State.FAILED)
    assert build(chain(), row) == chain().claim_fees()


def test_a_claim_that_came_too_late_is_given_up(hub: Hub, alice: Signer, settings: Any) -> None:
    """Anybody may have the contract pay the operator."""
    settings.HUB_CLAIM_FEES_ABOVE = 10
    earn(hub, alice)
    with transaction.atomic():
        queue("claimFees", {}, tag="claim-fees/3")
    hub.node.send(alice.address, hub.node.contract.functions.claimFees())
    beat(hub, 2)
    assert claims()[0].state == State.SUPERSEDED
