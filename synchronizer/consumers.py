"""A client's websocket connection (`spec/http-api.md` §5)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.utils import await_many_dispatch

from auditor import render, selectors
from ledger.store import HubNotReadyError, chain_status
from synchronizer import streams
from synchronizer.database import in_database
from synchronizer.switchboard import leave_all, switchboard

logger = logging.getLogger(__name__)

MAX_STREAMS = 100
MAX_FRAME = 32_768
"""Characters of a request; 100 streams need a third of that."""
MAX_WAITING = 10_000
"""Frames that wait for a client that does not read; one more, and it is disconnected."""
TRY_AGAIN_LATER = 1013
READY_TIMEOUT = 2.0  # seconds

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
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_WAITING)
        self.closing = False
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

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    def leave(self) -> None:
        """End all subscriptions."""
        leave_all(self.held, self)
        self.held.clear()

    def deliver(self, frame: str) -> None:
        """Queue a frame; a client that reads too slowly loses its connection."""
        try:
            self.waiting.put_nowait({"type": "stream.frame", "text": frame})
        except asyncio.QueueFull:
            logger.warning("a client reads too slowly and is disconnected")
            self.leave()
            self.waiting.get_nowait()
            self.waiting.put_nowait({"type": "stream.overflow"})

    async def stream_frame(self, message: dict[str, Any]) -> None:
        if not self.closing:
            await self.send(text_data=message["text"])

    async def stream_overflow(self, message: dict[str, Any]) -> None:
        self.closing = True
        await self.close(TRY_AGAIN_LATER)

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

    async def refuse(self, message: str, cause: Any = None) -> None:
        """Send an error frame."""
        await self.send(text_data=streams.error(message, cause))

    async def respond(self, kind: str, data: Any) -> None:
        """Send the answer to a request."""
        await self.send(text_data=streams.response(kind, data))

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
        board = switchboard()
        for group, stream in accepted.values():
            self.held.setdefault(group, stream)
            board.subscribe(group, self)
        for name in found:
            if name not in accepted:
                await self.refuse(f"There is no stream {name!r}.", request)
        await self.respond(
            "subscribe", {"streams": [accepted[name][1] for name in names if name in accepted]}
        )

    async def unsubscribe(self, args: dict[str, Any], request: Any) -> None:
        names = _names(args)
        if names == ["*"]:
            self.leave()
            await self.respond("unsubscribe", {"streams": names})
            return
        removed = []
        for name in names:
            stream = streams.parse(name)
            if stream is not None and self.held.pop(stream[0], None) is not None:
                switchboard().unsubscribe(stream[0], self)
                removed.append(stream[1])
        await self.respond("unsubscribe", {"streams": removed})

    async def ping(self, args: dict[str, Any], request: Any) -> None:
        await self.respond("ping", "pong")

    async def get(self, args: dict[str, Any], request: Any) -> None:
        resource, params = args.get("resource"), args.get("params")
        if not isinstance(resource, str) or not isinstance(params, dict):
            raise RequestError("get needs resource, a name, and params, an object.")
        if resource == "wallet":
            query = _wallet_query(params)
            await self.respond(resource, orjson.Fragment(await _read(_wallet_state, *query)))
        elif resource == "operator":
            await self.respond(resource, orjson.Fragment(await _read(_positions)))
        else:
            raise RequestError(f"There is no resource {resource!r}.")


OPERATIONS: dict[str, Callable[[StreamConsumer, dict[str, Any], Any], Awaitable[None]]] = {
    "subscribe": StreamConsumer.subscribe,
    "unsubscribe": StreamConsumer.unsubscribe,
    "ping": StreamConsumer.ping,
    "get": StreamConsumer.get,
}


def _names(args: dict[str, Any]) -> list[str]:
    names = args.get("streams")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError("streams is a list of names.")
    return names


def _wallet_query(params: dict[str, Any]) -> tuple[bytes, bytes, int]:
    addresses = []
    for name in ("token_address", "wallet_address"):
        value = params.get(name)
        if not isinstance(value, str) or not RAW_ADDRESS.fullmatch(value):
            raise RequestError(f"{name} is 40 hexadecimal digits without 0x.")
        addresses.append(bytes.fromhex(value))
    eon = params.get("eon_number")
    if not isinstance(eon, int) or isinstance(eon, bool):
        raise RequestError("eon_number is an integer.")
    return addresses[0], addresses[1], eon


async def _read(function: Callable[..., bytes], *args: Any) -> bytes:
    try:
        return await in_database(function, *args)
    except HubNotReadyError:
        raise RequestError("The hub has not read the chain yet.") from None
    except RequestError:
        raise
    except Exception:
        logger.exception("a websocket request failed")
        raise RequestError("The request cannot be answered now.") from None


def _wallet_state(token: bytes, address: bytes, eon: int) -> bytes:
    wallet = selectors.find_wallet(token, address)
    if wallet is None:
        raise RequestError("There is no such wallet.")
    number = eon if eon >= 0 else chain_status().eon + eon
    return orjson.dumps(render.wallet_state(selectors.wallet_history(wallet, number)))


def _positions() -> bytes:
    return orjson.dumps(render.positions(chain_status()))
