"""Fixtures of the tests about watching the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from heartbeat import watch
from heartbeat.tests.consumer import Consumer, listening


@pytest.fixture(autouse=True)
def _every_check_at_once() -> Iterator[None]:
    watch.forget()
    yield
    watch.forget()


@pytest.fixture
def consumer(settings: Any) -> Iterator[Consumer]:
    """Somebody who receives the hub's alarms."""
    settings.HUB_ALARM_CALM_SECONDS = 0
    settings.SERVER_NAME = "hub-1"
    with listening() as found:
        settings.NOTIFICATION_HOOK_URL = found.url
        yield found
