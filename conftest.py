"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from admission import direct as registrations
from contractor import alarms
from heartbeat.tests.consumer import listening
from heartbeat.tests.drill import Drill
from ledger import directory, trees
from swapper.selectors import open_pairs
from tos import services as terms_of_service


@pytest.fixture(scope="session", autouse=True)
def _static_files_on_demand() -> None:
    """Else each of the tests' clients, which load the middleware anew, reads all static files first."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What a process remembers of the database, which tests undo."""
    directory.clear()
    trees.remembered.clear()
    open_pairs.clear()
    terms_of_service.clear()
    registrations.forget()
    alarms.recorder.automatic = False  # its thread would write beside the test's transaction
    alarms.forget()
    yield
    directory.clear()
    trees.remembered.clear()
    open_pairs.clear()
    terms_of_service.clear()
    registrations.forget()


@pytest.fixture
def drill(settings: Any) -> Iterator[Drill]:
    """Somebody who is told of the alarms of the hub under test."""
    with listening() as consumer:
        settings.NOTIFICATION_HOOK_URL = consumer.url
        yield Drill(consumer)
