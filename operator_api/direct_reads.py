"""The reads that come most often, past Django: states of wallets and what else is read plainly (`plain_reads.py`).

A request is answered here if it is regular and what it asks for is found. All others go on to the general way,
which alone says what is wrong with a request. What all requests pass on the way to Django applies here, too: the
limits by address of the client stand before both ways, and ids, counts and the log are those of
`middleware_observing`. The headers of an answer are learned, as those of direct writes are (`learned.py`).

The event loop hands requests to a few threads, each of which takes what waits, reads it together and keeps its
database connection: one statement for eight wallets takes PostgreSQL half as long as eight, and Python a quarter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from re import Pattern
from threading import Lock, Thread
from typing import Any

import orjson
from django.conf import settings
from django.db import connections

from auditor.urls import urlpatterns
from operator_api.bridge import Answer, Headers, Receive, Scope, Send, json_answer, send_answer
from operator_api.error_codes import NO_DATABASE, NO_DATABASE_DETAIL
from operator_api.learned import OWN, Learned, kind_of
from operator_api.middleware_observing import name_request, observer
from operator_api.pipeline import Database, answering, batches, tell
from operator_api.plain_reads import FindAll, together

logger = logging.getLogger(__name__)

OK = 200
THREADS = 2
"""While one waits for PostgreSQL, the other makes answers."""
LARGEST_BATCH = 16
"""Reads together: more save nothing, and each waits for all."""
ALLOW = b"allow"
OF_ANSWER = OWN | {b"stream-position"}
"""Headers of an answer that are its own."""
BODY = frozenset({b"content-length", b"transfer-encoding"})
"""Headers of a request that has a body."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """Paths that are read alike."""

    route: str
    path: Pattern[str]
    find_all: FindAll


def endpoints() -> list[Endpoint]:
    """All that is read plainly."""
    patterns: list[Any] = [found for found in urlpatterns if found.callback in together]
    return [Endpoint(str(found.pattern), found.pattern.regex, together[found.callback]) for found in patterns]


def reading_directly(general: Any, readers: Readers) -> Any:
    """The ASGI application of the type "http" with the general way behind it; the general way alone while requests
    are traced, since it is Django's that are."""
    return general if settings.OTEL_EXPORTER_OTLP_ENDPOINT else DirectReads(general, readers)


class DirectReads:
    """See the module."""

    def __init__(self, general: Any, readers: Readers) -> None:
        self._general = general
        self._readers = readers
        self._note = observer()
        self._learned = Learned(OK, OF_ANSWER, list)
        self._endpoints = endpoints()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = None
        if scope["method"] == "GET" and not scope["query_string"] and not scope.get("root_path"):
            asked = self._asked(scope["path"])
        if asked is None:
            await self._general(scope, receive, send)
            return
        began = time.perf_counter()
        endpoint, names = asked
        kind, given = kind_of(endpoint.route, scope["scheme"], scope["headers"])
        lines = self._learned.get(kind)
        if lines is None:
            await self._general(scope, receive, self._learned.learning(kind, send))
            return
        answer = None if has_body(scope) else await self._answer(endpoint, names, lines)
        if answer is None:
            await self._general(scope, receive, send)
            return
        answer.headers.append((b"x-request-id", name_request(given).encode()))
        answer.headers.append((b"content-length", b"%d" % len(answer.content)))
        self._note("GET", endpoint.route, answer.status, time.perf_counter() - began)
        await send_answer(send, answer)

    def _asked(self, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        for endpoint in self._endpoints:
            found = endpoint.path.fullmatch(path[1:])
            if found is not None:
                return endpoint, found.groupdict()
        return None

    async def _answer(self, endpoint: Endpoint, names: dict[str, str], lines: Headers) -> Answer | None:
        """The answer without the headers that are its own; None if the request is one for the general way."""
        try:
            read = await self._readers.read(endpoint, names)
        except NO_DATABASE:
            without = [line for line in lines if line[0] != ALLOW]
            return Answer(503, without, json_answer(503, {"detail": NO_DATABASE_DETAIL}).content)
        if read is None:
            return None
        content, own = read
        return Answer(OK, [*lines, *own], content)


def has_body(scope: Scope) -> bool:
    """Whether the request has a body, which the general way reads."""
    return any(name in BODY for name, _ in scope["headers"])


Read = tuple[bytes, Headers]
"""A body and the headers that its document has of its own."""
Result = Read | Exception | None
"""What became of a read; None if the general way is to say."""


@dataclass(slots=True)
class Ticket:
    """A read under way."""

    endpoint: Endpoint
    names: dict[str, str]
    done: Callable[[Result], None]
    loop: asyncio.AbstractEventLoop
    result: Result = None


class Readers:
    """The threads. They start with the first read and end with `close` or with the process."""

    def __init__(self, threads: int = THREADS) -> None:
        self._count = threads
        self._waiting: SimpleQueue[Ticket | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._lock = Lock()

    async def read(self, endpoint: Endpoint, names: dict[str, str]) -> Read | None:
        """What was found; None if the general way is to say. Raises one of NO_DATABASE."""
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._waiting.put(Ticket(endpoint, names, partial(_tell, answer), loop))
        result = await answer
        if isinstance(result, NO_DATABASE):
            raise result
        return None if isinstance(result, Exception) else result

    def close(self) -> None:
        """End the threads, for tests."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if not self._threads:
                self._threads = [
                    Thread(target=self._work, daemon=True, name="reads") for _ in range(self._count)
                ]
                for thread in self._threads:
                    thread.start()

    def _work(self) -> None:
        database = Database()
        for tickets in batches(self._waiting, LARGEST_BATCH):
            with answering(tickets), database.used():
                find(tickets)
                tell(tickets)
        connections.close_all()


def _tell(answer: asyncio.Future[Result], result: Result) -> None:
    if not answer.done():  # the client may be gone
        answer.set_result(result)


def find(tickets: Sequence[Ticket]) -> None:
    """Read what the tickets ask for; what is asked for twice is read once."""
    asked: dict[Endpoint, dict[tuple[str, ...], list[Ticket]]] = defaultdict(lambda: defaultdict(list))
    for ticket in tickets:
        asked[ticket.endpoint][tuple(ticket.names.values())].append(ticket)
    for endpoint, alike in asked.items():
        groups = list(alike.values())
        try:
            found = endpoint.find_all([group[0].names for group in groups])
        except NO_DATABASE as error:
            logger.error("reads without the database", exc_info=error)
            set_result(groups, error)
            continue
        except (
            Exception
        ) as error:  # it may be the fault of one of them: the general way reads each on its own
            logger.warning("%d reads go the general way: %s: %s", len(groups), type(error).__name__, error)
            continue
        for group, one in zip(groups, found, strict=True):
            if one is not None:
                document, headers = one
                own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
                set_result([group], (orjson.dumps(document), own))


def set_result(groups: Sequence[Sequence[Ticket]], result: Read | Exception) -> None:
    """Give all tickets of the groups a result."""
    for group in groups:
        for ticket in group:
            ticket.result = result
