"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contractor import alarms
from ledger import directory, trees
from swapper.selectors import open_pairs
from tos import services as terms_of_service


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What a process remembers of the database, which tests undo."""
    directory.clear()
    trees.remembered.clear()
    open_pairs.clear()
    terms_of_service.clear()
    alarms.recorder.automatic = False  # its thread would write beside the test's transaction
    alarms.forget()
    yield
    directory.clear()
    trees.remembered.clear()
    open_pairs.clear()
    terms_of_service.clear()
