"""The running hub tells of parts of itself that stand still, whichever they are."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from heartbeat.tests.consumer import Consumer, listening
from scripts.hub.stack import Stack

pytestmark = pytest.mark.stack

LATE_SECONDS = 10
PATIENCE = 120.0


@pytest.fixture(scope="module")
def consumer() -> Iterator[Consumer]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def watched(consumer: Consumer) -> Iterator[Stack]:
    variables = {
        "NOTIFICATION_HOOK_URL": consumer.url,
        "HUB_QUEUE_LAG_SECONDS": str(LATE_SECONDS),
        "HUB_NO_BLOCK_SECONDS": str(LATE_SECONDS),
        "HUB_ALARM_CALM_SECONDS": "1",
    }
    with Stack(block_time=1, blocks_per_eon=600, environment=variables) as running:
        yield running


@contextmanager
def frozen(stack: Stack, name: str) -> Iterator[None]:
    """The process stands still, which its supervisor does not see."""
    stack.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        stack.kill(name, signal.SIGCONT)


def calm(stack: Stack, consumer: Consumer) -> None:
    """Wait until no alarm stands of what was done before, and forget its messages."""
    deadline = time.monotonic() + PATIENCE
    while alarms := requests.get(f"{stack.hub_url}status/", timeout=30).json()["alarms"]:
        assert time.monotonic() < deadline, alarms
        time.sleep(0.2)
    consumer.take()


def told(consumer: Consumer, *parts: str) -> None:
    """Wait for a message that says all of this."""
    deadline = time.monotonic() + PATIENCE
    while not any(all(part in text for part in parts) for text in consumer.texts):
        assert time.monotonic() < deadline, consumer.texts
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("process", "task"), [("audit", "watch"), ("scheduler", "watch"), ("chain", "chain")]
)
def test_a_process_that_stands_still(watched: Stack, consumer: Consumer, process: str, task: str) -> None:
    """The worker `audit` runs the watch itself, and the scheduler starts it; others stand in for both."""
    calm(watched, consumer)
    with frozen(watched, process):
        told(consumer, "CRITICAL: queue lag", f"the periodic task {task} has not ended")
    told(consumer, "RESOLVED: queue lag", f"the periodic task {task} has not ended")


def test_a_node_that_stands_still(watched: Stack, consumer: Consumer) -> None:
    calm(watched, consumer)
    with frozen(watched, "node"):
        told(consumer, "CRITICAL: no block applied")
    told(consumer, "RESOLVED: no block applied")
