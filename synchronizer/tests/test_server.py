"""The websocket endpoint of the real server, through real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
import uvicorn
import websockets

from ledger.sql import fetch
from operator_api.simulation.play import Play
from synchronizer import database
from synchronizer.database import in_database
from synchronizer.switchboard import switchboard
from synchronizer.tests.conftest import Connect, stream, tell
from synchronizer.tests.test_relay import players

pytestmark = pytest.mark.django_db(transaction=True)
CLIENTS = 80


@pytest_asyncio.fixture
async def server(connect: Connect) -> AsyncIterator[str]:
    """A running server; gives its address with ws."""
    from operator_api.asgi import application

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.ensure_future(running._serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.02)
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    await serving


async def ask(client: websockets.ClientConnection, op: str, **args: object) -> object:
    await client.send(orjson.dumps({"op": op, "args": args}).decode())
    return orjson.loads(await client.recv())


@pytest.mark.parametrize("path", ["/ws", "/ws/"])
async def test_events_arrive_through_the_server(play: Play, server: str, path: str) -> None:
    alice, bob = await players(play, 2)
    async with websockets.connect(server + path) as client:
        await ask(client, "subscribe", streams=[stream(bob)])
        await in_database(play.pay, alice, bob, 3)
        await tell()
        async with asyncio.timeout(5):
            frame = orjson.loads(await client.recv())
    assert frame["data"]["data"]["data"]["amount"] == "3"
    assert frame["data"]["type"].split("/")[0] == "wallet"


async def test_other_paths_are_refused(server: str) -> None:
    with pytest.raises(websockets.WebSocketException):
        await websockets.connect(server + "/other").__aenter__()


async def test_many_connections_share_few_of_the_database(play: Play, server: str) -> None:
    (alice,) = await players(play, 1)
    params = {
        "token_address": alice.token.hex(),
        "wallet_address": alice.address.hex(),
        "eon_number": 1,
    }

    async def one() -> None:
        async with websockets.connect(server + "/ws/") as client:
            for _ in range(3):
                answer = await ask(client, "get", resource="wallet", params=params)
                assert isinstance(answer, dict)
                assert answer["type"] == "response"
                await ask(client, "subscribe", streams=[stream(alice)])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.05)

    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    ((connections,),) = await in_database(fetch, query)
    assert connections <= database.THREADS + 2
    async with asyncio.timeout(5):
        while switchboard()._subscribers:
            await asyncio.sleep(0.02)
