"""Telling a connection what it missed: from the log, before what comes now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

from django.db import Error

from synchronizer import streams
from synchronizer.database import in_database
from synchronizer.events import frames_after

logger = logging.getLogger(__name__)

PAGE = 200
"""Events read together; among them may be checkpoints of up to 100 wallets."""
READERS = 2
"""Replays that read at a time in a process; requests need the database too."""
RETRY = 1.0  # seconds


class Refusal(StrEnum):
    """Why a stream cannot go on from a position: codes of error frames."""

    POSITION_TOO_OLD = "POSITION_TOO_OLD"
    """Events behind it are not kept any more."""
    POSITION_UNKNOWN = "POSITION_UNKNOWN"
    """It is newer than anything told."""


@dataclass(frozen=True, slots=True)
class Since:
    """From which position each group goes on."""

    wanted: Mapping[str, int]

    def __bool__(self) -> bool:
        return bool(self.wanted)

    def refused(self, last: int, forgotten: int) -> dict[str, Refusal]:
        """The groups whose position is of no use while `forgotten` < known positions <= `last`."""
        reasons = {}
        for group, position in self.wanted.items():
            if position < forgotten:
                reasons[group] = Refusal.POSITION_TOO_OLD
            elif position > last:
                reasons[group] = Refusal.POSITION_UNKNOWN
        return reasons

    def accepted(self, last: int, forgotten: int) -> dict[str, int]:
        """The others."""
        return {group: at for group, at in self.wanted.items() if forgotten <= at <= last}


def since_of(value: Any, groups: Collection[str]) -> Since:
    """What `since` of a subscription asks for: a position for all its groups, or one for each stream it names.
    Raises ValueError."""
    if value is None:
        return Since({})
    if not isinstance(value, dict):
        return Since(dict.fromkeys(groups, _position(value)))
    wanted = {}
    for name, position in value.items():
        stream = streams.parse(name)
        if stream is None or stream[0] not in groups:
            raise ValueError(f"since names {name!r}, which is not among the streams.")
        wanted[stream[0]] = _position(position)
    return Since(wanted)


def _position(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError("since is a position or an object of positions by stream.")
    return value


async def replay(after: Mapping[str, int], send: Callable[[int, str, str], Awaitable[None]]) -> None:
    """Send every frame that the groups were told behind the positions, and wait for the client to take them."""
    rest = dict(after)
    while rest:
        try:
            async with _readers():
                frames, rest = await in_database(frames_after, rest, PAGE)
        except Error:
            logger.exception("a replay waits for the database")
            await asyncio.sleep(RETRY)
            continue
        for position, group, frame in frames:
            await send(position, group, frame)


_semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _readers() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    return _semaphores.setdefault(loop, asyncio.Semaphore(READERS))
