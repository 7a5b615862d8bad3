"""A client's websocket connection (`spec/http-api.md` §5)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any, TypeVar

import orjson
from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.utils import await_many_dispatch

from auditor import render, selectors
from ledger import positions
from ledger.store import HubNotReadyError, chain_status
from synchronizer import streams
from synchronizer.admittance import Admittance
from synchronizer.database import in_database
from synchronizer.replay import Since, replay, since_of
from synchronizer.switchboard import leave_all, switchboard

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
admittance = Admittance()
RAW_ADDRESS = re.compile("[0-9a-fA-F]{40}")


class RequestError(Exception):
    """A request that is answered with an error frame."""


class StreamConsumer(AsyncWebsocketConsumer):
    """One connection: its subscriptions, and the frames waiting to be sent.

    Requests and frames are handled one after the other in the connection's own task, so a slow client delays
    nobody else.
    """

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self.base_send = send
        self.held: dict[str, str] = {}
        self.sent: dict[str, int] = {}
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)
        self.closing = False
        self.heart: asyncio.TimerHandle | None = None
        with admittance.visit(scope) as admitted:
            self.admitted = admitted
            try:
                await await_many_dispatch([receive, self.waiting.get], self.dispatch)
            except StopConsumer:
                pass
            finally:
                self.leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler of a message. Requests read the database in threads that look after themselves."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        await switchboard().ready(READY_TIMEOUT)
        await self.accept()
        if not self.admitted:
            # Clients of the original hub die of a refused handshake, so the connection is made and closed.
            self.closing = True
            await self.close(Close.POLICY_VIOLATION)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    def leave(self) -> None:
        """End all subscriptions and the heartbeat."""
        self.end_streams()
        self.end_heartbeat()

    def end_stream(self, group: str) -> None:
        del self.held[group]
        self.sent.pop(group, None)
        switchboard().unsubscribe(group, self)

    def end_streams(self) -> None:
        leave_all(self.held, self)
        self.held.clear()
        self.sent.clear()

    def deliver(self, position: int, group: str, frame: str) -> None:
        """Queue a frame; a client that reads too slowly loses its connection."""
        self.queue({"type": "stream.frame", "position": position, "group": group, "text": frame})

    def queue(self, message: dict[str, Any]) -> None:
        try:
            self.waiting.put_nowait(message)
        except asyncio.QueueFull:
            logger.warning("a client reads too slowly and is disconnected")
            self.leave()
            self.waiting.get_nowait()
            self.waiting.put_nowait({"type": "stream.overflow"})

    async def stream_frame(self, message: dict[str, Any]) -> None:
        await self.pass_on(message["position"], message["group"], message["text"])

    async def pass_on(self, position: int, group: str, frame: str) -> None:
        """Send a frame of a stream that is still subscribed, unless it was sent before."""
        if not self.closing and group in self.held and position > self.sent.get(group, -1):
            self.sent[group] = position
            await self.send(text_data=frame)

    async def stream_heartbeat(self, message: dict[str, Any]) -> None:
        if not self.closing:
            await self.send(text_data=streams.heartbeat(message["position"], time.time()))

    async def stream_overflow(self, message: dict[str, Any]) -> None:
        self.closing = True
        await self.close(Close.TRY_AGAIN_LATER)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closing:
            return
        if text_data is None:
            await self.refuse("Text frames only.")
            return
        if len(text_data) > MAX_FRAME:
            await self.refuse(f"A request has at most {MAX_FRAME} characters.")
            return
        try:
            request = orjson.loads(text_data)
        except orjson.JSONDecodeError:
            await self.refuse("A request is a JSON document.", text_data)
            return
        try:
            await self.answer(request)
        except RequestError as error:
            await self.refuse(str(error), request)

    async def refuse(self, message: str, cause: Any = None, **envelope: Any) -> None:
        """Send an error frame."""
        await self.send(text_data=streams.error(message, cause, **envelope))

    async def respond(self, kind: str, data: Any, **envelope: Any) -> None:
        """Send the answer to a request."""
        await self.send(text_data=streams.response(kind, data, **envelope))

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
                stream=self.held[group],
                position=state[0],
            )
        await self.respond("subscribe", data, position=state[0])
        for group, position in since.accepted(*state).items():
            self.sent[group] = position
        await replay(since.accepted(*state), self.pass_on)

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
        """Queue a heartbeat, and the one after it."""
        self.heart = asyncio.get_running_loop().call_later(seconds, self.beat, seconds)
        self.queue({"type": "stream.heartbeat", "position": switchboard().settled(self.held)})

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
            position, eon, state = await _read(_wallet_state, *_wallet_query(params))
            await self.respond(resource, orjson.Fragment(state), position=position, eon_number=eon)
        elif resource == "operator":
            await self.respond(resource, orjson.Fragment(await _read(_positions)))
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
    addresses = []
    for name in ("token_address", "wallet_address"):
        value = params.get(name)
        if not isinstance(value, str) or not RAW_ADDRESS.fullmatch(value):
            raise RequestError(f"{name} is 40 hexadecimal digits without 0x.")
        addresses.append(bytes.fromhex(value))
    eon = params.get("eon_number", "")
    if eon is not None and (not isinstance(eon, int) or isinstance(eon, bool)):
        raise RequestError("eon_number is an integer, or null for the latest.")
    return addresses[0], addresses[1], eon


async def _read(function: Callable[..., R], *args: Any) -> R:
    try:
        return await in_database(function, *args)
    except HubNotReadyError:
        raise RequestError("The hub has not read the chain yet.") from None
    except RequestError:
        raise
    except Exception:
        logger.exception("a websocket request failed")
        raise RequestError("The request cannot be answered now.") from None


def _wallet_state(token: bytes, address: bytes, eon: int | None) -> tuple[int, int, bytes]:
    """The position up to which everything told is in a state, the state's eon, and the state. They are read in this
    order, so that neither is too new: of the latest eon, no checkpoint told up to there is of a later one."""
    position = positions.told_until()
    wallet = selectors.find_wallet(token, address)
    if wallet is None:
        raise RequestError("There is no such wallet.")
    number = eon if eon is not None and eon >= 0 else chain_status().eon + (eon or 0)
    return position, number, orjson.dumps(render.wallet_state(selectors.wallet_history(wallet, number)))


def _positions() -> bytes:
    return orjson.dumps(render.positions(chain_status()))
