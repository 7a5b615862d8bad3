"""The websocket endpoint of the real server, through real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import pytest_asyncio
import uvicorn
import websockets

from ledger.sql import fetch
from operator_api.simulation.play import Play
from synchronizer import consumers, database, wire
from synchronizer.database import in_database
from synchronizer.switchboard import switchboard
from synchronizer.tests.conftest import Connect, Redis, stream, tell
from synchronizer.tests.servers import Server
from synchronizer.tests.test_relay import players
from synchronizer.wire import ServerWire

pytestmark = pytest.mark.django_db(transaction=True)
CLIENTS = 80


@pytest_asyncio.fixture
async def server(connect: Connect) -> AsyncIterator[str]:
    """A running server; gives its address with ws."""
    from operator_api.asgi import application

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off", ws=ServerWire))
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.ensure_future(running._serve(sockets=[listener]))
    while not running.started:
        await asyncio.sleep(0.02)
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    await serving


async def slow_client(url: str) -> websockets.ClientConnection:
    """A client that is sent far more than it reads, until the hub leaves it."""
    group = "wallet." + "0a" * 20 + "." + "0b" * 20
    client = await websockets.connect(url + "/ws/", max_queue=1, ping_interval=None, close_timeout=1)
    await ask(client, "subscribe", streams=[group.replace(".", "/")])
    board = switchboard()
    position = 0
    async with asyncio.timeout(20):
        while board._subscribers:
            position += 1
            board._pass((position, group, orjson.dumps([position, "x" * 100_000]).decode()))
            await asyncio.sleep(0)
    return client


async def closing(client: websockets.ClientConnection) -> AsyncIterator[str | bytes]:
    """What comes until the hub closes."""
    with contextlib.suppress(websockets.ConnectionClosedError):
        while True:
            yield await client.recv()


async def test_a_slow_client_is_told_to_come_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MAX_WAITING", 20)
    client = await slow_client(server)
    found = [orjson.loads(text)[0] async for text in closing(client)]
    assert found == list(range(1, len(found) + 1))
    assert client.close_code == consumers.Close.TRY_AGAIN_LATER


async def test_a_client_that_never_reads_again_loses_its_socket(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_WAITING", 20)
    monkeypatch.setattr(wire, "CLOSE_SECONDS", 0.5)
    lost = asyncio.Event()
    original = ServerWire.connection_lost

    def note(connection: ServerWire, error: Exception | None) -> None:
        lost.set()
        original(connection, error)

    monkeypatch.setattr(ServerWire, "connection_lost", note)
    client = await slow_client(server)
    assert not lost.is_set()
    await asyncio.wait_for(lost.wait(), 5)
    client.transport.abort()


@pytest.mark.parametrize(
    ("headers", "status"), [(["A: " + "x" * 10_000], 431), (["A: b"] * 200, 431), ([], 101)]
)
async def test_a_head_that_is_too_much_for_a_websocket_is_answered(
    server: str, headers: list[str], status: int
) -> None:
    address = urlsplit(server)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    lines = ["GET /ws/ HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", key]
    writer.write("\r\n".join([*lines, "Sec-WebSocket-Version: 13", *headers, "", ""]).encode())
    async with asyncio.timeout(20):
        answer = await (reader.read() if status != 101 else reader.readline())
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    writer.close()


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


async def test_a_server_that_ends_tells_its_clients(
    redis: Redis, transactional_db: None, tmp_path: Path
) -> None:
    process = Server(redis.url.rpartition("/")[0], tmp_path)
    process.start()
    try:
        await process.started()
        async with websockets.connect(process.url) as client:
            await ask(client, "subscribe", streams=["hub"])
            await asyncio.to_thread(process.kill, signal.SIGTERM)
            await asyncio.wait_for(client.wait_closed(), 5)
            assert client.close_code == 1012
    finally:
        process.kill()
    assert "Traceback" not in process.log.read_text()
