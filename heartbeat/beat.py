"""One beat: several parts of work, none of which stops the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

from django.db import DatabaseError, InterfaceError, connection

from contractor.alarms import raise_alarm
from contractor.errors import ChainError, NodeError
from heartbeat.guard import single_run
from ledger.sql import execute
from ledger.store import HubNotReadyError

logger = logging.getLogger(__name__)

Part = Callable[[], int]

TOLD_EVERY = 60
"""Beats in a row with the same recoverable problem between two lines in the log."""

_problems: dict[str, int] = {}


def run(name: str, parts: Mapping[str, Part], alone: bool = True) -> int:
    """Run the parts in order, unless another run of the beat `name` is under way and it is to run `alone`. Returns
    how much they did.

    What goes wrong in a part is logged, and raised as an alarm unless it passes by itself.
    """
    try:
        with single_run(name) if alone else nullcontext(True) as mine:
            if not mine:
                return 0
            began = time.monotonic()
            done = run_parts(name, parts)
            _note(name, time.monotonic() - began, done.count(None))
            return sum(filter(None, done))
    except (DatabaseError, InterfaceError) as error:
        _passing(name, f"the database does not answer: {error}")
        connection.close()
        return 0


def _note(name: str, seconds: float, failures: int) -> None:
    """Let all hosts know that the beat lives, and how long it took."""
    execute(
        "INSERT INTO heartbeat_heartbeat (name, ended, runs, failures, seconds, last_seconds, slowest)"
        " VALUES (%s, clock_timestamp(), 1, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET"
        " ended = EXCLUDED.ended, runs = heartbeat_heartbeat.runs + 1,"
        " failures = heartbeat_heartbeat.failures + EXCLUDED.failures,"
        " seconds = heartbeat_heartbeat.seconds + EXCLUDED.seconds, last_seconds = EXCLUDED.last_seconds,"
        " slowest = greatest(heartbeat_heartbeat.slowest, EXCLUDED.slowest)",
        [name, failures, seconds, seconds, seconds],
    )


def run_parts(name: str, parts: Mapping[str, Part]) -> list[int | None]:
    """Run the parts in order. How much each did, None for those that failed. Raises django.db.Error when the
    connection is lost."""
    return [_run_part(f"{name}: {part}", work) for part, work in parts.items()]


def _run_part(name: str, work: Part) -> int | None:
    """How much the part did; None if it failed."""
    try:
        done = work()
    except (NodeError, HubNotReadyError) as error:
        _passing(name, str(error) or "the chain has not been read yet")
        return None
    except ChainError as error:
        raise_alarm("chain", f"{name}: {error}")
        return None
    except Exception as error:
        if raise_alarm("task failed", f"{name}: {type(error).__name__}: {error}"):
            logger.exception("%s failed", name)
        if isinstance(error, DatabaseError | InterfaceError) and not connection.is_usable():
            raise
        return None
    if _problems.pop(name, 0):
        logger.info("%s works again", name)
    return done


def _passing(name: str, text: str) -> None:
    """Log a problem that should pass, at first and then now and then."""
    count = _problems.get(name, 0)
    _problems[name] = count + 1
    if count % TOLD_EVERY == 0:
        logger.warning("%s: %s", name, text)
