"""The events that the relay publishes, passed to the connections of this process.

Every process takes all events from one group of the channel layer and picks what its connections subscribed to:
so a subscription needs no round trip and is effective when it is read, connections are accepted while Redis is
down, and there is only one thing to restore when Redis comes back.

A message names the position before its first event. Whatever lies between that and what this process passed on last
is read from the log, and so is everything while nothing is heard: Redis only makes it quick.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import Error

from ledger import positions
from synchronizer import log
from synchronizer.database import in_database
from synchronizer.events import Frame, Item, checkpoint_frames, logged
from synchronizer.log import Entry
from synchronizer.streams import ALL_WALLETS, wallet_of
from synchronizer.wire import encoded

logger = logging.getLogger(__name__)

GROUP = "synchronizer.events"
SILENCE = 5.0
"""Seconds without a message, of which the relay sends one each second, after which the group is joined anew."""
JOIN_TIMEOUT = 5.0  # seconds
RETRY = 1.0  # seconds
PAGE = 1000
"""Entries of the log read together."""
STATES_AT_ONCE = 50
"""Wallets whose states are read together."""
READERS = 2
"""Reads of states at a time; requests need the processor and the database too."""

R = TypeVar("R")


class Subscriber(Protocol):
    """A connection that takes frames."""

    def deliver(self, position: int, group: str, frame: bytes) -> None:
        """Take a frame as it goes over the wire, at once and without failing. It may have come before."""


@dataclass(slots=True)
class Slot:
    """A place in a group's line that is kept for frames still being made."""

    position: int
    frames: list[Frame] | None = None


class Switchboard:
    """The subscriptions of one event loop, and the task that feeds them. Not for use across threads.

    `position` is that up to which all events were taken, None until the database has been asked.
    """

    def __init__(self) -> None:
        self.position: int | None = None
        self._subscribers: dict[str, set[Subscriber]] = defaultdict(set)
        self._held: dict[str, deque[Frame | Slot]] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._feed: asyncio.Task[None] | None = None

    def subscribe(self, group: str, subscriber: Subscriber) -> None:
        """Give the subscriber everything that the group is told from now on."""
        self._subscribers[group].add(subscriber)

    def unsubscribe(self, group: str, subscriber: Subscriber) -> None:
        """Undo :meth:`subscribe`."""
        members = self._subscribers.get(group)
        if members is not None:
            members.discard(subscriber)
            if not members:
                del self._subscribers[group]

    def settled(self, groups: Iterable[str]) -> int:
        """The position up to which the groups' subscribers have been given everything."""
        settled = self.position or 0
        for group in groups:
            line = self._held.get(group)
            if line:
                first = line[0]
                settled = min(settled, (first.position if isinstance(first, Slot) else first[0]) - 1)
        return settled

    async def ready(self, seconds: float) -> None:
        """Wait until it is known which events are new, but no longer than `seconds`."""
        if self._feed is None:
            self._feed = asyncio.ensure_future(self._receive())
        if not self._ready.is_set():
            try:
                await asyncio.wait_for(self._ready.wait(), seconds)
            except TimeoutError:
                logger.warning("no connection to the database yet")

    async def stop(self) -> None:
        """End all tasks."""
        tasks = {*self._tasks, *([self._feed] if self._feed else [])}
        while (
            tasks
        ):  # asyncio.wait_for of Python 3.11 loses a cancellation that comes together with what it waits for
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=RETRY)

    # -- receiving ----------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        layer: Any = get_channel_layer()
        while True:
            try:
                await self._catch_up()
                channel = await asyncio.wait_for(self._join(layer), JOIN_TIMEOUT)
                await self._catch_up()  # what was told before the group was joined
                while True:
                    await self._take(await asyncio.wait_for(layer.receive(channel), SILENCE))
            except TimeoutError:
                logger.warning("nothing is heard from the relay; joining its group anew")
            except Exception as error:
                logger.warning("events cannot be received, the log is read instead: %s", error)
                await asyncio.sleep(RETRY)
            await self._leave(layer)

    async def _join(self, layer: Any) -> str:
        channel: str = await layer.new_channel("switchboard.")
        await layer.group_add(GROUP, channel)
        return channel

    async def _leave(self, layer: Any) -> None:
        """Drop the connection to Redis, whatever its state."""
        try:
            await asyncio.wait_for(layer.flush(), JOIN_TIMEOUT)
        except Exception as error:
            logger.warning("the connection to Redis was not closed cleanly: %s", error)

    async def _take(self, message: Mapping[str, Any]) -> None:
        """Pass a message on, behind what was missed before it."""
        if self.position is None or message["after"] > self.position:
            logger.warning("events between %s and %d were missed", self.position, message["after"])
            await self._catch_up()
        self._pass_all(message["items"], message["last"])

    async def _catch_up(self) -> None:
        """Pass on what was told up to now, from the log; waits for a database that is away."""
        if self.position is None:
            self.position = await _patiently(positions.told_until)
            self._ready.set()
        more = True
        while more:
            entries, until = await _patiently(_page, self.position)
            items: list[Item] = []
            read: set[str] = set()
            # Those who subscribe while this is read are not left out: nobody comes after the last look.
            while entries and (fresh := {ALL_WALLETS, *self._subscribers} - read):
                items += await _patiently(logged, [entry for entry in entries if entry.group in fresh])
                read |= fresh
            self._pass_all(sorted(items, key=lambda item: item[0]), until)
            more = len(entries) == PAGE

    # -- passing on ---------------------------------------------------------------------------------------

    def _pass_all(self, items: Iterable[Item], until: int) -> None:
        """Pass on what is new among the items, which are all that was told up to `until`."""
        known = self.position or 0
        for position, group, value, first in items:
            if position <= known:
                continue
            if not isinstance(value, str):
                self._hold(position, partial(checkpoint_frames, position=position, eon=value))
            elif first:
                self._deliver((position, group, value))
            else:
                self._pass((position, group, value))
        self.position = max(known, until)

    def _pass(self, frame: Frame) -> None:
        """Pass a frame to the group's subscribers, after those that its line still waits for."""
        line = self._held.get(frame[1])
        if line is None:
            self._deliver(frame)
        else:
            line.append(frame)

    def _deliver(self, frame: Frame) -> None:
        position, group, text = frame
        subscribers = self._subscribers.get(group)
        if subscribers:
            data = encoded(text)
            for subscriber in tuple(subscribers):
                subscriber.deliver(position, group, data)

    def _hold(self, position: int, read: Callable[[Sequence[str]], list[Frame]]) -> None:
        """Give all wallets' groups the frames that `read` finds in the database, at this position.

        What comes meanwhile waits behind them. So whatever came before is in what is read, and whatever is not
        comes after it: nothing falls between.
        """
        groups = [group for group in self._subscribers if wallet_of(group) is not None]
        slots = {group: Slot(position) for group in groups}
        for group, slot in slots.items():
            self._held.setdefault(group, deque()).append(slot)
        for start in range(0, len(groups), STATES_AT_ONCE):
            task = asyncio.ensure_future(self._fill(groups[start : start + STATES_AT_ONCE], slots, read))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fill(
        self, groups: Sequence[str], slots: Mapping[str, Slot], read: Callable[[Sequence[str]], list[Frame]]
    ) -> None:
        async with self._readers:
            frames = await self._read(groups, read)
        for group in groups:
            slots[group].frames = [frame for frame in frames if frame[1] == group]
            self._release(group)

    async def _read(self, groups: Sequence[str], read: Callable[[Sequence[str]], list[Frame]]) -> list[Frame]:
        """What `read` gives. Waits for a database that is away; a wallet that cannot be rendered is left out."""
        try:
            return await _patiently(read, groups)
        except Exception:
            if len(groups) == 1:
                logger.exception("ALARM: the stream %s cannot be brought up to date", groups[0])
                return []
            return [frame for group in groups for frame in await self._read([group], read)]

    def _release(self, group: str) -> None:
        """Pass on what stands before the next slot that is still empty."""
        line = self._held[group]
        ready: list[Frame] = []
        while line:
            first = line[0]
            if not isinstance(first, Slot):
                ready.append(first)
            elif first.frames is None:
                break
            else:
                ready += first.frames
            line.popleft()
        if not line:
            del self._held[group]
        for frame in ready:
            self._deliver(frame)


def _page(after: int) -> tuple[list[Entry], int]:
    """The next entries of the log, and the position up to which they are all there are."""
    until = positions.told_until()
    entries = log.between(after, until, PAGE) if until > after else []
    return entries, entries[-1].position if len(entries) == PAGE else until


async def _patiently(read: Callable[..., R], *args: Any) -> R:
    """What `read` gives; waits for a database that is away."""
    while True:
        try:
            return await in_database(read, *args)
        except Error:
            logger.exception("streams wait for the database")
            await asyncio.sleep(RETRY)


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
