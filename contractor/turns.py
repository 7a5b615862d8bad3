"""Doing the same with each of several rows, where the node may fail at some of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from contractor.errors import NodeError

T = TypeVar("T")

LONGEST_SECONDS = 5.0
"""A node that fails for so long is asked about no others any more."""


def each(rows: Iterable[T], act: Callable[[T], bool]) -> int:
    """For how many rows it is true. One that the node fails at keeps no other from its turn, unless that takes
    long, as where it answers nothing. Raises NodeError for the first of these, at the end."""
    failure: NodeError | None = None
    changed, end = 0, time.monotonic() + LONGEST_SECONDS
    for row in rows:
        try:
            changed += act(row)
        except NodeError as error:
            failure = failure or error
            if time.monotonic() > end:
                break
    if failure is not None:
        raise failure
    return changed
