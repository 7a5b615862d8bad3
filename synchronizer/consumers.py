"""A client's websocket connection (`spec/http-api.md` §5)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from enum import IntEnum
from typing import Any, TypeVar

import orjson
from channels.consumer import AsyncConsumer
from uvicorn.protocols.utils import ClientDisconnected

from auditor.selectors import ArchivedError
from ledger import positions
from ledger.store import HubNotReadyError
from operator_api.limits import PACE, Pace
from synchronizer import snapshots, streams
from synchronizer.admittance import Admittance
from synchronizer.database import in_database
from synchronizer.open_orders import open_orders
from synchronizer.replay import Since, replay, since_of
from synchronizer.switchboard import leave_all, switchboard
from synchronizer.wire import Send, encoded, wire_of

logger = logging.getLogger(__name__)

MAX_STREAMS = 100
MAX_FRAME = 32_768
"""Characters of a request; 100 streams need a third of that."""
MAX_WAITING = 10_000
"""Frames that wait for a client that does not read; one more, and it is disconnected."""
READY_TIMEOUT = 2.0  # seconds
HEARTBEAT = (1, 600)
"""Seconds between heartbeats that a client may ask for."""


class Close(IntEnum):
    """The codes with which the hub closes a connection."""

    POLICY_VIOLATION = 1008
    """The address has as many connections as it may have."""
    TRY_AGAIN_LATER = 1013
    """The client read too slowly: connect again and go on with `since`."""


R = TypeVar("R")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Waiting = tuple[int, str | None, bytes]
"""(position, group, frame); the group is None for what is sent in any case."""
admittance = Admittance()
RAW_ADDRESS = re.compile("[0-9a-fA-F]{40}")


class RequestError(Exception):
    """A request that is answered with an error frame."""


class StreamConsumer(AsyncConsumer):
    """One connection: its subscriptions, and the frames waiting to be sent.

    Frames are written to the connection as they come; while it takes no more, and while a request is answered, they
    wait. So everything is sent in order, and a slow client delays nobody else.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.wire = wire_of(scope, send)
        self.pace: Pace | None = scope.get(PACE)
        self.wire.resumed = self.flush
        self.held: dict[str, str] = {}
        self.sent: dict[str, int] = {}
        self.waiting: deque[Waiting] = deque()
        self.busy = True
        self.heart: asyncio.TimerHandle | None = None
        with admittance.visit(scope) as admitted:
            try:
                await receive()  # the connection
                await switchboard().ready(READY_TIMEOUT)
                await send({"type": "websocket.accept"})
                if admitted:
                    await self.talk(receive)
                else:
                    # Clients of the original hub die of a refused handshake, so the connection is made and closed.
                    self.wire.end(Close.POLICY_VIOLATION)
                    await self.wire.drained()
            except ClientDisconnected:
                pass
            finally:
                self.leave()

    async def talk(self, receive: Receive) -> None:
        """Answer requests until the connection ends; a client that does not read what it is sent gets no answer
        until it does."""
        while True:
            self.busy = False
            self.flush()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await self.turn()  # frames of streams are sent meanwhile
            while self.waiting:
                await self.wire.drained()
                self.flush()
            self.busy = True
            await self.take(message.get("text"))

    async def turn(self) -> None:
        """Wait until the client may ask for more."""
        if self.pace is not None:
            await self.pace.turn()

    def leave(self) -> None:
        """End all subscriptions and the heartbeat."""
        self.end_streams()
        self.end_heartbeat()
        self.waiting.clear()

    def end_stream(self, group: str) -> None:
        self.held.pop(group, None)
        self.sent.pop(group, None)
        switchboard().unsubscribe(group, self)

    def end_streams(self) -> None:
        leave_all(self.held, self)
        self.held.clear()
        self.sent.clear()

    # -- frames that come of themselves ---------------------------------------------------------------------

    def deliver(self, position: int, group: str | None, frame: bytes) -> None:
        """Write a frame, or keep it until the connection takes it; a client that reads too slowly is left."""
        if not self.waiting and not self.busy and self.wire.ready:
            self.pass_on(position, group, frame)
        elif len(self.waiting) < MAX_WAITING:
            self.waiting.append((position, group, frame))
        else:
            logger.warning("a client reads too slowly and is disconnected")
            self.leave()
            self.wire.end(Close.TRY_AGAIN_LATER)

    def flush(self) -> None:
        """Write what waits, as far as the connection takes it."""
        while self.waiting and not self.busy and self.wire.ready:
            self.pass_on(*self.waiting.popleft())

    def pass_on(self, position: int, group: str | None, frame: bytes) -> None:
        """Write a frame of a stream that is still subscribed, unless it was sent before."""
        if group is not None:
            if group not in self.held or position <= self.sent.get(group, -1):
                return
            self.sent[group] = position
        self.wire.write(frame)

    async def send_again(self, position: int, group: str, frame: str) -> None:
        """Send what was missed, once the client has taken what was sent before."""
        await self.wire.drained()
        self.pass_on(position, group, encoded(frame))

    # -- requests -------------------------------------------------------------------------------------------

    async def take(self, text: str | None) -> None:
        """Answer a request."""
        if text is None:
            await self.refuse("Text frames only.")
            return
        if len(text) > MAX_FRAME:
            await self.refuse(f"A request has at most {MAX_FRAME} characters.")
            return
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            await self.refuse("A request is a JSON document.", text)
            return
        try:
            await self.answer(request)
        except RequestError as error:
            await self.refuse(str(error), request)

    async def refuse(self, message: str, cause: Any = None, **envelope: Any) -> None:
        """Send an error frame."""
        await self.wire.drained()
        self.wire.write(encoded(streams.error(message, cause, **envelope)))

    async def respond(self, kind: str, data: Any, **envelope: Any) -> None:
        """Send the answer to a request."""
        await self.wire.drained()
        self.wire.write(encoded(streams.response(kind, data, **envelope)))

    async def answer(self, request: Any) -> None:
        """Do what a request asks. An operation that is not known gets no answer."""
        if not isinstance(request, dict):
            raise RequestError("A request is an object with op and args.")
        operation, args = request.get("op"), request.get("args")
        if not isinstance(operation, str):
            raise RequestError("op is the name of an operation.")
        if not isinstance(args, dict):
            raise RequestError("args is an object.")
        handler = OPERATIONS.get(operation)
        if handler is not None:
            await handler(self, args, request)

    async def subscribe(self, args: dict[str, Any], request: Any) -> None:
        names = _names(args)
        found = {name: streams.parse(name) for name in names}
        accepted = {name: stream for name, stream in found.items() if stream is not None}
        groups = {group for group, _ in accepted.values()}
        if len(found) > MAX_STREAMS or len(groups | set(self.held)) > MAX_STREAMS:
            raise RequestError(f"A connection has at most {MAX_STREAMS} streams.")
        try:
            since = since_of(args.get("since"), groups)
        except ValueError as error:
            raise RequestError(str(error)) from None
        board = switchboard()
        added = groups - set(self.held)
        for group, stream in accepted.values():
            self.held.setdefault(group, stream)
            board.subscribe(group, self)
        for name in found:
            if name not in accepted:
                await self.turn()  # each error has the whole request in it
                await self.refuse(f"There is no stream {name!r}.", request)
        data = {"streams": [accepted[name][1] for name in names if name in accepted]}
        if since:
            await self.go_on(since, data, request, added)
        else:
            await self.respond("subscribe", data, position=board.position or 0)

    async def go_on(self, since: Since, data: Any, request: Any, added: set[str]) -> None:
        """Answer a subscription, then send what was told since; what comes meanwhile waits in the queue."""
        try:
            state = await _read(positions.bounds)
        except RequestError:
            for group in added:
                self.end_stream(group)
            raise
        for group, code in since.refused(*state).items():
            await self.refuse(
                "Events since then are not known any more: take a snapshot.",
                request,
                code=code,
                stream=self.held.get(group, group),
                position=state[0],
            )
        await self.respond("subscribe", data, position=state[0])
        for group, position in since.accepted(*state).items():
            self.sent[group] = position
        await replay(since.accepted(*state), self.send_again)

    async def unsubscribe(self, args: dict[str, Any], request: Any) -> None:
        names = _names(args)
        if names == ["*"]:
            self.end_streams()
            await self.respond("unsubscribe", {"streams": names})
            return
        removed = []
        for name in names:
            stream = streams.parse(name)
            if stream is not None and stream[0] in self.held:
                self.end_stream(stream[0])
                removed.append(stream[1])
        await self.respond("unsubscribe", {"streams": removed})

    async def heartbeat(self, args: dict[str, Any], request: Any) -> None:
        seconds = args.get("seconds")
        allowed = isinstance(seconds, int) and not isinstance(seconds, bool)
        if not allowed or (seconds and not HEARTBEAT[0] <= seconds <= HEARTBEAT[1]):
            raise RequestError(f"seconds is an integer from {HEARTBEAT[0]} to {HEARTBEAT[1]}, or 0 for none.")
        self.end_heartbeat()
        if seconds:
            self.heart = asyncio.get_running_loop().call_later(seconds, self.beat, seconds)
        await self.respond("heartbeat", {"seconds": seconds})

    def beat(self, seconds: int) -> None:
        """Send a heartbeat, behind what waits, and plan the one after it."""
        self.heart = asyncio.get_running_loop().call_later(seconds, self.beat, seconds)
        text = streams.heartbeat(switchboard().settled(self.held), time.time())
        self.deliver(0, None, encoded(text))

    def end_heartbeat(self) -> None:
        if self.heart is not None:
            self.heart.cancel()
            self.heart = None

    async def ping(self, args: dict[str, Any], request: Any) -> None:
        await self.respond("ping", "pong")

    async def get(self, args: dict[str, Any], request: Any) -> None:
        resource, params = args.get("resource"), args.get("params")
        if not isinstance(resource, str) or not isinstance(params, dict):
            raise RequestError("get needs resource, a name, and params, an object.")
        if resource == "wallet":
            found = await _read(snapshots.wallet_state, *_wallet_query(params))
            if found is None:
                raise RequestError("There is no such wallet.")
            position, eon, state = found
            await self.respond(resource, orjson.Fragment(state), position=position, eon_number=eon)
        elif resource == "orders":
            sold, bought = _addresses(params, "sold_token", "bought_token")
            frame = await _found(open_orders(sold, bought))
            await self.wire.drained()
            self.wire.write(frame)
        elif resource == "operator":
            await self.respond(resource, orjson.Fragment(await _read(snapshots.hub_positions)))
        else:
            raise RequestError(f"There is no resource {resource!r}.")


OPERATIONS: dict[str, Callable[[StreamConsumer, dict[str, Any], Any], Awaitable[None]]] = {
    "subscribe": StreamConsumer.subscribe,
    "unsubscribe": StreamConsumer.unsubscribe,
    "heartbeat": StreamConsumer.heartbeat,
    "ping": StreamConsumer.ping,
    "get": StreamConsumer.get,
}


def _names(args: dict[str, Any]) -> list[str]:
    names = args.get("streams")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError("streams is a list of names.")
    return names


def _wallet_query(params: dict[str, Any]) -> tuple[bytes, bytes, int | None]:
    token, wallet = _addresses(params, "token_address", "wallet_address")
    eon = params.get("eon_number", "")
    if eon is not None and (not isinstance(eon, int) or isinstance(eon, bool)):
        raise RequestError("eon_number is an integer, or null for the latest.")
    return token, wallet, eon


def _addresses(params: dict[str, Any], *names: str) -> list[bytes]:
    found = []
    for name in names:
        value = params.get(name)
        if not isinstance(value, str) or not RAW_ADDRESS.fullmatch(value):
            raise RequestError(f"{name} is 40 hexadecimal digits without 0x.")
        found.append(bytes.fromhex(value))
    return found


async def _read(function: Callable[..., R], *args: Any) -> R:
    return await _found(in_database(function, *args))


async def _found(reading: Awaitable[R]) -> R:
    """What a read gives. Raises RequestError, which says why it gives nothing."""
    try:
        return await reading
    except HubNotReadyError:
        raise RequestError("The hub has not read the chain yet.") from None
    except ArchivedError as error:
        raise RequestError(str(error)) from None
    except RequestError:
        raise
    except Exception:
        logger.exception("a websocket request failed")
        raise RequestError("The request cannot be answered now.") from None
