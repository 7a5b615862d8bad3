"""Processes that stay have the garbage collector pass over what they have loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from celery.signals import worker_ready

from operator_api import celery, collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_a_worker_that_is_ready_spares_what_it_has_loaded() -> None:
    frozen = gc.get_freeze_count()
    worker_ready.send(celery.app)
    assert gc.get_freeze_count() > frozen + 10_000
    assert gc.get_threshold()[0] == collector.NEW_OBJECTS


def test_cycles_made_afterwards_are_found() -> None:
    collector.spare()

    class Node:
        def __init__(self) -> None:
            self.itself = self

    for _ in range(100):
        Node()
    assert gc.collect() >= 100
