"""Running things at the same moment, each in a thread with a database connection of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

from django.db import connection

TIMEOUT = 60
"""Seconds after which a race that does not end has failed."""


class Running:
    """A call in a thread."""

    def __init__(self, action: Callable[[], Any], start: Barrier | None = None) -> None:
        self._action = action
        self._start = start
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            if self._start is not None:
                self._start.wait(TIMEOUT)
            self._result = self._action()
        except BaseException as error:
            self._error = error
        finally:
            connection.close()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> Any:
        """What the call returned, or the exception it raised."""
        self._thread.join(TIMEOUT)
        assert self.over, "it never ended"
        return self._result if self._error is None else self._error


def race(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Start all calls at one moment; what each returned, or the exception it raised."""
    start = Barrier(len(actions))
    running = [Running(action, start) for action in actions]
    return [call.outcome() for call in running]


def waiting_for_a_lock() -> bool:
    """Whether some session waits for another's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for the condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
