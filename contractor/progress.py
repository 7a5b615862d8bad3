"""Telling how far the hub has come while it reads many blocks."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

logger = logging.getLogger(__name__)

FAR_BLOCKS = 100
"""From so many blocks behind on, progress is told."""
TELL_SECONDS = 5.0


@dataclass(slots=True)
class CatchUp:
    """Reading from block `first` on, since `began` (monotonic seconds); last told at `told`."""

    first: int
    began: float
    told: float

    def speed(self, block: int, now: float) -> float:
        """Blocks a second so far."""
        return (block - self.first) / max(now - self.began, 0.001)


_current: CatchUp | None = None


def tell(before: int, block: int, head: int) -> None:
    """Log how far it is, now and then: a step led from block `before` to `block`, the node is at `head`."""
    global _current  # noqa: PLW0603  (one catch-up a process)
    now = time.monotonic()
    left = head - block
    if _current is None:
        if head - before < FAR_BLOCKS:
            return
        _current = CatchUp(before, now, now - TELL_SECONDS)
        logger.info("%s blocks to catch up, from block %s on", head - before, before)
        return
    speed = _current.speed(block, now)
    if left < FAR_BLOCKS:
        logger.info(
            "caught up with block %s: %s blocks at %.0f blocks/s", head, block - _current.first, speed
        )
        _current = None
    elif now - _current.told >= TELL_SECONDS:
        _current.told = now
        done = 100 * (block - _current.first) / (head - _current.first)
        seconds = left / speed if speed > 0 else float("inf")
        logger.info(
            "catching up: block %s of %s, %.1f %%, %.0f blocks/s, about %.0f s to go",
            block,
            head,
            done,
            speed,
            seconds,
        )


def forget() -> None:
    """Begin anew, for tests."""
    global _current  # noqa: PLW0603
    _current = None
