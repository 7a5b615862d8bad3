"""What the hub watches on the chain, by faults that are injected there: each alarm is raised, told and over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contractor import alarms, follower
from contractor.alarms import settle
from contractor.models import Alarm
from contractor.tests.conftest import Hub
from contractor.tests.court import OPEN_ERA, beat, players
from heartbeat import checks, delivery, pool, watch
from heartbeat.tests.consumer import Consumer, listening
from ledger.models import ChainStatus
from nocust.signatures import Signer


@pytest.fixture
def consumer(settings: Any) -> Iterator[Consumer]:
    with listening() as found:
        settings.NOTIFICATION_HOOK_URL = found.url
        yield found


def told(consumer: Consumer, title: str) -> str:
    """The one message about this that came."""
    alarms.recorder.flush()
    delivery.run()
    (text,) = [text for text in consumer.take() if title in text]
    return text


def quiet(consumer: Consumer) -> bool:
    alarms.recorder.flush()
    delivery.run()
    return not consumer.take()


@pytest.mark.alarm("pool short")
def test_pool_short(hub: Hub, alice: Signer, consumer: Consumer, settings: Any) -> None:
    settings.HUB_ALARM_CALM_SECONDS = 0
    hub.register(alice)
    hub.node.deposit(alice.address, 1000)
    hub.settle()

    def check() -> None:
        hub.settle()
        settle("ledger unbalanced", pool.ledger_unbalanced(hub.status), 0)
        watch.forget()
        watch.compare_pool()

    check()
    assert quiet(consumer)
    contract = settings.HUB_LQD_CONTRACT_ADDRESS
    held = hub.node.balance(contract)
    hub.node.fund(contract, held - 1)
    check()
    assert "the contract holds 999 of" in told(consumer, "CRITICAL: pool short")
    hub.node.fund(contract, held)
    check()
    told(consumer, "RESOLVED: pool short")
    assert not Alarm.objects.filter(subject="ledger unbalanced").exists()


@pytest.mark.alarm("low balance")
def test_low_balance(hub: Hub, operator: bytes, consumer: Consumer) -> None:
    hub.settle(2)
    assert quiet(consumer)
    hub.node.fund(operator, 10**17)
    hub.settle(2)
    assert "holds 100000000000000000 wei" in told(consumer, "CRITICAL: low balance")
    hub.node.fund(operator)
    hub.settle(2)
    told(consumer, "RESOLVED: low balance")


@pytest.mark.alarm("checkpoint late")
def test_checkpoint_late(hub: Hub, operator: bytes, consumer: Consumer) -> None:
    """The operator cannot pay for it."""

    def check() -> None:
        settle("checkpoint late", checks.checkpoint_late(hub.status), 0)

    hub.go_to(2, 6)
    hub.settle()
    hub.node.mine_to_era(3, 0)
    hub.node.fund(operator, 0)
    hub.beat()
    for _ in range(11):
        hub.node.mine()
        hub.beat()
    check()
    assert not Alarm.objects.filter(subject="checkpoint late").exists()
    hub.node.mine()
    hub.beat()
    check()
    assert "checkpoint 3 is made, but not on chain, and 12 blocks" in told(
        consumer, "CRITICAL: checkpoint late"
    )
    hub.node.fund(operator)
    hub.settle(2)
    check()
    told(consumer, "RESOLVED: checkpoint late")


@pytest.mark.alarm("chain behind")
def test_chain_behind(hub: Hub, consumer: Consumer, settings: Any) -> None:
    ChainStatus.objects.update(node_block=hub.status.head_block + settings.HUB_CHAIN_BEHIND_BLOCKS + 1)
    follower._watch_progress()
    told(consumer, "CRITICAL: chain behind")
    follower.run()
    told(consumer, "RESOLVED: chain behind")


@pytest.mark.alarm("challenge at risk")
def test_challenge_at_risk(hub: Hub, consumer: Consumer, settings: Any) -> None:
    settings.HUB_CHALLENGE_RISK_BLOCKS = 5
    (player,) = players(hub, 1)
    hub.go_to(4, OPEN_ERA)
    player.challenge_state(3)
    hub.node.mine(3)
    beat(hub)
    told(consumer, "CRITICAL: challenge at risk")
    hub.node.mine()
    beat(hub)
    told(consumer, "RESOLVED: challenge at risk")
