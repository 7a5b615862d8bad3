"""Requests that arrive together share a transaction: its round trips and its flush to disk are paid once.

The first caller leads: it writes everybody's commands that are waiting, in order of arrival, on its own database
connection. Those that arrive meanwhile wait, and when it is done the first of them leads the next batch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Event, Lock

from ledger.engine import Command
from ledger.store import Outcome, execute

logger = logging.getLogger(__name__)

LARGEST_BATCH = 100
"""Commands in one transaction; more wait for the next."""


@dataclass(slots=True)
class _Request:
    command: Command
    woken: Event = field(default_factory=Event)
    leads: bool = False
    outcome: Outcome | None = None
    error: Exception | None = None


class GroupCommitter:
    """Writes the commands of concurrent callers together.

    A batch that fails as a whole is tried again one command at a time, so that none suffers for another.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[_Request] = []
        self._led = False

    def submit(self, command: Command) -> Outcome:
        """Decide and write one command; returns when it is durable. Raises what the store raises for it."""
        request = _Request(command)
        with self._lock:
            self._waiting.append(request)
            request.leads = not self._led
            self._led = True
        if not request.leads:
            request.woken.wait()
        if request.leads:
            self._lead()
        if request.error is not None:
            raise request.error
        assert request.outcome is not None
        return request.outcome

    def _lead(self) -> None:
        """Write the batch that the caller's own request heads, then pass the lead on."""
        with self._lock:
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
        try:
            self._write(batch)
        finally:
            for request in batch[1:]:
                request.woken.set()
            with self._lock:
                self._led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()

    def _write(self, batch: list[_Request]) -> None:
        try:
            outcomes = execute([request.command for request in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            logger.warning("a batch of %d failed, trying one by one: %s", len(batch), error)
            for request in batch:
                self._write([request])
            return
        for request, outcome in zip(batch, outcomes, strict=True):
            request.outcome = outcome


committer = GroupCommitter()
"""The one of this process."""
