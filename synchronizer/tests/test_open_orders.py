"""Lists of orders in force: what is in them, and that asking for them delays nobody else."""

from __future__ import annotations

import asyncio
import time
from threading import Event
from typing import Any

import orjson
import pytest
from django.db import OperationalError

from auditor.render import matched_amounts
from ledger.models import RootCommitment, Transfer
from operator_api.simulation.play import Play
from swapper.tests.exchange_market import LQD, MarketPlay, done
from synchronizer import open_orders as reading
from synchronizer.database import in_database
from synchronizer.open_orders import OpenOrders, Pair, answers
from synchronizer.tests.conftest import WAIT, Client, Connect, stream, tell
from synchronizer.tests.test_relay import players
from synchronizer.wire import decoded

pytestmark = pytest.mark.django_db(transaction=True)
NOBODYS = bytes(20)


def data(frame: bytes) -> Any:
    """The list in an answer."""
    return orjson.loads(decoded(frame))["data"]["data"]


def as_instances_say(sold: bytes, bought: bytes) -> list[dict[str, Any]]:
    """The orders in force, rendered one by one."""
    eon = RootCommitment.objects.order_by("-eon_number").values_list("eon_number", flat=True).first() or 0
    rows = Transfer.objects.filter(
        swap=True,
        wallet__token__address=sold,
        recipient__token__address=bought,
        eon_number__in=(eon, eon + 1),
        appended=True,
        processed=False,
        complete=False,
        voided=False,
        cancelled=False,
    )
    return [
        {
            "id": row.pk,
            "tx_id": str(row.tx_id),
            "eon_number": row.eon_number,
            "amount": str(row.amount),
            "amount_swapped": str(row.amount_swapped),
            "sell_order": row.sell_order,
            "matched_amounts": matched_amounts(row),
        }
        for row in rows.order_by("id")
    ]


def test_the_list_is_that_of_the_rows() -> None:
    market = MarketPlay.create()
    ether = bytes(market.play.tokens[0].address)
    kept = [market.order(100 + n, 200 + n, sell=n % 2 == 0, eons=3) for n in range(4)]
    market.order(90, 30, 1, eons=3)
    ended = market.order(100, 300)
    done(ended.freeze())
    market.exchange.step()
    assert any(market.row(one).matched_out for one in kept)
    for _ in range(3):
        expected = [as_instances_say(ether, LQD), as_instances_say(LQD, ether)]
        found = answers([(ether, LQD), (LQD, ether), (ether, NOBODYS), (ether, ether)])
        assert [data(found[pair]) for pair in ((ether, LQD), (LQD, ether))] == expected
        assert (data(found[ether, NOBODYS]), data(found[ether, ether])) == ([], [])
        market.order(10**24, 3 * 10**24, eons=2)
        market.next_eon()
        market.order(50, 25, 1, eons=2)
        market.exchange.step()
    assert sum(len(side) for side in expected) > 2
    assert any(of["matched_amounts"]["matched_in"] != "0" for of in expected[0])


class Gate:
    """Holds each read back, after it was made, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[set[Pair]] = []
        self.begun = Event()
        self.open = Event()
        monkeypatch.setattr(reading, "answers", self.answers)

    def answers(self, pairs: set[Pair]) -> dict[Pair, bytes]:
        self.asked.append(pairs)
        found = answers(pairs)
        self.begun.set()
        assert self.open.wait(WAIT)
        return found

    async def reached(self) -> None:
        """Wait until a read is under way."""
        assert await asyncio.to_thread(self.begun.wait, WAIT)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def ask(client: Client, sold: bytes, bought: bytes) -> None:
    params = {"sold_token": sold.hex(), "bought_token": bought.hex()}
    await client.send({"op": "get", "args": {"resource": "orders", "params": params}})


async def test_all_who_wait_share_a_read_that_is_newer_than_their_requests(
    connect: Connect, gate: Gate
) -> None:
    market = await in_database(MarketPlay.create)
    ether = bytes(market.play.tokens[0].address)
    clients = [await connect() for _ in range(12)]
    await ask(clients[0], ether, LQD)
    await gate.reached()
    await in_database(market.order, 100, 200)
    for number, client in enumerate(clients[1:]):
        await ask(client, *((ether, LQD) if number % 2 else (LQD, ether)))
    await asyncio.sleep(0.1)
    gate.open.set()
    found = [(await client.read())["data"]["data"] for client in clients]
    assert [len(orders) for orders in found] == [0, *[number % 2 for number in range(11)]]
    assert gate.asked == [{(ether, LQD)}, {(ether, LQD), (LQD, ether)}]


async def test_nothing_else_waits_for_a_read(play: Play, connect: Connect, gate: Gate) -> None:
    alice, bob = await players(play, 2)
    greedy = [await connect() for _ in range(12)]
    for number, client in enumerate(greedy):
        await ask(client, alice.token, bytes([number]) * 20)
    await gate.reached()
    await in_database(play.pay, alice, bob, 3)
    await tell()
    client = await connect()
    params = {"token_address": bob.token.hex(), "wallet_address": bob.address.hex(), "eon_number": None}
    assert (await client.ask("get", resource="wallet", params=params))["type"] == "response"
    assert (await client.ask("subscribe", streams=[stream(bob)], since=0))["type"] == "response"
    assert "TRANSFER_CONFIRMATION" in [of["data"]["data"]["type"] for of in await client.notifications()]
    gate.open.set()
    for client in greedy:
        assert (await client.read())["data"]["data"] == []


async def test_who_leaves_takes_nothing_from_those_who_wait(gate: Gate, transactional_db: None) -> None:
    books = OpenOrders()
    asking = [asyncio.ensure_future(books.answer(NOBODYS, bytes([n]) * 20)) for n in range(2)]
    await gate.reached()
    more = [asyncio.ensure_future(books.answer(NOBODYS, NOBODYS)) for _ in range(3)]
    await asyncio.sleep(0)
    for leaving in (asking[0], more[0]):
        leaving.cancel()
    gate.open.set()
    found = await asyncio.gather(*asking, *more, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in found] == [True, False, True, False, False]
    assert data(await books.answer(NOBODYS, NOBODYS)) == []


async def test_reading_is_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = []

    def slow(pairs: set[Pair]) -> dict[Pair, bytes]:
        moments.append(time.monotonic())
        time.sleep(0.03)
        return dict.fromkeys(pairs, b"")

    monkeypatch.setattr(reading, "answers", slow)
    books = OpenOrders()
    for _ in range(3):
        await books.answer(NOBODYS, NOBODYS)
    assert moments[1] - moments[0] >= 0.3
    assert moments[2] - moments[1] >= 0.3


async def test_a_read_that_fails_is_told_and_the_next_is_made(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OperationalError("the database is away")]

    def failing(pairs: set[Pair]) -> dict[Pair, bytes]:
        if failures:
            raise failures.pop()
        return answers(pairs)

    monkeypatch.setattr(reading, "answers", failing)
    client = await connect()
    await ask(client, NOBODYS, LQD)
    assert (await client.read())["type"] == "error"
    await ask(client, NOBODYS, LQD)
    assert (await client.read())["data"]["data"] == []
