"""Going on from a position: what was missed is told, in order, once; or it is said that a snapshot is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from ledger import positions
from ledger.archive import archive
from ledger.models import Event, Outbox, Reorganisation, StreamPosition
from operator_api.simulation.play import Play
from synchronizer import log, relay, replay, status
from synchronizer.database import in_database
from synchronizer.models import Told
from synchronizer.tests.conftest import Client, Connect, Redis, drop_outbox, stream, tell
from synchronizer.tests.test_relay import add, players

pytestmark = pytest.mark.django_db(transaction=True)


def told(frame: Any) -> tuple[str, str | None]:
    """Event and amount, of an amount there is."""
    data = frame["data"]["data"]
    return data["type"], data["data"].get("amount")


def is_chain(found: list[Any], start: int | None) -> bool:
    """Whether each frame names the one before it."""
    return [frame["previous"] for frame in found] == [start, *(frame["position"] for frame in found[:-1])]


def newest(heard: list[Any]) -> int:
    """The newest position of all: the sender of the last payment is told it after the recipient."""
    return int(heard[-1]["position"]) + 1


async def history(play: Play, connect: Connect) -> tuple[Any, Any, list[Any]]:
    """Two wallets, and what a client of the second heard: payments over two checkpoints."""
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    for amount in (1, 2):
        await in_database(play.pay, alice, bob, amount)
    await in_database(play.next_eon)
    for amount in (3, 4):
        await in_database(play.pay, alice, bob, amount)
    await in_database(play.next_eon)
    await in_database(play.pay, alice, bob, 5)
    await tell()
    return alice, bob, await client.notifications()


async def test_every_position_leads_to_what_came_after_it(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    _, bob, heard = await history(play, connect)
    assert [told(frame)[1] for frame in heard] == ["1", "2", None, "3", "4", None, "5"]
    assert is_chain(heard, None)
    name = stream(bob)
    for start, after in enumerate([0, *(frame["position"] for frame in heard)]):
        client = await connect()
        for since in (after, {name: after}):
            answer = await client.ask("subscribe", streams=[name], since=since)
            assert answer["position"] == newest(heard)
            assert await client.notifications() == heard[start:]
            await client.ask("unsubscribe", streams=[name])
        await client.close()


async def test_the_replay_joins_what_comes_now(play: Play, connect: Connect) -> None:
    alice, bob, heard = await history(play, connect)
    client = await connect()
    await client.send({"op": "subscribe", "args": {"streams": [stream(bob)], "since": heard[3]["position"]}})
    for amount in range(6, 26):
        await in_database(play.pay, alice, bob, amount)
        await tell()
    assert (await client.read())["type"] == "response"
    found = await client.notifications()
    assert [told(frame)[1] for frame in found] == ["4", None, *(str(amount) for amount in range(5, 26))]
    assert is_chain(found, heard[3]["position"])


async def test_each_stream_goes_on_from_its_own_position(play: Play, connect: Connect) -> None:
    alice, bob, heard = await history(play, connect)
    client = await connect()
    names = [stream(bob), stream(alice), "hub"]
    since = {names[0]: heard[4]["position"], names[2]: 0}
    await client.ask("subscribe", streams=names, since=since)
    found = await client.notifications()
    by_stream: dict[str, list[Any]] = {}
    for frame in found:
        by_stream.setdefault(frame["data"]["type"], []).append(frame)
    assert [frame["position"] for frame in found] == sorted(frame["position"] for frame in found)
    assert by_stream.pop("hub")[0]["data"]["data"]["type"] == "CHECKPOINT_CREATED"
    assert list(by_stream.values()) == [heard[5:]]  # nothing of the wallet that asked for nothing


async def test_a_checkpoint_is_one_row_for_all_wallets(play: Play, connect: Connect) -> None:
    made = await in_database(play.register, 20)
    await drop_outbox()
    await in_database(play.next_eon)
    (late,) = await in_database(play.register, 1)
    await tell()
    events = await in_database(
        lambda: list(Told.objects.values_list("event", flat=True).order_by("position"))
    )
    assert events == ["CHECKPOINT_CREATED", "CHECKPOINT_CREATED", "REGISTERED_WALLET"]
    client = await connect()
    await client.ask("subscribe", streams=[stream(player) for player in [*made, late]], since=0)
    found = await client.notifications()
    assert [told(frame)[0] for frame in found] == ["CHECKPOINT_CREATED"] * 20 + ["REGISTERED_WALLET"]
    assert {frame["position"] for frame in found[:20]} == {found[0]["position"]}
    assert {frame["previous"] for frame in found} == {None}
    await in_database(play.next_eon)
    await in_database(play.deposit, late, 1)
    await in_database(add, Event.CONFIRMED_DEPOSIT, 1)
    await tell()
    for frame in await client.notifications():  # the newcomer was not told the first checkpoint
        own = frame["data"]["type"].lower() == stream(late).lower()
        previous = found[-1]["position"] if own else found[0]["position"]
        if told(frame)[0] == "CHECKPOINT_CREATED":
            assert frame["previous"] == previous
            second = frame["position"]
        else:
            assert own
            assert frame["previous"] == second


async def test_a_position_that_is_not_kept_is_refused_by_name(
    play: Play, connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, heard = await history(play, connect)
    await in_database(lambda: StreamPosition.objects.update(forgotten=heard[2]["position"]))
    client = await connect()
    names = [stream(bob), stream(alice)]
    request = {"streams": names, "since": {names[0]: heard[1]["position"], names[1]: newest(heard)}}
    await client.send({"op": "subscribe", "args": request})
    refusal = await client.read()
    assert (refusal["type"], refusal["code"], refusal["stream"]) == ("error", "POSITION_TOO_OLD", names[0])
    assert refusal["data"]["cause"]["args"] == request
    assert (await client.read())["data"]["data"]["streams"] == names
    params = {"token_address": bob.token.hex(), "wallet_address": bob.address.hex(), "eon_number": None}
    snapshot = await client.ask("get", resource="wallet", params=params)
    assert snapshot["eon_number"] == 3
    assert snapshot["position"] == refusal["position"] == newest(heard)
    assert [row["amount"] for row in snapshot["data"]["data"]["transactions"]] == ["5"]
    await in_database(play.pay, alice, bob, 6)
    await tell()
    assert [told(frame) for frame in await client.notifications()] == [("TRANSFER_CONFIRMATION", "6")] * 2
    future = newest(heard) + 10**9
    await client.send({"op": "subscribe", "args": {"streams": names, "since": future}})
    assert [(await client.read()).get("code") for _ in range(3)] == ["POSITION_UNKNOWN"] * 2 + [None]
    assert await client.is_silent()
    await client.ask("subscribe", streams=names[:1], since=heard[2]["position"])
    assert len(await client.notifications()) == len(heard) - 3 + 1


async def test_old_entries_are_forgotten(
    play: Play, connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob, heard = await history(play, connect)
    monkeypatch.setattr(log, "GRACE", 0)
    kept = await in_database(Told.objects.count)
    assert await in_database(log.forget, 3600.0) == 0
    assert await in_database(positions.bounds) == (newest(heard), 0)
    monkeypatch.setattr(log, "FORGOTTEN_AT_ONCE", 3)
    assert await in_database(log.forget, -1.0) == 3
    assert await in_database(positions.bounds) == (newest(heard), newest(heard))
    monkeypatch.setattr(log, "FORGOTTEN_AT_ONCE", 1000)
    settings.HUB_STREAM_RETENTION_HOURS = -1
    await in_database(play.pay, alice, bob, 6)
    await tell()  # forgets first, then tells
    assert await in_database(Told.objects.count) == 2 < kept
    client = await connect()
    assert (await client.ask("subscribe", streams=[stream(bob)], since=newest(heard)))["type"] == "response"
    (frame,) = await client.notifications()
    assert (told(frame)[1], frame["previous"]) == ("6", None)


def test_a_run_forgets_all_that_is_old(play: Play, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, between which it tells."""
    Outbox.objects.all().delete()
    monkeypatch.setattr(log, "FORGOTTEN_AT_ONCE", 5)
    Told.objects.bulk_create(
        Told(position=number, stream=b"hub", event=Event.STATUS, object_id=1) for number in range(1, 22)
    )
    StreamPosition.objects.create(pk=1, last=21, forgotten=0, status=0)
    assert relay.run(0.0) == 0
    assert Told.objects.count() == 16
    relay.run(3.0)
    assert not Told.objects.exists()


async def test_an_archived_checkpoint_is_left_out(play: Play, connect: Connect, tmp_path: Path) -> None:
    _, bob, heard = await history(play, connect)
    await in_database(archive, 2, tmp_path)
    client = await connect()
    await client.ask("subscribe", streams=[stream(bob)], since=heard[0]["position"])
    found = await client.notifications()
    assert [told(frame)[1] for frame in found] == ["2", "3", "4", None, "5"]
    assert found == [frame for frame in heard[1:] if frame != heard[2]]
    assert found[1]["previous"] == heard[2]["position"]  # there was one more


async def test_positions_never_go_back(play: Play, connect: Connect) -> None:
    alice, bob, heard = await history(play, connect)
    ahead = heard[-1]["position"] + 10**12  # the clock went back by days
    await in_database(lambda: StreamPosition.objects.update(last=ahead))
    client = await connect()
    await client.subscribe(bob)
    await in_database(play.pay, alice, bob, 6)
    await tell()
    (frame,) = await client.notifications()
    assert ahead < frame["position"] <= ahead + 2
    assert frame["previous"] == heard[-1]["position"]


@pytest.mark.parametrize(
    "since", ["1", 1.5, True, -1, 2**63, [1], {"hub": "1"}, {"nonsense": 1}, {"hub": None}]
)
async def test_a_bad_since_is_refused_and_nothing_subscribed(connect: Connect, since: Any) -> None:
    client = await connect()
    answer = await client.ask("subscribe", streams=["hub"], since=since)
    assert answer["type"] == "error"
    assert (await client.ask("unsubscribe", streams=["hub"]))["data"]["data"]["streams"] == []


async def test_a_snapshot_has_a_position_over_http(play: Play, connect: Connect) -> None:
    _, bob, heard = await history(play, connect)

    def read() -> Any:
        return APIClient().get(f"/audit/3/{bob.token.hex()}/{bob.address.hex()}/")

    response = await in_database(read)
    assert int(response["Stream-Position"]) == newest(heard)
    assert "position" not in response.json()


async def test_events_after_a_snapshots_position_are_told_later(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is in the snapshot but not told yet comes again, and is known by its id; none is missing."""
    alice, bob, _ = await history(play, connect)
    stored = await in_database(play.pay, alice, bob, 6)
    client = await connect()
    params = {"token_address": bob.token.hex(), "wallet_address": bob.address.hex(), "eon_number": 3}
    snapshot = await client.ask("get", resource="wallet", params=params)
    await tell()
    await client.ask("subscribe", streams=[stream(bob)], since=snapshot["position"])
    (frame,) = await client.notifications()
    assert frame["data"]["data"]["data"]["id"] == stored.id  # type: ignore[union-attr]  # it was accepted


async def test_the_public_stream(play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await connect()
    await client.ask("subscribe", streams=["hub"])
    await drop_outbox()
    commitment = await in_database(play.next_eon)

    def reorganise() -> Reorganisation:
        return Reorganisation.objects.create(
            first_block=7, blocks=2, abandoned_hash=b"\x01" * 32, head_hash=b"\x02" * 32
        )

    row = await in_database(reorganise)
    await in_database(add, Event.EON_STARTED, 2)
    await in_database(add, Event.CHECKPOINT_SUBMITTED, 2)
    await in_database(add, Event.REORGANISATION, row.pk)
    monkeypatch.setattr(status, "current", lambda: status.Flag.BEHIND)
    assert await tell() == 5
    monkeypatch.setattr(status, "current", lambda: status.Flag(0))
    assert await tell() == 1
    found = await client.notifications()
    assert is_chain(found, None)
    root = {"eon_number": 2, "merkle_root": "0x" + commitment.merkle_root.hex()}
    assert [(frame["data"]["data"]["type"], frame["data"]["data"]["data"]) for frame in found] == [
        ("CHECKPOINT_CREATED", root),
        ("EON_STARTED", {"eon_number": 2, "block": 60}),
        ("CHECKPOINT_SUBMITTED", root),
        (
            "REORGANISATION",
            {
                "first_block": 7,
                "blocks": 2,
                "abandoned_hash": "0x" + "01" * 32,
                "head_hash": "0x" + "02" * 32,
                "deep": False,
                "time": int(row.time.timestamp()),
            },
        ),
        ("STATUS", {"halted": False, "forked": False, "behind": True, "maintenance": False}),
        ("STATUS", {"halted": False, "forked": False, "behind": False, "maintenance": False}),
    ]


async def test_the_status_is_that_of_the_chain(play: Play) -> None:
    def change(**values: Any) -> int | None:
        for name, value in values.items():
            setattr(play.status, name, value)
        play.status.save()
        return status.change()

    assert await in_database(change) is None
    assert await in_database(lambda: change(halted=True)) == status.Flag.HALTED
    assert await in_database(status.change) is None
    assert await in_database(lambda: change(forked=True)) == status.Flag.HALTED | status.Flag.FORKED
    assert (
        await in_database(lambda: change(halted=False, forked=False, node_block=1000)) == status.Flag.BEHIND
    )
    assert await in_database(lambda: change(node_block=0, maintenance=True)) == status.Flag.MAINTENANCE
    assert await in_database(lambda: change(maintenance=False)) == 0


async def test_heartbeats(play: Play, connect: Connect) -> None:
    _, bob, heard = await history(play, connect)
    client = await connect()
    await client.subscribe(bob)
    for bad in (-1, 601, "1", True, None, 1.5):
        assert (await client.ask("heartbeat", seconds=bad))["type"] == "error"
    assert (await client.ask("heartbeat", seconds=1))["data"]["data"] == {"seconds": 1}
    async with asyncio.timeout(3):
        for _ in range(2):
            frame = await client.read()
            assert (frame["type"], frame["position"]) == ("heartbeat", newest(heard))
    assert (await client.ask("heartbeat", seconds=0))["data"]["data"] == {"seconds": 0}
    await asyncio.sleep(1.2)
    assert await client.is_silent()


async def test_connections_of_an_address_are_limited(redis: Redis, connect: Connect, settings: Any) -> None:
    settings.HUB_STREAM_CONNECTIONS_PER_ADDRESS = 2
    first, _ = await connect(), await connect()
    third = Client()
    await third.socket.send_input({"type": "websocket.connect"})
    assert (await third.output())["type"] == "websocket.accept"
    closing = await third.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 1008)
    await third.close()
    await first.close()
    fourth = await connect()
    assert (await fourth.ask("ping"))["data"]["data"] == "pong"


async def test_a_crash_after_the_log_was_written_loses_nothing(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)

    def crash(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as crashing:
        crashing.setattr(relay.Relay, "_publish", crash)
        await in_database(play.pay, alice, bob, 1)
        with pytest.raises(SystemExit):
            await tell()
    assert await in_database(Outbox.objects.count) == 0
    await in_database(play.pay, alice, bob, 2)
    await tell()
    assert [told(frame)[1] for frame in await client.notifications()] == ["1", "2"]
