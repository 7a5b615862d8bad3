"""What is told of orders: to both wallets of each, and on the streams of their pairs."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from auditor import render_swaps, selectors
from ledger import store
from ledger.models import Event, Outbox, Transfer
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from swapper.tests.market import LQD, fill, market, next_eon, place, row, trader
from synchronizer import relay
from synchronizer.database import in_database
from synchronizer.orders import ORDER_EVENTS
from synchronizer.tests.conftest import Client, Connect, drop_outbox, tell

pytestmark = pytest.mark.django_db(transaction=True)
ETHER = "9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
TOKEN = "e982E462b094850F12AF94d21D470e21bE9D0E9C"
SELLING, BUYING = f"tokenpair/{ETHER}/{TOKEN}", f"tokenpair/{TOKEN}/{ETHER}"


async def traders(play: Play, *funds: tuple[int, int]) -> list[Trader]:
    """Traders with (funds, what they sell), and nothing in the outbox."""
    await in_database(market, play)
    made = [await in_database(trader, play, amount, sells) for amount, sells in funds]
    await drop_outbox()
    return made


async def subscribed(connect: Connect, *players: Trader, pairs: bool = False) -> Client:
    client = await connect()
    await client.subscribe(*(wallet for one in players for wallet in (one.debit, one.credit)))
    if pairs:
        names = [SELLING.lower(), f"tokenpair/0x{LQD.hex()}/{ETHER}"]
        answer = await client.ask("subscribe", streams=names)
        assert len(answer["data"]["data"]["streams"]) == 2
    return client


async def notices(client: Client, count: int) -> list[tuple[str, str, Any]]:
    """(stream, event, model) of the next notifications."""
    found = []
    for _ in range(count):
        frame = await client.read()
        assert frame["type"] == "notification", frame
        data = frame["data"]
        found.append((data["type"], data["data"]["type"], data["data"]["data"]))
    assert await client.is_silent()
    return found


def stream(one: Trader, side: str) -> str:
    from nocust.addresses import to_checksum

    wallet = getattr(one, side)
    return f"wallet/{to_checksum(wallet.token)[2:]}/{to_checksum(wallet.address)[2:]}"


def rendered(event: str, one: Trader, eon: int) -> Any:
    kind = ORDER_EVENTS[event]
    row = Transfer.objects.get(tx_id=one.tx_id, eon_number=eon).pk
    return kind.render(kind.read([row])[row])


async def model(event: str, one: Trader, eon: int = 1) -> Any:
    return await in_database(rendered, event, one, eon)


def end(one: Trader, *amounts: int) -> None:
    commands = [one.freeze(), one.cancel(*amounts)] if len(amounts) == 2 else [one.finalize(*amounts)]
    for command in commands:
        store.execute([command])


async def test_an_order_is_told_to_its_wallets_and_its_pair(play: Play, connect: Connect) -> None:
    seller, buyer = await traders(play, (100, 0), (60, 1))
    client = await subscribed(connect, seller, buyer, pairs=True)
    for one, amounts, pair in ((seller, (100, 200, 3), SELLING), (buyer, (60, 30, 1), BUYING)):
        await in_database(place, one, *amounts)
        await tell()
        expected = await model(Event.SWAP_CONFIRMATION, one)
        assert await notices(client, 3) == [
            (stream(one, "credit"), "SWAP_CONFIRMATION", expected),
            (stream(one, "debit"), "SWAP_CONFIRMATION", expected),
            (pair, "INCOMING_SWAP", expected),
        ]
    await in_database(fill, buyer, seller, 60, 30)
    await tell()
    bought, sold = await model(Event.MATCHED_SWAP, buyer), await model(Event.MATCHED_SWAP, seller)
    assert (bought["complete"], sold["complete"]) == (True, False)
    assert len(bought["recipient_fulfillment_active_state"]["operator_signature"]) == 130
    assert sold["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
    assert await notices(client, 6) == [
        (stream(buyer, "credit"), "MATCHED_SWAP", bought),
        (stream(buyer, "debit"), "MATCHED_SWAP", bought),
        (BUYING, "MATCHED_SWAP", bought),
        (stream(seller, "credit"), "MATCHED_SWAP", sold),
        (stream(seller, "debit"), "MATCHED_SWAP", sold),
        (SELLING, "MATCHED_SWAP", sold),
    ]
    await in_database(end, buyer, 30)
    await in_database(end, seller, 30, 60)
    await tell()
    finalized = await model(Event.SWAP_FINALIZATION, buyer)
    cancelled = await model(Event.SWAP_CANCELLATION, seller)
    assert finalized["recipient_finalization_active_state"]["operator_signature"]
    assert set(cancelled) == {
        "id",
        "tx_id",
        "sender_cancellation_active_state",
        "recipient_cancellation_active_state",
    }
    frozen = await model(Event.SWAP_FREEZING, seller)
    assert frozen["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
    assert await notices(client, 6) == [
        (stream(buyer, "credit"), "SWAP_FINALIZATION", finalized),
        (stream(buyer, "debit"), "SWAP_FINALIZATION", finalized),
        (SELLING, "FROZEN_SWAP", frozen),
        (stream(seller, "credit"), "SWAP_CANCELLATION", cancelled),
        (stream(seller, "debit"), "SWAP_CANCELLATION", cancelled),
        (SELLING, "CANCELLED_SWAP", cancelled),
    ]


async def test_directions_are_streams_of_their_own(play: Play, connect: Connect) -> None:
    seller, buyer = await traders(play, (100, 0), (60, 1))
    client = await connect()
    await client.ask("subscribe", streams=[SELLING])
    await in_database(place, buyer, 60, 30)
    await tell()
    assert await client.is_silent()
    await in_database(place, seller, 100, 200)
    await tell()
    assert [item[:2] for item in await notices(client, 1)] == [(SELLING, "INCOMING_SWAP")]
    answer = await client.ask("unsubscribe", streams=[SELLING])
    assert answer["data"]["data"]["streams"] == [SELLING]
    await in_database(fill, buyer, seller, 60, 30)
    await tell()
    assert await client.is_silent()


async def test_several_fills_are_told_as_one(play: Play, connect: Connect) -> None:
    seller, *buyers = await traders(play, (100, 0), *((20, 1) for _ in range(5)))
    client = await subscribed(connect, seller)
    await in_database(place, seller, 100, 200)
    for buyer in buyers:
        await in_database(place, buyer, 20, 10)
        await in_database(fill, buyer, seller, 20, 10)
    await tell()
    events = await notices(client, 4)
    assert [event for _, event, _ in events] == ["SWAP_CONFIRMATION"] * 2 + ["MATCHED_SWAP"] * 2
    assert events[-1][2]["matched_amounts"] == {"matched_in": "100", "matched_out": "50"}
    assert await in_database(Outbox.objects.count) == 0


async def test_an_order_that_goes_on_is_told_behind_the_checkpoint(play: Play, connect: Connect) -> None:
    seller, buyer, late = await traders(play, (100, 0), (60, 1), (140, 1))
    await in_database(place, seller, 100, 200, 3)
    await in_database(place, buyer, 60, 30)
    await in_database(fill, buyer, seller, 60, 30)
    await drop_outbox()
    client = await subscribed(connect, seller)
    for eon in (2, 3):
        await in_database(next_eon, play, seller, late)
        await tell()
        events: dict[str, list[tuple[str, Any]]] = {}
        for name, event, told in await notices(client, 4):
            events.setdefault(name, []).append((event, told))
        key = (await in_database(row, seller, eon)).pk
        for side in ("debit", "credit"):
            (first, state), (second, confirmed) = events[stream(seller, side)]
            assert (first, second) == ("CHECKPOINT_CREATED", "SWAP_CONFIRMATION")
            assert [item["id"] for item in state["transactions"]] == [key]
            assert (confirmed["id"], confirmed["eon_number"]) == (key, eon)
            assert confirmed["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
            assert len(confirmed["recipient_active_state"]["operator_signature"]) == 130
    await in_database(place, late, 140, 70)
    await in_database(fill, late, seller, 140, 70)
    await tell()
    matched = [told for _, event, told in await notices(client, 2) if event == "MATCHED_SWAP"]
    assert [told["complete"] for told in matched] == [True, True]
    assert matched[0]["matched_amounts"] == {"matched_in": "200", "matched_out": "100"}


async def test_what_was_missed_is_told_again(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller, buyer = await traders(play, (100, 0), (60, 1))
    client = await subscribed(connect, seller, buyer)
    await in_database(play.register, 1)
    await tell()
    with monkeypatch.context() as lost:
        lost.setattr(relay.Relay, "_publish", lambda *_: None)
        await in_database(place, seller, 100, 200, 2)
        await in_database(place, buyer, 60, 30)
        await in_database(fill, buyer, seller, 60, 30)
        await in_database(end, buyer, 30)
        await in_database(end, seller, 30, 60)
        await tell()
    assert await client.is_silent()
    await tell()  # a sign of life
    told: dict[str, list[str]] = {}
    for _ in range(12):
        frame = (await client.read())["data"]
        told.setdefault(frame["type"], []).append(frame["data"]["type"])
    assert await client.is_silent()
    first = ["SWAP_CONFIRMATION", "MATCHED_SWAP"]
    for one, last in ((seller, "SWAP_CANCELLATION"), (buyer, "SWAP_FINALIZATION")):
        for side in ("debit", "credit"):
            assert told[stream(one, side)] == [*first, last]


async def test_a_batch_of_orders_takes_few_queries(play: Play, connect: Connect) -> None:
    made = await traders(play, *((10, 0) for _ in range(12)))
    for one in made:
        await in_database(place, one, 10, 10, 2)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert relay.run(0) == 12
        return len(queries)

    assert await in_database(count) <= 20


def test_what_is_told_of_an_order_is_a_full_object(play: Play) -> None:
    """Clients read the keys of states without looking whether they are there."""
    market(play)
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=2)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    end(buyer, 30)
    end(seller, 30, 60)
    for event, subject in (("SWAP_CANCELLATION", seller), ("SWAP_FINALIZATION", buyer)):
        told = rendered(event, subject, 1)
        for state in (value for name, value in told.items() if name.endswith("_state")):
            assert len(state["operator_signature"]) == 130
    for item in Transfer.objects.filter(swap=True):
        receipt = render_swaps.order_receipt(selectors.orders().get(pk=item.pk))
        assert receipt["matched_amounts"] is not None
