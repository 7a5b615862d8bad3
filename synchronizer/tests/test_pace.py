"""Requests over websockets count as reads of their client, and wait where those are refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django import Settings

from operator_api import limits
from operator_api.limits import Buckets
from operator_api.middleware_limits import RateLimits
from operator_api.simulation.play import Play
from synchronizer.consumers import StreamConsumer
from synchronizer.database import in_database
from synchronizer.tests.conftest import Client, Connect, drop_outbox, tell

pytestmark = pytest.mark.django_db(transaction=True)

HOST, OTHER = "192.0.2.1", "192.0.2.2"
REQUESTS = 4
"""How many come at once, after the one that opens the connection."""


class Sleep:
    """Takes the place of `asyncio.sleep` for those who wait for their turn."""

    def __init__(self) -> None:
        self.waiting: list[float] = []
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.waiting.append(seconds)
        await self.over.wait()


async def opened(application: Any, host: str) -> Client:
    client = Client()
    communicator: Any = ApplicationCommunicator
    scope = {"type": "websocket", "path": "/ws/", "client": (host, 1), "headers": []}
    client.socket = communicator(application, scope)
    await client.open()
    return client


async def test_a_client_waits_for_its_turn(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = Sleep()
    monkeypatch.setattr(limits, "asyncio", SimpleNamespace(sleep=sleep))
    play = await in_database(Play)
    player, other_player = await in_database(play.register, 2)
    await in_database(play.deposit, player, 5)
    await drop_outbox()
    application = RateLimits(StreamConsumer.as_asgi())
    application._reads = Buckets(rate=0.001, size=REQUESTS + 1)
    client = await opened(application, HOST)
    await client.subscribe(player)
    for _ in range(REQUESTS - 1):
        assert (await client.ask("ping"))["data"]["data"] == "pong"
    await client.send({"op": "ping", "args": {}})
    assert await client.is_silent()
    assert sleep.waiting
    await in_database(play.pay, player, other_player, 1)
    await tell()
    assert (await client.event())[0] == "TRANSFER_CONFIRMATION"
    other = await opened(application, OTHER)
    assert (await other.ask("ping"))["data"]["data"] == "pong"
    application._reads._full_at.clear()
    sleep.over.set()
    assert (await client.read())["data"]["data"] == "pong"
    await client.close()
    await other.close()


async def test_without_a_limit_nobody_waits(connect: Connect, settings: Settings) -> None:
    settings.HUB_LIMIT_READS = 0
    client = await opened(RateLimits(StreamConsumer.as_asgi()), HOST)
    for _ in range(5 * REQUESTS):
        assert (await client.ask("ping"))["data"]["data"] == "pong"
    await client.close()


async def test_each_error_of_a_request_counts(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a hundred times as long as the request."""
    sleep = Sleep()
    monkeypatch.setattr(limits, "asyncio", SimpleNamespace(sleep=sleep))
    application = RateLimits(StreamConsumer.as_asgi())
    application._reads = Buckets(rate=0.001, size=REQUESTS + 1)
    client = await opened(application, HOST)
    await client.send({"op": "subscribe", "args": {"streams": ["a", "b", "c", "d", "e"]}})
    for _ in range(REQUESTS - 1):
        assert (await client.read())["type"] == "error"
    assert await client.is_silent()
    application._reads._full_at.clear()
    sleep.over.set()
    for _ in range(5 - REQUESTS + 1):
        assert (await client.read())["type"] == "error"
    assert (await client.read())["data"]["data"] == {"streams": []}
    await client.close()
