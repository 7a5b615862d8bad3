"""A plugin of pytest that `./run.sh test` loads, above all for runs by several workers (`pytest-xdist`).

Each worker plays whole files. It has a database of its own, made by pytest-django, and from here a Redis and a file
of the scheduler. Files that start whole hubs begin first, then those with slow tests, so that a run ends with short
ones.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

import pytest

END_SECONDS = 60.0
"""In which an interrupted worker ends the hubs that its test has started; then it is killed."""

FIRST = ("stack", "slow")
"""Marks of tests whose files begin early, the earliest first."""


def _settle_in() -> None:
    """Give this process what belongs to it alone; before the settings are read."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    urls = os.environ.get("HUB_TEST_REDIS_URLS", "").split()
    if name and urls:
        os.environ["REDIS_URL"] = urls[int(name.removeprefix("gw"))]
        os.environ["HUB_BEAT_SCHEDULE_FILE"] += f"-{name}"


_settle_in()


def _interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C comes from the terminal, from `./run.sh test` and from pytest-xdist; one breaks off the test, no other
    shall break off its ending."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, _interrupt_once)
    if config.pluginmanager.hasplugin("dsession"):
        from xdist.workermanage import NodeManager

        NodeManager.EXIT_TIMEOUT = END_SECONDS


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, mark in enumerate(FIRST) if item.get_closest_marker(mark)), len(FIRST))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks: dict[str, int] = {}
    for item in items:
        file = str(item.path)
        ranks[file] = min(_rank(item), ranks.get(file, len(FIRST)))
    items.sort(key=lambda item: ranks[str(item.path)])
