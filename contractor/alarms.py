"""Alarms: what the operator must look at."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

QUIET_SECONDS = 600.0
"""The same alarm (subject and text, or key) is raised once in this time a process: a beat can't flood anyone."""
REMEMBERED = 1000

_raised: dict[tuple[str, str], float] = {}


def raise_alarm(subject: str, text: str, key: str | None = None) -> bool:
    """Tell the operator; False if the same was told a short while ago. `subject` names the alarm's page in the
    runbook (`docs/operations/alarms`), `text` is the sentence with the numbers. Where those change all the time,
    `key` says what the alarm is about instead of the text."""
    now = time.monotonic()
    alarm = subject, text if key is None else key
    last = _raised.get(alarm)
    if last is not None and now - last < QUIET_SECONDS:
        return False
    if len(_raised) >= REMEMBERED:
        _raised.clear()
    _raised[alarm] = now
    logger.critical("ALARM %s: %s", subject, text)
    return True


def forget() -> None:
    """Let every alarm be raised again, for tests."""
    _raised.clear()
