"""Drills of alarms about the chain and the contract: each fault is a real one, and each alarm ends."""

from __future__ import annotations

from typing import Any

import pytest

from contractor import follower, slashing
from contractor.builders import build
from contractor.chain import contract
from contractor.errors import ForkTooDeepError
from contractor.models import EthereumTransaction
from contractor.tests import proxy
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.court import OPEN_ERA
from contractor.tests.proxy import Proxy
from contractor.tests.test_forks import resolve
from contractor.tests.test_slashing import request as request_as
from contractor.tests.test_slashing import slashes, without_sending
from contractor.tests.test_withdrawals import mature, settle
from heartbeat import beat
from heartbeat.tests.drill import Drill
from ledger.models import ChainStatus, WithdrawalRequest
from ledger.sql import execute
from nocust.addresses import to_checksum
from nocust.messages import withdrawal_authorization_hash
from nocust.signatures import Signer


def follow() -> None:
    """What the worker `chain` does once a second."""
    beat.run("chain", {"follow the chain": follower.run})


@pytest.mark.alarm("chain")
def test_another_chain(hub: Hub, liar: Proxy, drill: Drill) -> None:
    """The node was replaced by one of another network."""
    liar.fault = proxy.only("eth_chainId", lambda *_: "0x5")
    follow()
    assert "the node is on chain 5" in drill.raised("chain")
    drill.lasts("chain", follow)
    liar.fault = None
    drill.ends("chain", follow)


@pytest.mark.alarm("deep fork")
def test_a_deep_fork(hub: Hub, alice: Signer, drill: Drill) -> None:
    hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle(6)
    hub.node.reorganise(6)
    hub.node.mine()
    follow()
    assert "accepts nothing new" in drill.raised("deep fork")
    with pytest.raises(ForkTooDeepError):
        follower.step()
    drill.lasts("deep fork", follow)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    assert "resolved" in resolve("--apply")
    drill.ends("deep fork", follow)


@pytest.mark.alarm("withdrawal without wallet")
def test_a_withdrawal_without_wallet(hub: Hub, drill: Drill, settings: Any) -> None:
    """Somebody with the operator's key authorises a withdrawal of what nobody has claimed."""
    stranger, operator = signer(4000), Signer(settings.HUB_OWNER_ACCOUNT_KEY)
    hub.node.fund(stranger.address)
    hub.node.deposit(stranger.address, 100)
    hub.settle()
    hub.go_to(3, 8)
    address, expiry = bytes.fromhex(hub.node.contract.address[2:]), 10**9
    signature = operator.sign(withdrawal_authorization_hash(address, address, stranger.address, expiry, 30))
    call = hub.node.contract.functions.requestAuthorizedWithdrawal(
        hub.node.contract.address, 30, expiry, signature[:32], signature[32:64], signature[64]
    )
    hub.node.send(stranger.address, call)
    hub.settle()
    text = drill.raised("withdrawal without wallet")
    assert f"{to_checksum(stranger.address)} has no wallet" in text
    assert "requested 30 in block" in text
    drill.passes("withdrawal without wallet", hub.settle)


@pytest.mark.alarm("payment without request")
def test_a_payment_without_request(hub: Hub, alice: Signer, drill: Drill) -> None:
    """The ledger has lost a request that the contract pays."""
    wallet = mature(hub, alice, 5, 8)
    WithdrawalRequest.objects.all().delete()
    call = hub.node.contract.functions.confirmWithdrawal(
        hub.node.contract.address, to_checksum(wallet.address)
    )
    hub.node.send(alice.address, call)
    hub.settle()
    assert "the contract paid 30 of" in drill.raised("payment without request")
    drill.passes("payment without request", hub.settle)


@pytest.mark.alarm("slash differs")
def test_another_sum_is_cancelled(hub: Hub, drill: Drill) -> None:
    """A request was changed in the database after its cancellation had been sent."""
    thief, victim = (Player.register(hub, signer(2000 + number)) for number in range(2))
    thief.deposit(100)
    hub.settle()
    hub.go_to(3, OPEN_ERA)
    thief.pay(victim, 60, marker=40)
    request_as(thief, 70)
    hub.node.mine(3)
    (row,) = without_sending(hub)
    assert build(contract(), row)
    hub.beat()
    (row,) = slashes()
    assert row.state == EthereumTransaction.State.SENT
    execute("SET session_replication_role = replica")  # no trigger stops it
    WithdrawalRequest.objects.update(amount=69)
    execute("SET session_replication_role = origin")
    hub.settle()
    assert slashing.overdraft(thief.wallet, 3) is None
    assert "for 69 were known, the contract cancelled 70" in drill.raised("slash differs")
    drill.passes("slash differs", lambda: settle(hub, 2))


@pytest.mark.alarm("transaction refused")
def test_a_node_that_takes_no_transaction(hub: Hub, liar: Proxy, drill: Drill) -> None:
    def refuse(_method: str, _parameters: list[Any], answer: Any) -> Any:
        hub.node.ask("anvil_dropTransaction", answer)
        raise proxy.Refused("it costs too little")

    hub.settle()
    hub.node.mine_to_era(2, 3)
    liar.fault = proxy.only("eth_sendRawTransaction", refuse)
    hub.beat()
    assert "checkpoint/2: " in drill.raised("transaction refused")
    drill.lasts("transaction refused", lambda: hub.settle(1))
    liar.fault = None
    drill.ends("transaction refused", lambda: hub.settle(3))
    assert contract().checkpoint(2) is not None
    assert not ChainStatus.objects.get().halted
