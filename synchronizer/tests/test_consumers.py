"""The protocol of a connection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor import render, selectors
from ledger.archive import archive
from operator_api.simulation.play import Play
from synchronizer import consumers
from synchronizer.consumers import MAX_FRAME, MAX_STREAMS
from synchronizer.database import in_database
from synchronizer.switchboard import switchboard
from synchronizer.tests.conftest import Connect, Redis, drop_outbox, stream, tell

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
NAME = f"wallet/{TOKEN}/{'aB' * 20}"


def names(count: int, start: int = 0) -> list[str]:
    return [f"tokenpair/{TOKEN}/{number:040x}" for number in range(start, start + count)]


async def test_ping(connect: Connect) -> None:
    client = await connect()
    assert await client.ask("ping") == {"type": "response", "data": {"type": "ping", "data": "pong"}}


async def test_streams_are_confirmed_as_they_were_spelt(connect: Connect) -> None:
    client = await connect()
    prefixed = f"wallet/0x{TOKEN}/0x{'cD' * 20}"
    answer = await client.ask("subscribe", streams=[NAME, prefixed, NAME], other=1)
    expected = {"streams": [NAME, prefixed.replace("0x", ""), NAME]}
    assert answer == {"type": "response", "position": 0, "data": {"type": "subscribe", "data": expected}}
    answer = await client.ask("unsubscribe", streams=[NAME.lower(), "nonsense", names(1)[0]])
    expected = {"streams": [NAME.lower()]}
    assert answer == {"type": "response", "data": {"type": "unsubscribe", "data": expected}}
    assert (await client.ask("unsubscribe", streams=["*"]))["data"]["data"] == {"streams": ["*"]}
    assert (await client.ask("unsubscribe", streams=[NAME]))["data"]["data"] == {"streams": []}


async def test_an_invalid_stream_gets_an_error_and_the_others_are_accepted(connect: Connect) -> None:
    client = await connect()
    request = {"op": "subscribe", "args": {"streams": ["wallet/x/y", NAME, NAME + "0", "*"]}}
    await client.send(request)
    for _ in range(3):
        error = await client.read()
        assert error["type"] == "error"
        assert error["data"]["cause"] == request
    assert (await client.read())["data"]["data"] == {"streams": [NAME]}


@pytest.mark.parametrize(
    "request_",
    [
        "no json",
        "",
        '"text"',
        "[]",
        "{}",
        '{"op":"ping"}',
        '{"args":{}}',
        '{"op":1,"args":{}}',
        '{"op":"ping","args":[]}',
        '{"op":"subscribe","args":{}}',
        '{"op":"subscribe","args":{"streams":"*"}}',
        '{"op":"subscribe","args":{"streams":[1]}}',
        '{"op":"unsubscribe","args":{}}',
        '{"op":"unsubscribe","args":{"streams":[null]}}',
        '{"op":"get","args":{}}',
        '{"op":"get","args":{"resource":"wallet","params":[]}}',
        '{"op":"get","args":{"resource":"wallet","params":{}}}',
        '{"op":"get","args":{"resource":"nothing","params":{}}}',
        '{"op":"get","args":{"resource":"operator","params":{}}}',  # no chain has been read
        '{"op":1,"args":' + '{"a":' * 500 + "1" + "}" * 500 + "}",
        "x" * (MAX_FRAME + 1),
    ],
)
async def test_a_bad_request_gets_one_error_and_the_connection_stays(connect: Connect, request_: str) -> None:
    client = await connect()
    await client.send(request_)
    answer = await client.read()
    assert answer["type"] == "error"
    assert set(answer["data"]) == {"message", "cause"}
    assert (await client.ask("ping"))["data"]["data"] == "pong"


async def test_binary_gets_an_error_and_an_unknown_operation_nothing(connect: Connect) -> None:
    client = await connect()
    await client.socket.send_input({"type": "websocket.receive", "bytes": b"\x00"})
    assert (await client.read())["type"] == "error"
    await client.send({"op": "ack", "args": {}})
    assert await client.is_silent()


async def test_the_limit_is_on_distinct_streams_of_one_connection(connect: Connect) -> None:
    first, second = await connect(), await connect()
    for client in (first, second):
        answer = await client.ask("subscribe", streams=names(MAX_STREAMS - 1))
        assert len(answer["data"]["data"]["streams"]) == MAX_STREAMS - 1
    again = [*names(3), *names(1), *names(1, MAX_STREAMS)]
    assert len((await first.ask("subscribe", streams=again))["data"]["data"]["streams"]) == 5
    assert (await first.ask("subscribe", streams=[NAME]))["type"] == "error"
    assert (await first.ask("ping"))["data"]["data"] == "pong"
    await first.ask("unsubscribe", streams=names(1))
    assert (await first.ask("subscribe", streams=[NAME]))["type"] == "response"
    assert (await second.ask("subscribe", streams=names(MAX_STREAMS + 1)))["type"] == "error"


async def test_get(connect: Connect, redis: Redis) -> None:
    play = await in_database(Play)
    (alice,) = await in_database(play.register, 1)
    await in_database(play.next_eon)
    client = await connect()
    params: dict[str, Any] = {"token_address": TOKEN, "wallet_address": alice.address.hex(), "eon_number": 2}
    answer = await client.ask("get", resource="wallet", params=params)

    def expected(eon: int) -> Any:
        wallet = selectors.find_wallet(alice.token, alice.address)
        assert wallet is not None
        return render.wallet_state(selectors.wallet_history(wallet, eon))

    assert answer["data"] == {"type": "wallet", "data": await in_database(expected, 2)}
    assert answer["data"]["data"]["merkle_proof"]["eon_number"] == 2
    for eon, real in ((-1, 1), (9, 9), (-9, -7), (2**63 - 1, 9)):
        answer = await client.ask("get", resource="wallet", params={**params, "eon_number": eon})
        assert answer["data"]["data"] == await in_database(expected, real)
    answer = await client.ask("get", resource="operator", params={})
    assert answer["data"]["data"] == {
        "latest": {"block": 60, "eon_number": 2},
        "confirmed": {"block": 59, "eon_number": 1},
    }
    for bad in (
        {"eon_number": "2"},
        {"eon_number": True},
        {"wallet_address": "0x" + TOKEN},
        {"token_address": 1},
    ):
        answer = await client.ask("get", resource="wallet", params={**params, **bad})
        assert answer["type"] == "error"
    unknown = {**params, "wallet_address": "9" * 40}
    answer = await client.ask("get", resource="wallet", params=unknown)
    assert answer["data"]["cause"] == {"op": "get", "args": {"resource": "wallet", "params": unknown}}


async def test_archived_proofs_are_not_taken_for_none(connect: Connect, redis: Redis, tmp_path: Path) -> None:
    play = await in_database(Play)
    (alice,) = await in_database(play.register, 1)
    await in_database(play.next_eon)
    await in_database(archive, 2, tmp_path)
    client = await connect()
    params = {"token_address": TOKEN, "wallet_address": alice.address.hex(), "eon_number": 2}
    answer = await client.ask("get", resource="wallet", params=params)
    assert answer["type"] == "error"
    assert "proofs of eon 2 are archived" in json.dumps(answer)


async def test_what_is_not_subscribed_any_more_is_not_told(connect: Connect) -> None:
    play = await in_database(Play)
    alice, bob = await in_database(play.register, 2)
    await in_database(play.deposit, alice, 10)
    await drop_outbox()
    first, second = await connect(), await connect()
    await first.subscribe(alice, bob)
    await second.subscribe(bob)
    await first.ask("unsubscribe", streams=[stream(alice)])
    await in_database(play.pay, alice, bob, 1)
    assert await tell() == 1
    for client in (first, second):
        assert (await client.event())[1]["amount"] == "1"
        assert await client.is_silent()
    await second.close()
    await first.ask("unsubscribe", streams=["*"])
    assert not switchboard()._subscribers
    await in_database(play.pay, alice, bob, 1)
    assert await tell() == 1
    assert await first.is_silent()


async def test_a_client_that_does_not_read_is_disconnected(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_WAITING", 5)
    client = await connect()
    await client.ask("subscribe", streams=[NAME])
    board = switchboard()
    group = NAME.replace("/", ".").lower()
    for position in range(7):  # before the connection's task can run
        board._pass((position, group, "{}"))
    assert not board._subscribers
    assert (await client.output())["type"] == "websocket.send"  # the first; what waited is in the log
    output = await client.output()
    assert output["type"] == "websocket.close"
    assert output["code"] == consumers.Close.TRY_AGAIN_LATER
