"""Events go from the outbox to those who subscribed: each of them, in order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg2
import pytest
from django.db import connection, transaction

from auditor import render
from ledger.models import Event, Outbox, Transfer, Wallet, Withdrawal
from ledger.store import notify_outbox
from ledger.transfer_rows import confirmed
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from synchronizer import relay
from synchronizer.database import in_database
from synchronizer.models import SetAside
from synchronizer.tests.conftest import WAIT, Connect, drop_outbox, tell, until

pytestmark = pytest.mark.django_db(transaction=True)


def add(event: str, object_id: int) -> None:
    with transaction.atomic():
        Outbox.objects.create(event=event, object_id=object_id)
        notify_outbox()


async def players(play: Play, count: int) -> list[SimulatedWallet]:
    """Wallets that own 1000 each, with nothing in the outbox."""
    made = await in_database(play.register, count)
    for player in made:
        await in_database(play.deposit, player, 1000)
    await drop_outbox()
    return made


def receipt(row_id: int) -> Any:
    return render.receipt_told(confirmed([row_id])[row_id])


async def test_a_transfer_is_told_to_the_recipient_then_to_the_sender(play: Play, connect: Connect) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(alice, bob)
    stored = await in_database(play.pay, alice, bob, 7)
    assert await tell() == 1
    expected = await in_database(receipt, stored.id)  # type: ignore[union-attr]  # it was accepted
    for player in (bob, alice):
        notification = await client.read()
        side = next(
            ref for ref in ("wallet", "recipient") if expected[ref]["trail_identifier"] == player.trail
        )
        address, token = expected[side]["address"], expected[side]["token"]
        assert notification == {
            "type": "notification",
            "position": notification["position"],
            "previous": None,
            "data": {
                "type": f"wallet/{token[2:]}/{address[2:]}",
                "data": {"type": "TRANSFER_CONFIRMATION", "data": expected},
            },
        }
    assert await in_database(Outbox.objects.count) == 0
    assert await client.is_silent()


async def test_registrations_are_told_in_order(play: Play, connect: Connect) -> None:
    made = await in_database(play.register, 20)
    client = await connect()
    await client.subscribe(*reversed(made))
    assert await tell() == 22  # with the operator's own and the first checkpoint
    for player in made:
        event, admission = await client.event()
        assert (event, admission["trail_identifier"]) == ("REGISTERED_WALLET", player.trail)
        assert len(admission["operator_authorization"]) == 130


async def test_effects_of_the_chain(play: Play, connect: Connect) -> None:
    (alice,) = await players(play, 1)
    deposit = await in_database(play.deposit, alice, 5)
    request = await in_database(play.request_withdrawal, alice, 3)
    withdrawal = await in_database(
        lambda: Withdrawal.objects.create(
            wallet_id=alice.wallet_id,
            request=request,
            txid=b"\x07" * 32,
            log_index=0,
            block=9,
            eon_number=1,
            amount=3,
            time=request.time,
        )
    )
    client = await connect()
    await client.subscribe(alice)
    await in_database(add, Event.CONFIRMED_DEPOSIT, deposit.pk)
    await in_database(add, Event.REQUESTED_WITHDRAWAL, request.pk)
    await in_database(add, Event.CONFIRMED_WITHDRAWAL, withdrawal.pk)
    assert await tell() == 3
    assert await client.event() == ("CONFIRMED_DEPOSIT", render.deposit(deposit))
    assert await client.event() == ("REQUESTED_WITHDRAWAL", render.withdrawal_request(request))
    assert await client.event() == ("CONFIRMED_WITHDRAWAL", render.withdrawal(withdrawal))


async def test_a_checkpoint_tells_every_subscriber_its_state(play: Play, connect: Connect) -> None:
    alice, bob, carol = await players(play, 3)
    await in_database(play.pay, alice, bob, 100)
    await in_database(play.next_eon)
    await in_database(play.pay, alice, bob, 50)  # of the new eon, but told after the checkpoint
    late = (await in_database(play.register, 1))[0]
    first, second = await connect(), await connect()
    await first.subscribe(alice, late)
    await second.subscribe(bob)
    assert await tell() == 4
    for client, player in ((first, alice), (second, bob)):
        events = [await client.event() for _ in range(3 if client is second else 4)]
        events = [event for event in events if event[0] != "REGISTERED_WALLET"]
        states = [model for name, model in events if name == "CHECKPOINT_CREATED"]
        assert [name for name, _ in events if name != "CHECKPOINT_CREATED"] == ["TRANSFER_CONFIRMATION"] * 2
        own = next(s for s in states if s["registration"]["trail_identifier"] == player.trail)
        assert own["merkle_proof"]["eon_number"] == 2
        assert [row["amount"] for row in own["transactions"]] == ["50"]
    assert carol.trail  # subscribed by nobody, rendered for nobody


async def test_what_follows_a_checkpoint_stays_behind_it(play: Play, connect: Connect) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    for round_ in range(3):
        await in_database(play.next_eon)
        for amount in range(1, 6):
            await in_database(play.pay, alice, bob, 10 * round_ + amount)
        await tell()
    for round_ in range(3):
        event, state = await client.event()
        assert event == "CHECKPOINT_CREATED"
        assert state["merkle_proof"]["eon_number"] == round_ + 2
        for amount in range(1, 6):
            event, model = await client.event()
            assert (event, model["amount"]) == ("TRANSFER_CONFIRMATION", str(10 * round_ + amount))


async def test_rows_that_become_visible_late_are_told(play: Play, connect: Connect) -> None:
    alice, bob = await players(play, 2)
    await in_database(play.pay, alice, bob, 1)
    await in_database(play.pay, alice, bob, 2)
    ids = await in_database(lambda: list(Transfer.objects.values_list("pk", flat=True)))
    await drop_outbox()
    client = await connect()
    await client.subscribe(bob)
    parameters = await in_database(connection.get_connection_params)
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    slow = psycopg2.connect(**parameters)
    insert = (
        "INSERT INTO ledger_outbox (event, object_id, created) VALUES ('TRANSFER_CONFIRMATION', %s, now())"
    )
    slow.cursor().execute(insert, [ids[0]])  # takes its id now, but commits later
    await in_database(add, Event.TRANSFER_CONFIRMATION, ids[1])
    assert await tell() == 1
    slow.commit()
    slow.close()
    assert await tell() == 1
    assert [(await client.event())[1]["id"] for _ in range(2)] == [ids[1], ids[0]]


async def test_an_event_that_cannot_be_told_holds_up_nothing(
    play: Play, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    await in_database(add, Event.CONFIRMED_DEPOSIT, 10**9)
    await in_database(add, "NOBODY_KNOWS", 1)
    await in_database(play.pay, alice, bob, 1)
    assert await tell() == 3
    assert (await client.event())[0] == "TRANSFER_CONFIRMATION"
    kept = await in_database(lambda: list(SetAside.objects.values_list("event", "object_id")))
    assert kept == [("CONFIRMED_DEPOSIT", 10**9), ("NOBODY_KNOWS", 1)]
    assert caplog.text.count("ALARM") == 2
    assert await tell() == 0


async def test_the_relay_wakes_up_when_something_is_committed(play: Play, connect: Connect) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    running = asyncio.ensure_future(tell(4))
    await asyncio.sleep(0.7)
    delays = []
    for amount in range(1, 9):
        await in_database(play.pay, alice, bob, amount)
        start = time.monotonic()
        assert (await client.event())[1]["amount"] == str(amount)
        delays.append(time.monotonic() - start)
        await asyncio.sleep(0.1)
    assert await running == 8
    assert sorted(delays)[4] < relay.BEAT / 4  # it did not wait for its next beat


async def test_relays_running_together_tell_everything_once(play: Play, connect: Connect) -> None:
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    relays = [asyncio.ensure_future(tell(2)) for _ in range(2)]
    for amount in range(1, 31):
        await in_database(play.pay, alice, bob, amount)
    assert sum(await asyncio.gather(*relays)) == 30
    assert [(await client.event())[1]["amount"] for _ in range(30)] == [str(n) for n in range(1, 31)]
    assert await client.is_silent()


async def test_more_than_a_batch(play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 3)
    alice, bob = await players(play, 2)
    client = await connect()
    await client.subscribe(bob)
    for amount in range(1, 11):
        await in_database(play.pay, alice, bob, amount)
    started = time.monotonic()
    assert await tell(1.0) == 10
    assert time.monotonic() - started < WAIT / 4
    assert [(await client.event())[1]["amount"] for _ in range(10)] == [str(n) for n in range(1, 11)]


async def test_a_batch_takes_few_queries(play: Play, connect: Connect) -> None:
    from django.test.utils import CaptureQueriesContext

    alice, bob = await players(play, 2)
    for amount in range(1, 41):
        await in_database(play.pay, alice, bob, amount)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert relay.run(0) == 40
        return len(queries)

    assert await in_database(count) <= 20


def test_it_refuses_to_run_inside_a_transaction(play: Play) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        relay.run(0)


async def test_nobody_is_left_out_when_wallets_are_many(play: Play, connect: Connect) -> None:
    made = await in_database(play.register, 130)
    await drop_outbox()
    clients = [await connect() for _ in range(3)]
    for number, client in enumerate(clients):
        await client.subscribe(*made[number * 40 : number * 40 + 50])
    await in_database(play.next_eon)
    await tell()
    for number, client in enumerate(clients):
        trails = [(await client.event())[1]["merkle_proof"]["trail"] for _ in range(50)]
        assert sorted(trails) == [player.trail for player in made[number * 40 : number * 40 + 50]]
    await until(lambda: Wallet.objects.count() == 131)
