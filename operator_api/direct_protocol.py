"""Requests for the direct way are taken where the server has parsed them, and answered with one write: the way
through ASGI costs a task, an event and seven messages a request.

Built on the insides of uvicorn's protocol, whose version is pinned: a request under way stands where uvicorn has
its `RequestResponseCycle`, and becomes one when it is left to the general way.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from operator_api import limits
from operator_api.bridge import Answer
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


class DirectProtocol(HttpToolsProtocol):
    """An HTTP connection; a subclass says in `direct` what is answered directly."""

    direct: ClassVar[Direct]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle
        if type(cycle) is DirectCycle and cycle.more_body:
            cycle.wait()

    def on_headers_complete(self) -> None:
        endpoint = self.direct.endpoints.get(self.url)
        if endpoint is None or not self._regular():
            super().on_headers_complete()
            return
        self.cycle = cast(RequestResponseCycle, DirectCycle(self, endpoint, self.parser.should_keep_alive()))

    def _regular(self) -> bool:
        """Whether the request has a usual form, nothing is before it on this connection, and the client reads."""
        parser, cycle = self.parser, self.cycle
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
            and not getattr(self.app, "active", False)  # the server ends, and says so in its answers
        )

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        if type(cycle) is DirectCycle:
            cycle.begin()
        else:
            super().on_message_complete()


class DirectCycle:
    """A request that is answered directly, or left to the general way. It has what uvicorn's protocol asks of the
    request under way."""

    __slots__ = (
        "_began",
        "_endpoint",
        "_given",
        "_late",
        "_lines",
        "_protocol",
        "_scope",
        "_taken",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: DirectProtocol, endpoint: Endpoint, keep_alive: bool) -> None:
        self._protocol = protocol
        self._scope: Any = protocol.scope
        self._endpoint = endpoint
        self._taken: Taken | None = None
        self._late: asyncio.TimerHandle | None = None
        self.keep_alive = keep_alive
        self.body = bytearray()
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
        direct = self._protocol.direct
        scope = direct.origin(self._scope)
        kind, self._given = kind_of(self._endpoint.path, scope["scheme"], scope["headers"])
        lines = direct.learned.get(kind)
        if lines is None or len(self.body) > LARGEST_BODY:
            self.leave()
            return
        self._lines = lines
        if direct.limits is not None:
            client = scope["client"]
            self._taken = direct.limits.take(network(client[0] if client else ""))
            if self._taken.wait:
                self.leave()
                return
        self._endpoint.submit(bytes(self.body), self._done)

    def _done(self, result: Result) -> None:
        """What became of the request, as the pipeline tells it in the event loop."""
        protocol = self._protocol
        if protocol.transport.is_closing():
            return
        answer = self._endpoint.answer(result)
        if answer is None:
            self.leave()
            return
        self._send(answer)
        seconds = time.perf_counter() - self._began
        protocol.direct.note("POST", self._endpoint.route, answer.status, seconds)

    def _send(self, answer: Answer) -> None:
        protocol = self._protocol
        own = b"x-request-id: %s\r\ncontent-length: %d\r\n"
        parts = [
            STATUS_LINE[answer.status],
            protocol.direct.server_lines(protocol.server_state.default_headers),
            self._lines,
            own % (name_request(self._given).encode(), len(answer.content)),
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
        protocol, scope = self._protocol, self._scope
        if self._late is not None:
            self._late.cancel()
        path = self._endpoint.path
        scope.update(method="POST", path=path, raw_path=path.encode(), query_string=b"")
        if self._taken is not None:
            scope[TAKEN] = self._taken
        cycle = RequestResponseCycle(
            scope=scope,
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
        cycle.body, cycle.more_body = self.body, self.more_body
        cycle.message_event.set()
        if protocol.cycle is cast(Any, self):
            protocol.cycle = cycle
        protocol._start_asgi_task(cycle, protocol.app)


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Nothing happens."""


UNHEARD = _Unheard()
