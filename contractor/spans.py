"""How much to ask a node for at once: learned from what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from contractor.errors import NodeError, NodeRefusedError

T = TypeVar("T")

PATIENCE = 8
"""Answers in a row after which twice as much is asked for."""


class Span:
    """The number of blocks asked for in one request, at most `largest`: half of what was refused, twice as much
    again after some answers."""

    def __init__(self, largest: int) -> None:
        self.size = self.largest = largest
        self._answers = 0

    def refused(self, blocks: int) -> None:
        """A request for so many blocks was too much."""
        self.size = max(blocks // 2, 1)
        self._answers = 0

    def answered(self, blocks: int) -> None:
        """A request for so many blocks was answered."""
        if self.size == self.largest or blocks < self.size:
            return
        self._answers += 1
        if self._answers >= PATIENCE:
            self.size = min(self.size * 2, self.largest)
            self._answers = 0


def read_range(span: Span, first: int, last: int, ask: Callable[[int, int], list[T]]) -> list[T]:
    """What `ask(first, last)` gives, asked for in as many requests as the node needs. Raises NodeRefusedError when
    it refuses a single block, NodeError when it does not answer; then less is asked for the next time."""
    found: list[T] = []
    while first <= last:
        end = min(last, first + span.size - 1)
        blocks = end - first + 1
        try:
            found += ask(first, end)
        except NodeRefusedError:
            span.refused(blocks)
            if blocks == 1:
                raise
            continue
        except NodeError:
            span.refused(blocks)
            raise
        span.answered(blocks)
        first = end + 1
    return found
