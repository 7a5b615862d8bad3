"""HTTP connections that keep no more of a head than a client needs, and wait for it no longer than for a body.

A parser keeps a head until it is whole, and what follows a body that came in chunks, the trailers, until that ends.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from operator_api import bridge
from operator_api.bridge import CLOSE, json_answer

LONGEST_HEAD: Final = 65_536
"""Bytes in a row that may belong to no body."""


class BoundedHeads(HttpToolsProtocol):
    """An HTTP connection. A subclass says in `begin_request` what becomes of a head that is whole."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._outside = 0
        """Bytes that came since the parser told of the end of a head, a part of a body, or its end."""
        self._in_head = False
        self._given_up: asyncio.TimerHandle | None = None
        """When the head that has begun is waited for no longer; a head that comes at once needs none."""

    def data_received(self, data: bytes) -> None:
        self._outside += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._outside > LONGEST_HEAD:
            self._refuse(400, f"A request's head has at most {LONGEST_HEAD} bytes.")
        elif self._in_head and self._given_up is None:
            self._wait()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._outside, self._in_head = 0, False
        self._end_wait()
        self.begin_request()

    def begin_request(self) -> None:
        """Have the request answered, whose body is to come."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._outside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._outside = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end_wait()

    def _wait(self) -> None:
        self._given_up = self.loop.call_later(bridge.BODY_SECONDS, self._waited)

    def _end_wait(self) -> None:
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None

    def _waited(self) -> None:
        self._given_up = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()  # the server may not have read on, as a request before this one is not answered yet
        else:
            self._refuse(408, f"The request's head did not arrive within {bridge.BODY_SECONDS:.0f} s.")

    def _refuse(self, status: int, explanation: str) -> None:
        """End the connection, and say why unless that would pass for the answer to a request before, or for a part
        of one."""
        cycle: Any = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if not answering or (cycle.more_body and not getattr(cycle, "response_started", False)):
            answer = json_answer(status, {"detail": explanation}, CLOSE)
            lines = (*self.server_state.default_headers, *answer.headers)
            head = b"".join(b"%s: %s\r\n" % line for line in lines)
            self.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", answer.content)))
        self.transport.close()
