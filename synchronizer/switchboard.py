"""The events that the relay publishes, passed to the connections of this process.

Every process takes all events from one group of the channel layer and picks what its connections subscribed to:
so a subscription needs no round trip and is effective when it is read, connections are accepted while Redis is
down, and there is only one thing to restore when Redis comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import Error
from django.utils import timezone

from synchronizer.database import in_database
from synchronizer.events import REGISTRATIONS, Frames, checkpoint_frames, frames_since, registration_frames

logger = logging.getLogger(__name__)

GROUP = "synchronizer.events"
SILENCE = 5.0
"""Seconds without a message, of which the relay sends one each second, after which the group is joined anew."""
JOIN_TIMEOUT = 5.0  # seconds
RETRY = 1.0  # seconds
MARGIN = timedelta(minutes=10)
"""How much older than the last message heard an event may be that was missed: what the relay may lag behind."""
STATES_AT_ONCE = 50
"""Wallets whose states are read together."""
READERS = 2
"""Reads of states at a time; requests need the processor and the database too."""


class Subscriber(Protocol):
    """A connection that takes frames."""

    def deliver(self, frame: str) -> None:
        """Take a frame, at once and without failing."""


@dataclass(slots=True)
class Slot:
    """A place in a lane that is kept for frames still being made."""

    frames: list[tuple[str, str]] | None = None


class Switchboard:
    """The subscriptions of one event loop, and the task that feeds them. Not for use across threads."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Subscriber]] = defaultdict(set)
        self._held: dict[str, deque[tuple[str, str] | Slot]] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._last: int | None = None
        self._heard = timezone.now()
        self._joined = asyncio.Event()
        self._deaf = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._feed: asyncio.Task[None] | None = None

    def subscribe(self, group: str, subscriber: Subscriber) -> None:
        """Give the subscriber everything that the group is told from now on."""
        self._subscribers[group].add(subscriber)
        if not self._joined.is_set():
            self._deaf = True

    def unsubscribe(self, group: str, subscriber: Subscriber) -> None:
        """Undo :meth:`subscribe`."""
        members = self._subscribers.get(group)
        if members is not None:
            members.discard(subscriber)
            if not members:
                del self._subscribers[group]

    async def ready(self, seconds: float) -> None:
        """Wait until events are received, but no longer than `seconds`: what is missed then is made up for."""
        if self._feed is None:
            self._feed = asyncio.ensure_future(self._receive())
        if not self._joined.is_set():
            try:
                await asyncio.wait_for(self._joined.wait(), seconds)
            except TimeoutError:
                logger.warning("no connection to Redis yet")

    async def stop(self) -> None:
        """End all tasks."""
        tasks = [*self._tasks, *([self._feed] if self._feed else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- receiving ----------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        layer: Any = get_channel_layer()
        while True:
            try:
                channel = await asyncio.wait_for(self._join(layer), JOIN_TIMEOUT)
                while True:
                    self._take(await asyncio.wait_for(layer.receive(channel), SILENCE))
            except TimeoutError:
                logger.warning("nothing is heard from the relay; joining its group anew")
            except Exception as error:
                logger.warning("events cannot be received: %s", error)
                await asyncio.sleep(RETRY)
            await self._leave(layer)

    async def _join(self, layer: Any) -> str:
        channel: str = await layer.new_channel("switchboard.")
        await layer.group_add(GROUP, channel)
        self._joined.set()
        return channel

    async def _leave(self, layer: Any) -> None:
        """Drop the connection to Redis, whatever its state: messages missed leave a gap in the numbers."""
        self._deaf = self._deaf or self._last is None
        try:
            await asyncio.wait_for(layer.flush(), JOIN_TIMEOUT)
        except Exception as error:
            logger.warning("the connection to Redis was not closed cleanly: %s", error)

    def _take(self, message: Mapping[str, Any]) -> None:
        number = message["number"]
        if self._deaf or (self._last is not None and number != self._last + 1):
            logger.warning("messages between %s and %d were missed", self._last, number)
            self._catch_up()
        self._last = number
        self._heard = datetime.fromtimestamp(message["time"], tz=UTC)
        for lane, group, value in message["items"]:
            if lane is None:
                self._hold(list(self._subscribers), partial(checkpoint_frames, eon=value))
            else:
                self._pass(lane, group, value)

    def _catch_up(self) -> None:
        """Tell every subscriber what it may have missed."""
        self._deaf = False
        groups = list(self._subscribers)
        self._hold([REGISTRATIONS], partial(registration_frames, groups=groups))
        self._hold(groups, partial(frames_since, since=self._heard - MARGIN))

    # -- passing on ---------------------------------------------------------------------------------------

    def _pass(self, lane: str, group: str, frame: str) -> None:
        """Pass a frame to the group's subscribers, after those that its lane still waits for."""
        held = self._held.get(lane)
        if held is None:
            self._deliver(group, frame)
        else:
            held.append((group, frame))

    def _deliver(self, group: str, frame: str) -> None:
        for subscriber in tuple(self._subscribers.get(group, ())):
            subscriber.deliver(frame)

    def _hold(self, lanes: Sequence[str], read: Callable[[Sequence[str]], Frames]) -> None:
        """Put the frames that `read` finds in the database into the lanes.

        What comes meanwhile waits behind them. So whatever came before is in what is read, and whatever is not
        comes after it: nothing falls between.
        """
        slots = {lane: Slot() for lane in lanes}
        for lane, slot in slots.items():
            self._held.setdefault(lane, deque()).append(slot)
        for start in range(0, len(lanes), STATES_AT_ONCE):
            chunk = lanes[start : start + STATES_AT_ONCE]
            task = asyncio.ensure_future(self._fill(chunk, slots, read))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fill(
        self, lanes: Sequence[str], slots: Mapping[str, Slot], read: Callable[[Sequence[str]], Frames]
    ) -> None:
        async with self._readers:
            frames = await self._read(lanes, read)
        for lane in lanes:
            slots[lane].frames = frames.get(lane, [])
            self._release(lane)

    async def _read(self, lanes: Sequence[str], read: Callable[[Sequence[str]], Frames]) -> Frames:
        """What `read` gives. Waits for a database that is away; a wallet that cannot be rendered is left out."""
        while True:
            try:
                return await in_database(read, lanes)
            except Error:
                logger.exception("%d streams wait for the database", len(lanes))
                await asyncio.sleep(RETRY)
            except Exception:
                if len(lanes) == 1:
                    logger.exception("ALARM: the stream %s cannot be brought up to date", lanes[0])
                    return {}
                alone = [await self._read([lane], read) for lane in lanes]
                return {lane: pairs for frames in alone for lane, pairs in frames.items()}

    def _release(self, lane: str) -> None:
        """Pass on what stands before the next slot that is still empty."""
        held = self._held[lane]
        ready: list[tuple[str, str]] = []
        while held:
            first = held[0]
            if not isinstance(first, Slot):
                ready.append(first)
            elif first.frames is None:
                break
            else:
                ready += first.frames
            held.popleft()
        if not held:
            del self._held[lane]
        for group, frame in ready:
            self._deliver(group, frame)


_switchboards: WeakKeyDictionary[asyncio.AbstractEventLoop, Switchboard] = WeakKeyDictionary()


def switchboard() -> Switchboard:
    """The switchboard of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _switchboards.get(loop)
    if found is None:
        found = _switchboards[loop] = Switchboard()
    return found


def leave_all(groups: Iterable[str], subscriber: Subscriber) -> None:
    """End the subscriptions of a connection that closes."""
    board = switchboard()
    for group in groups:
        board.unsubscribe(group, subscriber)
