"""Requests for the direct way are taken where the server has parsed them, and answered with one write: the way
through ASGI costs a task, an event and seven messages a request.

A connection knows the last head of such a request: one that comes again, with a body of any length, is not parsed.

Built on the insides of uvicorn's protocol, whose version is pinned: a request under way stands where uvicorn has
its `RequestResponseCycle`, and becomes one when it is left to the general way.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from operator_api import limits
from operator_api.bounded_heads import BoundedHeads
from operator_api.bridge import Answer, Headers, Scope
from operator_api.direct import Direct, Endpoint
from operator_api.learned import kind_of
from operator_api.limits import Taken
from operator_api.middleware_limits import TAKEN, network
from operator_api.middleware_observing import name_request
from operator_api.pipeline import Result

LARGEST_BODY = 65_536
"""Bytes of a regular request; an order for the most eons has a fifth."""

PIECES_SECONDS = 1.0
"""For the rest of a body that is longer than a packet. The general way waits longer."""

LARGEST_HEAD = 2_048
"""Bytes of a head that a connection knows."""
LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)\r\n", re.IGNORECASE)
LENGTH_DIGITS = 9


class Head:
    """What all that stands before the body of a direct request says."""

    __slots__ = ("endpoint", "given", "kind", "network", "scope")

    def __init__(self, direct: Direct, endpoint: Endpoint, scope: Scope) -> None:
        self.endpoint = endpoint
        self.scope = scope
        origin = direct.origin(scope)
        self.kind, self.given = kind_of(endpoint.path, origin["scheme"], origin["headers"])
        client = origin["client"]
        self.network = network(client[0] if client else "")


class Known:
    """A head as it was sent, which may come again with another length of the body."""

    __slots__ = ("_after", "_before", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        self.head = head
        self._before, self._after = before, after

    def body(self, data: bytes) -> bytes | None:
        """The body, if data are a whole request with this head."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + LENGTH_DIGITS)
        length = data[start:end]
        if not data.startswith(self._after, end) or not length.isdigit():
            return None
        body = data[end + len(self._after) :]
        return body if len(body) == int(length) else None


def known(head: Head, data: bytes, body: bytes | bytearray) -> Known | None:
    """The head of a request that came as `data`; None if something else may be in them."""
    end = len(data) - len(body)
    text = data[: min(end, LARGEST_HEAD)]
    length = LENGTH.search(text)
    # With bare line feeds, a head may end before an empty line does.
    if length is None or text.find(b"\r\n\r\n") + 4 != end or text.count(b"\n") != text.count(b"\r\n"):
        return None
    return Known(head, text[: length.start(1)], text[length.end(1) :])


class DirectProtocol(BoundedHeads):
    """An HTTP connection; a subclass says in `direct` what is answered directly."""

    direct: ClassVar[Direct]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: Known | None = None
        self._between = True
        """Whether the parser has had whole requests only."""
        self._idle_since: float | None = None
        """When the connection was made or its last answer sent, if no request has begun since then."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._watch(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        # Clients send the same head again and again: one that is known need not be parsed.
        between, before = self._between, cast(Any, self.cycle)
        if self._known is not None and between:
            body = self._known.body(data)
            if body is not None and self._free():
                self._idle_since = None
                self._begin(self._known.head, body)
                return
        super().data_received(data)
        cycle: Any = self.cycle
        if type(cycle) is not DirectCycle:
            return
        if cycle.more_body:
            cycle.wait()
        elif between and cycle is not before and cycle.keep_alive:
            self._known = known(cycle.head, data, cycle.body)

    def _begin(self, head: Head, body: bytes) -> None:
        cycle = DirectCycle(self, head, keep_alive=True, body=body)
        self.cycle = cast(Any, cycle)
        cycle.begin()

    def on_message_begin(self) -> None:
        self._between, self._idle_since = False, None
        super().on_message_begin()

    def begin_request(self) -> None:
        endpoint = self.direct.endpoints.get(self.url)
        if endpoint is None or not self._regular():
            super().begin_request()
            return
        head = Head(self.direct, endpoint, cast(Scope, self.scope))
        self.cycle = cast(Any, DirectCycle(self, head, self.parser.should_keep_alive(), bytearray()))

    def _regular(self) -> bool:
        """Whether the request has a usual form, and may be answered directly now."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and self._free()
        )

    def _free(self) -> bool:
        """Whether nothing is before a request on this connection, and the client reads."""
        cycle = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not getattr(self.app, "active", False)  # the server ends, and says so in its answers
        )

    def on_message_complete(self) -> None:
        self._between, self._outside = True, 0
        cycle: Any = self.cycle
        if type(cycle) is DirectCycle:
            cycle.begin()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = None if self._in_head else self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Called when anything comes, be it an empty line, which begins no request.

        The timer stays: to cancel it and to make another for each answer costs more than to look, when it ends, how
        long the connection has been idle.
        """

    def _watch(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._watch(left)
        else:
            super().timeout_keep_alive_handler()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._end_watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_watch()

    def _end_watch(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None


class DirectCycle:
    """A request that is answered directly, or left to the general way. It has what uvicorn's protocol asks of the
    request under way."""

    __slots__ = (
        "_began",
        "_late",
        "_lines",
        "_protocol",
        "_taken",
        "body",
        "disconnected",
        "head",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(
        self, protocol: DirectProtocol, head: Head, keep_alive: bool, body: bytes | bytearray
    ) -> None:
        self._protocol = protocol
        self.head = head
        self._taken: Taken | None = None
        self._late: asyncio.TimerHandle | None = None
        self.keep_alive = keep_alive
        self.body = body
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = UNHEARD

    def wait(self) -> None:
        """More of the body is to come."""
        if len(self.body) > LARGEST_BODY:
            self.leave()
        elif self._late is None:
            self._late = self._protocol.loop.call_later(PIECES_SECONDS, self._waited)

    def _waited(self) -> None:
        if not self._protocol.transport.is_closing():
            self.leave()

    def begin(self) -> None:
        """The request is whole: have it answered."""
        self.more_body = False
        if self._late is not None:
            self._late.cancel()
        self._began = time.perf_counter()
        direct, head = self._protocol.direct, self.head
        lines = direct.learned.get(head.kind)
        if lines is None or len(self.body) > LARGEST_BODY:
            self.leave()
            return
        self._lines = lines
        if direct.limits is not None:
            self._taken = direct.limits.take(head.network)
            if self._taken.wait:
                self.leave()
                return
        head.endpoint.submit(bytes(self.body), self._done, direct.doubts(head.network))

    def _done(self, result: Result) -> None:
        """What became of the request, as the pipeline tells it in the event loop."""
        protocol = self._protocol
        protocol.direct.note_result(self.head.network, result)
        if protocol.transport.is_closing():
            return
        answer = self.head.endpoint.answer(result)
        if answer is None:
            self.leave()
            return
        self._send(answer)
        seconds = time.perf_counter() - self._began
        protocol.direct.note("POST", self.head.endpoint.route, answer.status, seconds)

    def _send(self, answer: Answer) -> None:
        protocol = self._protocol
        own = b"x-request-id: %s\r\ncontent-length: %d\r\n"
        parts = [
            STATUS_LINE[answer.status],
            protocol.direct.server_lines(protocol.server_state.default_headers),
            self._lines,
            own % (name_request(self.head.given).encode(), len(answer.content)),
        ]
        if self._taken is not None and protocol.direct.limits is not None:
            parts.append(limits.lines(protocol.direct.limits.size, self._taken))
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        protocol.transport.write(b"".join((*parts, b"\r\n", answer.content)))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def leave(self) -> None:
        """Leave the request to the general way. What it took from the client's limit counts there, too."""
        protocol, scope = self._protocol, self.head.scope.copy()
        if self._late is not None:
            self._late.cancel()
        path = self.head.endpoint.path
        scope.update(method="POST", path=path, raw_path=path.encode(), query_string=b"")
        # What is behind may change the scope, and the head may come again.
        scope.update(headers=self._headers(), state=protocol.app_state.copy())
        if self._taken is not None:
            scope[TAKEN] = self._taken
        cycle = RequestResponseCycle(
            scope=cast(Any, scope),
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=protocol.access_log,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=protocol.on_response_complete,
        )
        cycle.body, cycle.more_body = bytearray(self.body), self.more_body
        cycle.message_event.set()
        if protocol.cycle is cast(Any, self):
            protocol.cycle = cycle
        protocol._start_asgi_task(cycle, protocol.app)

    def _headers(self) -> Headers:
        """The request's headers. Those of its head may have come with a body of another length."""
        headers: Headers = self.head.scope["headers"]
        if self.more_body:
            return headers.copy()
        own = b"content-length", b"%d" % len(self.body)
        return [own if line[0] == b"content-length" else line for line in headers]


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Nothing happens."""


UNHEARD = _Unheard()
