"""Commands of many requests at once: a thread reads, verifies and writes what waits as one batch.

The event loop hands a request over and is called once for a whole batch: a thread for each request would cost more
than its work. Threads take turns at the interpreter, so a second one is only for batches that PostgreSQL is long
about, to read the next one meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar, cast

import orjson
from django.db import close_old_connections, connections

from ledger.group_commit import Committer
from operator_api.plain_input import IRREGULAR

logger = logging.getLogger(__name__)

Read = Callable[[Any], Any]
"""Makes a command of a parsed body, or says (None, IRREGULAR) that the request is one for the general way."""
Result = Any
"""What became of a request: what its committer says, an exception, or None if it is one for the general way."""
Meet = Callable[[Sequence[Any]], None]
"""Looks up at once what reading several parsed bodies needs."""

ALIVE_SECONDS = 1.0
"""How long a connection that answered is taken to answer. One that is lost meanwhile fails one batch, which is then
tried again command by command."""
FEWEST = 16
"""Requests that are not worth two batches."""

Queued = TypeVar("Queued")


class Waiting(Protocol):
    """A request that a thread finds a result for."""

    loop: asyncio.AbstractEventLoop
    result: Result

    @property
    def done(self) -> Callable[[Result], None]:
        """What is told the result, in the event loop."""


@dataclass(slots=True)
class Ticket:
    """A request under way."""

    read: Read
    body: bytes
    done: Callable[[Result], None]
    loop: asyncio.AbstractEventLoop
    apart: bool = False
    data: Any = None
    command: Any = None
    result: Result = None


class Pipeline:
    """For the commands of one committer. Its threads start with its first request and end with `close` or with the
    process."""

    def __init__(self, committer: Committer[Any, Any], meet: Meet | None = None, threads: int = 1) -> None:
        self._committer = committer
        self._meet = meet
        self._arrived: SimpleQueue[Ticket | None] = SimpleQueue()
        self._count = threads
        self._threads: list[Thread] = []
        self._lock = Lock()

    def submit(self, read: Read, body: bytes, done: Callable[[Result], None], apart: bool = False) -> None:
        """Have a request's command read, decided and written. `done` is called in the running event loop with what
        became of it, durably, or what the store raised; with None if the request is one for the general way, and
        nothing was done. Those that are `apart` share a batch with each other only."""
        if not self._threads:
            self._start()
        self._arrived.put(Ticket(read, body, done, asyncio.get_running_loop(), apart))

    def close(self) -> None:
        """End the threads, for tests."""
        for _ in self._threads:
            self._arrived.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if not self._threads:
                self._threads = [
                    Thread(target=self._work, daemon=True, name="direct") for _ in range(self._count)
                ]
                for thread in self._threads:
                    thread.start()

    def _work(self) -> None:
        """What each thread does."""
        database = Database()
        for tickets in batches(self._arrived, self._committer.largest):
            regular: list[Ticket] = []
            with answering(tickets), database.used():
                regular = self._read(tickets)
            for together in parted(regular):
                with answering(together), database.used():
                    self._write(together)
        connections.close_all()

    def _read(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Those that have a command now; the others are told that they are for the general way."""
        parse(tickets, self._meet)
        for ticket in tickets:
            ticket.command = command_of(ticket)
        tell([ticket for ticket in tickets if ticket.command is None])
        return [ticket for ticket in tickets if ticket.command is not None]

    def _write(self, tickets: Sequence[Ticket]) -> None:
        """Have the commands decided and written, and tell what became of each."""
        results = self._committer.submit_all([ticket.command for ticket in tickets])
        for ticket, result in zip(tickets, results, strict=True):
            ticket.result = result
        tell(tickets)


class Database:
    """The database connections of a thread, which a query asks whether they are alive before they are used, unless
    they were a moment ago."""

    def __init__(self) -> None:
        self._alive = -ALIVE_SECONDS

    @contextmanager
    def used(self) -> Iterator[None]:
        """Around each use."""
        close_old_connections()
        if time.monotonic() - self._alive < ALIVE_SECONDS:
            for connection in connections.all(initialized_only=True):
                cast(Any, connection).health_check_done = True
        self._alive = -ALIVE_SECONDS
        yield
        self._alive = time.monotonic()


def batches(queue: SimpleQueue[Queued | None], largest: int) -> Iterator[list[Queued]]:
    """What there is in the queue, so many at most, again and again until None is.

    Who was answered asks again while the next batch is worked on. After a batch of all there would be few to go on
    with, and nothing to take in during the batch: so each is half of those who wait and those just answered.
    """
    tickets: list[Queued] = []
    while True:
        found = queue.get()
        half = (queue.qsize() + 2 + len(tickets)) // 2
        limit = min(largest, max(FEWEST, half))
        tickets = []
        try:
            while found is not None and len(tickets) < limit - 1:
                tickets.append(found)
                found = queue.get_nowait()
        except Empty:
            yield tickets
            continue
        if found is not None:
            tickets.append(found)
        if tickets:
            yield tickets
        if found is None:
            return


@contextmanager
def answering(tickets: Sequence[Waiting]) -> Iterator[None]:
    """Requests get what this block raises for an answer, and their thread goes on."""
    try:
        yield
    except Exception as error:
        for ticket in tickets:
            ticket.result = error
        tell(tickets)


def parse(tickets: Sequence[Ticket], meet: Meet | None) -> None:
    """Parse the bodies and look up at once what reading them needs; what is no JSON is left."""
    for ticket in tickets:
        with suppress(ValueError):
            ticket.data = orjson.loads(ticket.body)
    if meet is None:
        return
    try:
        meet([ticket.data for ticket in tickets])
    except Exception as error:  # each will be looked up on its own
        logger.warning("requests are looked up one by one: %s: %s", type(error).__name__, error)


def command_of(ticket: Ticket) -> Any:
    """The command in a request; None if it is one for the general way."""
    try:
        return None if ticket.data is None else ticket.read(ticket.data)
    except IRREGULAR:
        return None
    except Exception as error:  # nothing was done yet, so the general way may try
        logger.warning("a request is read again: %s: %s", type(error).__name__, error)
        return None


def parted(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    """Those that may share a batch, the ones that are apart last."""
    parts = [[ticket for ticket in tickets if ticket.apart == apart] for apart in (False, True)]
    return [part for part in parts if part]


def tell(tickets: Sequence[Waiting]) -> None:
    """Let the event loop go on with requests."""
    if tickets:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            tickets[0].loop.call_soon_threadsafe(_go_on, tickets)


def _go_on(tickets: Sequence[Waiting]) -> None:
    for ticket in tickets:
        try:
            ticket.done(ticket.result)
        except Exception:  # one answer that fails spoils no other
            logger.exception("an answer failed")
