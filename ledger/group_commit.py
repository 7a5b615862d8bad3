"""Requests that arrive together share a transaction: its round trips and its flush to disk are paid once.

The first caller leads: it writes everybody's commands that are waiting, in order of arrival, on its own database
connection. Those that arrive meanwhile wait, and when it is done the first of them leads the next batch.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Generic, TypeVar

from ledger.engine import Command
from ledger.lost_commits import CommitUnknownError
from ledger.store import Outcome, execute
from operator_api.error_codes import is_read_only

logger = logging.getLogger(__name__)

LARGEST_BATCH = 200
"""Commands in one transaction; more wait for the next."""


Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Request(Generic[Asked, Answer]):
    """The commands of one caller, and what became of each."""

    commands: Sequence[Asked]
    woken: Event = field(default_factory=Event)
    leads: bool = False
    outcomes: list[Answer | Exception] = field(default_factory=list)


class Committer(ABC, Generic[Asked, Answer]):
    """Writes the commands of concurrent callers together, in the way of a subclass.

    A batch that fails as a whole is tried again one command at a time, so that none suffers for another. One that
    may have been written is not: who sent a command once would hear that it is known.
    """

    largest = LARGEST_BATCH

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: list[_Request[Asked, Answer]] = []
        self._led = False

    @abstractmethod
    def execute(self, commands: Sequence[Asked]) -> Sequence[Answer | Exception]:
        """Write commands in a transaction of their own: what became of each, in order."""

    def submit(self, command: Asked) -> Answer:
        """Decide and write one command; returns when it is durable. Raises what the store raises for it."""
        (outcome,) = self.submit_all([command])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def submit_all(self, commands: Sequence[Asked]) -> list[Answer | Exception]:
        """Decide and write commands, at most `largest`; returns when they are durable: what became of each, or
        what the store raised for it."""
        request: _Request[Asked, Answer] = _Request(commands)
        with self._lock:
            self._waiting.append(request)
            request.leads = not self._led
            self._led = True
        if not request.leads:
            request.woken.wait()
        if request.leads:
            self._lead()
        return request.outcomes

    def _lead(self) -> None:
        """Write the batch that the caller's own request heads, then pass the lead on."""
        batch = self._next()
        try:
            outcomes = iter(self._write([command for request in batch for command in request.commands]))
            for request in batch:
                request.outcomes = [next(outcomes) for _ in request.commands]
        finally:
            for request in batch[1:]:
                request.woken.set()
            with self._lock:
                self._led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()

    def _next(self) -> list[_Request[Asked, Answer]]:
        with self._lock:
            commands = 0
            for count, request in enumerate(self._waiting):
                commands += len(request.commands)
                if count and commands > self.largest:
                    break
            else:
                count = len(self._waiting)
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _write(self, commands: Sequence[Asked]) -> list[Answer | Exception]:
        try:
            return list(self.execute(commands))
        except CommitUnknownError as error:
            return [error for _ in commands]
        except Exception as error:
            if len(commands) == 1 or is_read_only(error):
                return [error for _ in commands]
            logger.warning("a batch of %d failed, trying one by one: %s", len(commands), error)
            return [outcome for command in commands for outcome in self._write([command])]


class GroupCommitter(Committer[Command, Outcome]):
    """The one of the ledger's commands."""

    def execute(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        return execute(commands)


committer = GroupCommitter()
"""The one for requests that come the general way. Those of the direct way have one of their own
(`operator_api.asgi`): they do not wait for what others' signatures cost that are not valid."""
