"""Redis may go away, come back empty or lose messages, PostgreSQL may cut connections: nothing that was committed
stays untold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import Error, connection

from ledger.sql import fetch
from operator_api.simulation.play import Play
from synchronizer import relay
from synchronizer import switchboard as module
from synchronizer.database import in_database
from synchronizer.events import Frame
from synchronizer.switchboard import GROUP, switchboard
from synchronizer.tests.conftest import WAIT, Client, Connect, Redis, tell
from synchronizer.tests.test_relay import players

pytestmark = pytest.mark.django_db(transaction=True)


async def transfers(client: Client, wanted: set[str]) -> list[str]:
    """Amounts of the transfers told until all `wanted` were; other events and repetitions are passed over."""
    seen: list[str] = []
    async with asyncio.timeout(3 * WAIT):
        while not wanted <= set(seen):
            event, model = await client.event(3 * WAIT)
            if event == "TRANSFER_CONFIRMATION":
                seen.append(model["amount"])
    return seen


async def test_events_are_told_without_redis_and_subscriptions_survive(
    play: Play, connect: Connect, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.5)
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    await in_database(play.pay, alice, bob, 1)
    assert await tell() == 1
    assert await transfers(client, {"1"}) == ["1"]
    redis.kill()
    await in_database(play.pay, alice, bob, 2)
    assert await tell() == 1
    assert await transfers(client, {"2"}) == ["2"]
    await in_database(play.pay, alice, bob, 3)
    assert await tell() == 1
    redis.start()
    running = asyncio.ensure_future(tell(8))
    await in_database(play.pay, alice, bob, 4)
    assert await transfers(client, {"3", "4"}) == ["3", "4"]
    await running
    assert await client.is_silent()


async def test_redis_killed_again_and_again_under_a_stream_of_transfers(
    play: Play, connect: Connect, redis: Redis
) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    running = asyncio.ensure_future(tell(15))
    for amount in range(1, 41):
        await in_database(play.pay, alice, bob, amount)
        if amount % 10 == 5:
            redis.kill()
            await asyncio.sleep(0.05)
            redis.start()
        await asyncio.sleep(0.05)
    everything = [str(amount) for amount in range(1, 41)]
    assert await transfers(client, set(everything)) == everything
    await running
    assert await client.is_silent()


async def test_a_lost_message_is_noticed_and_read_from_the_log(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    await tell()
    await in_database(play.pay, alice, bob, 1)
    await in_database(play.next_eon)
    await in_database(play.pay, alice, bob, 2)
    (late,) = await in_database(play.register, 1)
    await client.subscribe(late)
    with monkeypatch.context() as lost:
        lost.setattr(relay.Relay, "_publish", lambda *_: None)
        assert await tell() == 4
    assert await client.is_silent()
    await tell()  # a sign of life
    found = [await client.event() for _ in range(4)]
    assert [
        (name, model.get("amount") or model.get("trail_identifier") or model["merkle_proof"]["trail"])
        for name, model in found
    ] == [
        ("TRANSFER_CONFIRMATION", "1"),
        ("REGISTERED_WALLET", late.trail),  # waits for no other stream's state
        ("CHECKPOINT_CREATED", bob.trail),
        ("TRANSFER_CONFIRMATION", "2"),
    ]
    assert await client.is_silent()


async def test_a_connection_is_accepted_while_redis_is_away(
    play: Play, redis: Redis, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synchronizer.consumers.READY_TIMEOUT", 0.1)
    alice, bob = await players(play, 2)
    redis.kill()
    client = await connect()
    await client.subscribe(bob)
    await in_database(play.pay, alice, bob, 5)
    redis.start()
    running = asyncio.ensure_future(tell(10))
    await transfers(client, {"5"})
    await running


async def test_a_silent_connection_to_redis_is_replaced(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.3)
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    layer: Any = get_channel_layer()
    before = layer._get_layer()._shards[0]._receive_task
    async with asyncio.timeout(WAIT):
        while layer._get_layer()._shards[0]._receive_task is before or GROUP not in str(
            layer._get_layer().groups
        ):
            await asyncio.sleep(0.02)
    await in_database(play.pay, alice, bob, 5)
    await tell()
    await transfers(client, {"5"})


async def test_frames_keep_their_order_while_a_state_is_read(play: Play, connect: Connect) -> None:
    _, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    board = switchboard()
    group = f"wallet.{bob.token.hex()}.{bob.address.hex()}"
    start = board.position or 0
    gates = {position: Barrier(2, timeout=WAIT) for position in (2, 4)}

    def state(position: int, groups: Sequence[str]) -> list[Frame]:
        gates[position].wait()
        return [(position, group, str(position))]

    board._pass((1, group, "1"))
    board._hold(2, partial(state, 2))
    board._pass((3, group, "3"))
    board._hold(4, partial(state, 4))
    board._pass((5, group, "5"))
    assert board.settled([group]) == min(start, 1)
    await asyncio.to_thread(gates[4].wait)
    assert await client.read() == 1
    assert await client.is_silent()
    await asyncio.to_thread(gates[2].wait)
    assert [await client.read() for _ in range(4)] == [2, 3, 4, 5]
    board._pass((6, group, "6"))
    assert await client.read() == 6
    assert not board._held
    assert board.settled([group]) == start


@pytest.fixture
def cut(transactional_db: None) -> Callable[[], Awaitable[int]]:
    """Ends the sessions of all threads but this, as a restart of PostgreSQL does. Gives how many there were."""
    ((own,),) = fetch("SELECT pg_backend_pid()")

    def end_sessions() -> int:
        try:
            ((count,),) = fetch(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid NOT IN (%s, pg_backend_pid())",
                [own],
            )
            return int(count)
        finally:
            connection.close()

    return partial(asyncio.to_thread, end_sessions)


async def test_broken_database_connections_delay_events_only(
    play: Play, connect: Connect, cut: Callable[[], Awaitable[int]]
) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    running = asyncio.ensure_future(tell(30))
    async with asyncio.timeout(WAIT):
        while not await cut():
            await asyncio.sleep(0.02)
    with pytest.raises(Error):
        await running
    await in_database(play.next_eon)
    await in_database(play.pay, alice, bob, 3)
    assert await cut() >= 1  # so the first state cannot be read
    assert await tell() == 2
    assert (await client.event())[0] == "CHECKPOINT_CREATED"
    assert (await client.event())[1]["amount"] == "3"
