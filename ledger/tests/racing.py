"""Running things at the same moment, each in a thread with a database connection of its own."""

from __future__ import annotations

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
