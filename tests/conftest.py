"""Fixtures that the tests of the whole hub share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scripts.hub.stack import Stack

BLOCK_TIME = 1  # seconds
BLOCKS_PER_EON = 120  # long enough for the slowest machine to finish a step sequence inside one eon


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole hub with its services on free ports, shared by the tests that only use it."""
    from scripts.hub.stack import Stack

    with Stack(block_time=BLOCK_TIME, blocks_per_eon=BLOCKS_PER_EON) as running:
        yield running
