"""One beat: several parts of work, none of which stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from django.db import DatabaseError, InterfaceError, connection

from contractor.alarms import raise_alarm
from contractor.errors import ChainError, NodeError
from heartbeat.guard import single_run
from ledger.store import HubNotReadyError

logger = logging.getLogger(__name__)

Part = Callable[[], int]

TOLD_EVERY = 60
"""Beats in a row with the same recoverable problem between two lines in the log."""

_problems: dict[str, int] = {}


def run(name: str, parts: Mapping[str, Part]) -> int:
    """Run the parts in order, unless another run of the beat `name` is under way. Returns how much they did.

    What goes wrong in a part is logged, and raised as an alarm unless it passes by itself.
    """
    try:
        with single_run(name) as mine:
            if not mine:
                return 0
            return sum(_run_part(f"{name}: {part}", work) for part, work in parts.items())
    except (DatabaseError, InterfaceError) as error:
        _passing(name, f"the database does not answer: {error}")
        connection.close()
        return 0


def _run_part(name: str, work: Part) -> int:
    try:
        done = work()
    except (NodeError, HubNotReadyError) as error:
        _passing(name, str(error) or "the chain has not been read yet")
        return 0
    except ChainError as error:
        raise_alarm("chain", f"{name}: {error}")
        return 0
    except Exception as error:
        if raise_alarm("task failed", f"{name}: {type(error).__name__}: {error}"):
            logger.exception("%s failed", name)
        if isinstance(error, DatabaseError | InterfaceError) and not connection.is_usable():
            raise
        return 0
    if _problems.pop(name, 0):
        logger.info("%s works again", name)
    return done


def _passing(name: str, text: str) -> None:
    """Log a problem that should pass, at first and then now and then."""
    count = _problems.get(name, 0)
    _problems[name] = count + 1
    if count % TOLD_EVERY == 0:
        logger.warning("%s: %s", name, text)
