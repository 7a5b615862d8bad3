"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ledger import directory
from tos import services as terms_of_service


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What a process remembers of the database, which tests undo."""
    directory.clear()
    terms_of_service.clear()
    yield
    directory.clear()
    terms_of_service.clear()
