"""Clients that come and go while events flow miss nothing and see nothing twice: what they knew before and what
they were told make what is so afterwards. Of two server processes one is killed, of two relays now the one and
now the other; Redis is flushed, and dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
import redis as redis_client
import websockets

from auditor import render, selectors
from ledger.models import Outbox
from ledger.sql import fetch
from ledger.store import StoredTransfer
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from synchronizer.database import in_database
from synchronizer.streams import ALL_WALLETS, group_of, key_of, name_of
from synchronizer.tests.conftest import Redis, drop_outbox
from synchronizer.tests.servers import Relay, Server

pytestmark = pytest.mark.django_db(transaction=True)
CLIENTS = int(os.environ.get("STREAM_TEST_CLIENTS", "200"))
WALLETS = 40
SECONDS = float(os.environ.get("STREAM_TEST_SECONDS", "14"))
PATIENCE = 150.0


@dataclass
class View:
    """What a client knows of a wallet: its eon, its share at the eon's start, and its transactions since."""

    eon: int
    share: tuple[str, str] | None
    rows: dict[int, str]

    @classmethod
    def of(cls, eon: int, state: Any) -> View:
        proof = state["merkle_proof"]
        share = None if proof is None else (proof["left"], proof["right"])
        return cls(eon, share, {row["id"]: row["amount"] for row in state["transactions"]})

    def apply(self, event: str, model: Any) -> None:
        """As wallets do: rows of another eon are dropped, and a checkpoint begins its eon anew."""
        if event == "TRANSFER_CONFIRMATION" and model["eon_number"] == self.eon:
            self.rows[model["id"]] = model["amount"]
        elif event == "CHECKPOINT_CREATED":
            found = View.of(model["merkle_proof"]["eon_number"], model)
            self.eon, self.share, self.rows = found.eon, found.share, found.rows


@dataclass
class Watcher:
    """A client that keeps views of some wallets, from whichever server it reaches."""

    wallets: dict[str, SimulatedWallet]
    source: random.Random
    servers: list[Server]
    views: dict[str, View] = field(default_factory=dict)
    start: dict[str, int] = field(default_factory=dict)
    told: dict[str, list[int]] = field(default_factory=dict)
    connections: int = 0
    calm: bool = False

    async def run(self) -> None:
        await asyncio.sleep(self.source.uniform(0, 4))
        while True:
            server = self.source.choice(self.servers)
            with contextlib.suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(server.url, open_timeout=PATIENCE, max_queue=None) as socket:
                    await self._watch(socket)
            await asyncio.sleep(self.source.uniform(0, 1.0))

    async def _watch(self, socket: websockets.ClientConnection) -> None:
        if not self.views:
            await self._take_snapshots(socket)
        self.connections += 1
        since = {name: (self.told[name] or [self.start[name]])[-1] for name in self.wallets}
        await socket.send(_request("subscribe", streams=list(self.wallets), since=since))
        if self.calm:
            await self._listen(socket)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listen(socket), self.source.expovariate(1 / 4))
        if self.source.random() < 0.5:
            socket.transport.abort()

    async def _take_snapshots(self, socket: websockets.ClientConnection) -> None:
        views, start = {}, {}
        for name, wallet in self.wallets.items():
            params = {"token_address": wallet.token.hex(), "wallet_address": wallet.address.hex()}
            await socket.send(_request("get", resource="wallet", params={**params, "eon_number": None}))
            answer = orjson.loads(await socket.recv())
            assert answer["type"] == "response", answer
            views[name] = View.of(answer["eon_number"], answer["data"]["data"])
            start[name] = answer["position"]
        self.views, self.start, self.told = views, start, {name: [] for name in views}

    async def _listen(self, socket: websockets.ClientConnection) -> None:
        async for text in socket:
            frame = orjson.loads(text)
            assert frame["type"] in {"notification", "response"}, frame
            if frame["type"] == "notification":
                self._take(frame)

    def _take(self, frame: Any) -> None:
        name, event = frame["data"]["type"], frame["data"]["data"]
        known = self.told[name]
        if known:
            assert frame["previous"] == known[-1] < frame["position"]
        else:
            assert (frame["previous"] or 0) <= self.start[name] < frame["position"]
        known.append(frame["position"])
        self.views[name].apply(event["type"], event["data"])


def _request(op: str, **args: Any) -> str:
    return orjson.dumps({"op": op, "args": args}).decode()


@pytest_asyncio.fixture
async def servers(redis: Redis, transactional_db: None, tmp_path: Path) -> AsyncIterator[list[Server]]:
    """Two server processes."""
    made = [Server(redis.url.rpartition("/")[0], tmp_path) for _ in range(2)]
    try:
        for server in made:
            server.start()
        for server in made:
            await server.started()
        yield made
    finally:
        for server in made:
            server.kill()


@pytest.fixture
def relays(redis: Redis, transactional_db: None, tmp_path: Path) -> Iterator[list[Relay]]:
    """Two processes that tell events, one at a time."""
    made = [Relay(redis.url.rpartition("/")[0], tmp_path, number) for number in range(2)]
    try:
        for relay in made:
            relay.start()
        yield made
    finally:
        for relay in made:
            relay.kill()


@pytest.fixture
def play(transactional_db: None) -> Play:
    return Play()


async def traffic(
    play: Play, wallets: list[SimulatedWallet], source: random.Random, over: Callable[[], bool]
) -> int:
    """Payments by two payers at a time, over two checkpoints, until it is `over`. How many were made."""
    payers = [_pay(play, wallets[side::2], wallets, source, over) for side in range(2)]
    return sum(await asyncio.gather(*payers, _checkpoints(play)))


async def _pay(
    play: Play,
    senders: list[SimulatedWallet],
    recipients: list[SimulatedWallet],
    source: random.Random,
    over: Callable[[], bool],
) -> int:
    count = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + SECONDS
    while loop.time() < end or (not over() and loop.time() < end + PATIENCE):
        sender, recipient = source.choice(senders), source.choice(recipients)
        if sender is not recipient:
            outcome = await in_database(play.pay, sender, recipient, 1)
            count += isinstance(outcome, StoredTransfer)
        await asyncio.sleep(0.005)
    return count


async def _checkpoints(play: Play) -> int:
    for _ in range(2):
        await asyncio.sleep(SECONDS / 3)
        await in_database(play.next_eon)
    return 0


async def kill_relays(relays: list[Relay], source: random.Random, over: asyncio.Event) -> int:
    """Kill one, then the other, in whatever they are doing, until it is `over`. How often."""
    kills = 0
    while not over.is_set():
        for relay in relays:
            await relay.started()
            await asyncio.sleep(source.uniform(0, SECONDS / 6))
            relay.kill()
            relay.start()
            kills += 1
    return kills


async def chaos(redis: Redis, servers: list[Server]) -> None:
    """Redis comes back empty, then is killed; a server is killed. Each comes back after a while."""
    await asyncio.sleep(SECONDS / 5)
    await asyncio.to_thread(redis_client.Redis(port=redis.port).flushall)
    await asyncio.sleep(SECONDS / 5)
    servers[1].kill()
    await asyncio.sleep(SECONDS / 10)
    servers[1].start()
    await asyncio.sleep(SECONDS / 5)
    redis.kill()
    await asyncio.sleep(SECONDS / 20)
    redis.start()


def names(wallets: list[SimulatedWallet]) -> dict[str, SimulatedWallet]:
    found = {}
    for wallet in wallets:
        row = selectors.find_wallet(wallet.token, wallet.address)
        assert row is not None
        found[name_of(row)] = wallet
    return found


def outcome(named: dict[str, SimulatedWallet], eon: int) -> dict[str, tuple[View, list[int]]]:
    """By stream, the wallet's state in the eon, and the positions of all that it was told."""
    result = {}
    for name, wallet in named.items():
        row = selectors.find_wallet(wallet.token, wallet.address)
        assert row is not None
        view = View.of(eon, render.wallet_state(selectors.wallet_history(row, eon)))
        keys = [key_of(group_of(row)), key_of(ALL_WALLETS)]
        query = "SELECT position FROM synchronizer_told WHERE stream = ANY(%s) ORDER BY position"
        result[name] = view, [position for (position,) in fetch(query, [keys])]
    return result


@pytest.mark.slow
async def test_clients_that_come_and_go_miss_nothing_and_see_nothing_twice(
    play: Play, redis: Redis, servers: list[Server], relays: list[Relay]
) -> None:
    source = random.Random(int(os.environ.get("STREAM_TEST_SEED", "6")))
    wallets = await in_database(play.register, WALLETS)
    for wallet in wallets:
        await in_database(play.deposit, wallet, 10**6)
    await drop_outbox()
    named = await in_database(names, wallets)
    watchers = [
        Watcher(dict(source.sample(sorted(named.items()), 3)), random.Random(source.random()), servers)
        for _ in range(CLIENTS)
    ]
    running = [asyncio.ensure_future(watcher.run()) for watcher in watchers]
    over = asyncio.Event()
    killing = asyncio.ensure_future(kill_relays(relays, random.Random(source.random()), over))
    try:
        trouble = asyncio.ensure_future(chaos(redis, servers))
        count = await traffic(play, wallets, source, lambda: _connections(watchers) > 2 * CLIENTS)
        await trouble
        over.set()
        kills = await killing
        async with asyncio.timeout(PATIENCE):
            while await in_database(Outbox.objects.exists):
                await asyncio.sleep(0.2)
        eon = await in_database(lambda: play.eon)
        expected = await in_database(partial(outcome, named, eon))
        for watcher in watchers:
            watcher.calm = True
        async with asyncio.timeout(PATIENCE):
            while not all(_is_complete(watcher, expected) for watcher in watchers):
                for task in running:
                    assert not task.done(), task.exception()
                await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)  # for what may come twice
    finally:
        over.set()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, killing, return_exceptions=True)
    heard = 0
    for watcher in watchers:
        for name, view in watcher.views.items():
            state, positions = expected[name]
            assert watcher.told[name] == [at for at in positions if at > watcher.start[name]]
            assert view == state
            heard += len(watcher.told[name])
    connections = _connections(watchers)
    print(
        f"{count} payments, {heard} frames to {CLIENTS} clients over {connections} connections, {kills} kills"
    )
    assert kills >= 2
    assert connections > 2 * CLIENTS
    assert heard > count


def _connections(watchers: list[Watcher]) -> int:
    return sum(watcher.connections for watcher in watchers)


def _is_complete(watcher: Watcher, expected: dict[str, tuple[View, list[int]]]) -> bool:
    return bool(watcher.views) and all(
        max(watcher.told[name][-1:], default=watcher.start[name]) >= max(positions, default=0)
        for name, (_, positions) in expected.items()
        if name in watcher.views
    )
