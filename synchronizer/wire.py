"""How frames leave for a client: past ASGI where the server is the hub's own, so that a frame is made once for all
who get it and costs each of them no more than a write to its socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

EXTENSION = "hub.wire"
"""The ASGI extension under which an application finds its connection's :class:`ServerWire`."""
CLOSE_SECONDS = 10.0
"""How long a client that is told to go has to take what was written; then its socket is closed."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def nothing() -> None:
    """What happens where nobody waits for a connection to be ready."""


def encoded(text: str) -> bytes:
    """The websocket frame of a text, as any client can be sent it."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def decoded(frame: bytes) -> str:
    """The text of :func:`encoded`."""
    start = {126: 4, 127: 10}.get(frame[1], 2)
    return frame[start:].decode()


class Wire(Protocol):
    """What takes a connection's frames."""

    resumed: Callable[[], None]
    """Called when it is ready again."""

    @property
    def ready(self) -> bool:
        """Whether it takes frames now, or the client has to read some first."""

    def write(self, frame: bytes) -> None:
        """Send a frame at once. Does nothing when the connection has ended."""

    async def drained(self) -> None:
        """Wait until it is ready. Raises ClientDisconnected when the connection has ended."""

    def end(self, code: int) -> None:
        """Close the connection, whether the client reads or not."""


class ServerWire(WebSocketsSansIOProtocol):
    """A websocket of the hub's server process. Nothing is compressed, so one form of a frame fits all clients."""

    resumed: Callable[[], None] = staticmethod(nothing)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # The library refuses long lines and many headers by itself, and its answer is left to be sent.
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    async def run_asgi(self) -> None:
        extensions = cast(dict[str, Any], self.scope["extensions"])
        extensions[EXTENSION] = self
        try:
            await super().run_asgi()
        finally:  # so that the connection's objects do not have to wait for the garbage collector
            del extensions[EXTENSION]
            self.resumed = nothing

    @property
    def ready(self) -> bool:
        return self.writable.is_set()

    def write(self, frame: bytes) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(frame)

    async def drained(self) -> None:
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resumed()

    def end(self, code: int) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        self.conn.send_close(code)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
        self.writable.set()  # whoever waits learns that there is nobody to write to
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        if self.read_paused:  # for the client's own close
            self.read_paused = False
            self.transport.resume_reading()

    def shutdown(self) -> None:
        """The server ends: tell the client, once."""
        if self.close_sent:
            self.transport.close()
            return
        super().shutdown()
        self.close_sent = True

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping in time. What it sent may still wait behind requests that are being
        answered; otherwise its connection goes, with what it did not take."""
        if self.read_paused:
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


class AsgiWire:
    """The same through another ASGI server: one frame at a time."""

    def __init__(self, send: Send) -> None:
        self.resumed: Callable[[], None] = nothing
        self._send = send
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def ready(self) -> bool:
        return self._free.is_set()

    def write(self, frame: bytes) -> None:
        self._begin({"type": "websocket.send", "text": decoded(frame)})

    async def drained(self) -> None:
        await self._free.wait()
        if self._ended:
            raise ClientDisconnected

    def end(self, code: int) -> None:
        self._begin({"type": "websocket.close", "code": code})
        self._ended = True

    def _begin(self, message: dict[str, Any]) -> None:
        if not self._ended:
            self._free.clear()
            self._task = asyncio.ensure_future(self._finish(message, self._task))

    async def _finish(self, message: dict[str, Any], before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await before
        try:
            await self._send(message)
        except ClientDisconnected:
            self._ended = True
        self._free.set()
        if not self._ended:
            self.resumed()


def wire_of(scope: MutableMapping[str, Any], send: Send) -> Wire:
    """The wire of a websocket's scope."""
    found: Wire | None = (scope.get("extensions") or {}).get(EXTENSION)
    return AsgiWire(send) if found is None else found
