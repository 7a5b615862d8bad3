"""Connections that are lost before, in and after COMMIT: who sent a command once hears what became of it, and never
that it is known."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from threading import Timer
from typing import Any

import psycopg2
import pytest
from django.db import OperationalError, connection, transaction

from ledger import facts, kept_plans, lost_commits, store
from ledger.engine import Command, Refusal
from ledger.group_commit import GroupCommitter
from ledger.lost_commits import CommitUnknownError
from ledger.models import Transfer
from ledger.orders import StoredOrder
from ledger.sql import execute
from ledger.store import StoredTransfer
from ledger.tests.checks import check_ledger
from ledger.tests.racing import Running
from ledger.tests.test_orders import LQD, fill, place, trader
from ledger.tests.test_own_transaction import lose_connection, usable
from ledger.tests.test_store import funded
from operator_api.error_codes import NO_DATABASE
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader

pytestmark = pytest.mark.django_db(transaction=True)

Lose = Callable[[bool], list[str]]


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Has the connection lost once at a COMMIT, before or after it is done; the list says when that was."""

    def at_commit(committed: bool) -> list[str]:
        send, lost = kept_plans._send, list[str]()

        def losing(cursor: Any, calls: Any, *after: str) -> None:
            if not after or lost:
                return send(cursor, calls, *after)
            lost.extend(after)
            if committed:
                send(cursor, calls, *after)
            lose_connection()
            return send(cursor, [], "SELECT 1") if committed else send(cursor, calls, *after)

        monkeypatch.setattr(kept_plans, "_send", losing)
        return lost

    return at_commit


@pytest.fixture
def slow_commit() -> Iterator[None]:
    """Each COMMIT of a transfer takes a second."""
    execute(
        "CREATE FUNCTION test_dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'"
    )
    execute(
        "CREATE CONSTRAINT TRIGGER test_dawdle AFTER INSERT ON ledger_transfer DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION test_dawdle()"
    )
    yield
    execute("DROP TRIGGER test_dawdle ON ledger_transfer")
    execute("DROP FUNCTION test_dawdle")


def submit(*commands: Command) -> Sequence[Any]:
    return GroupCommitter().submit_all(commands)


@pytest.mark.parametrize("committed", [False, True])
def test_a_batch(play: Play, lose: Lose, committed: bool) -> None:
    """What was not written is tried again; what was is answered as if nothing had been."""
    players = funded(play, 4)
    commands = [player.transfer(players[3].owner, 1) for player in players[:3]]
    lost = lose(committed)
    outcomes = submit(*commands)
    assert lost == ["COMMIT"]
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes), outcomes
    assert usable()
    written = Transfer.objects.order_by("id").values_list("id", "tx_id", "nonce")
    assert list(written) == [(one.id, one.tx_id, one.event.nonce) for one in outcomes]
    check_ledger()


def test_a_single_transfer_that_was_written(play: Play, lose: Lose) -> None:
    alice, bob = funded(play, 2)
    lose(True)
    (outcome,) = submit(alice.transfer(bob.owner, 1))
    assert outcome.tx_id == Transfer.objects.get().tx_id
    check_ledger()


def test_a_single_transfer_that_was_not_written(play: Play, lose: Lose) -> None:
    """It is decided again."""
    alice, bob = funded(play, 2)
    lose(False)
    (outcome,) = submit(alice.transfer(bob.owner, 1))
    assert isinstance(outcome, StoredTransfer)
    assert outcome.tx_id == Transfer.objects.get().tx_id
    check_ledger()


@pytest.mark.parametrize("times", [1, 2])
def test_a_single_transfer_before_its_commit(play: Play, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Known not to be written: it is decided again, once."""
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)
    read, lost = facts.lock_and_read, list[bool]()

    def losing(*given: Any) -> Any:
        if len(lost) < times:
            lost.append(True)
            lose_connection()
        return read(*given)

    monkeypatch.setattr("ledger.store.lock_and_read", losing)
    (outcome,) = submit(command)
    assert len(lost) == times
    if times > 1:
        assert isinstance(outcome, OperationalError)
        assert not isinstance(outcome, CommitUnknownError)
        (outcome,) = submit(command)
    assert isinstance(outcome, StoredTransfer)
    assert usable()
    check_ledger()


def test_in_a_transaction_of_the_caller_nothing_is_tried_again(play: Play) -> None:
    """What the caller did before is lost with the connection."""
    alice, bob = funded(play, 2)

    def act() -> None:
        with transaction.atomic():
            lose_connection()
            store.execute([alice.transfer(bob.owner, 1)])

    with pytest.raises(NO_DATABASE):
        act()
    assert not Transfer.objects.exists()
    check_ledger()


def test_one_of_which_all_is_refused(play: Play, lose: Lose) -> None:
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)
    submit(command)
    lost = lose(True)
    (outcome,) = submit(command)
    assert lost
    assert isinstance(outcome, Refusal)
    assert outcome.code == "unique"


def test_an_order_beside_a_refused_transfer(play: Play, lose: Lose) -> None:
    alice, bob = funded(play, 2)
    play.add_token(LQD, "Liquid", "LQD")
    order = trader(play, 100).place(100, 200, eons=2)
    lose(True)
    refused, placed = submit(alice.transfer(bob.owner, 10**9), order)
    assert isinstance(refused, Refusal)
    assert isinstance(placed, StoredOrder)
    assert set(Transfer.objects.values_list("tx_id", flat=True)) == {placed.order.tx_id}
    check_ledger()


def test_the_server_is_still_at_the_commit(play: Play, slow_commit: None) -> None:
    """The network alone was cut: what is being written is waited for."""
    alice, bob = funded(play, 2)
    with socket.socket(fileno=connection.connection.fileno()) as wire:
        timer = Timer(0.5, wire.shutdown, [socket.SHUT_RDWR])
        timer.start()
        (outcome,) = submit(alice.transfer(bob.owner, 1))
        timer.join()
        wire.detach()
    assert isinstance(outcome, StoredTransfer), outcome
    assert outcome.tx_id == Transfer.objects.get().tx_id
    check_ledger()


def test_postgresql_does_not_come_back(play: Play, lose: Lose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried again that may be written; all are told to ask again."""
    monkeypatch.setattr(lost_commits, "PATIENCE_SECONDS", 0.3)
    alice, bob, carol = funded(play, 3)
    commands = [alice.transfer(carol.owner, 1), bob.transfer(carol.owner, 1)]
    lost, connect = lose(True), psycopg2.connect

    def refusing(*given: Any, **named: Any) -> Any:
        if lost and connection.connection is None:
            raise psycopg2.OperationalError("connection refused")
        return connect(*given, **named)

    monkeypatch.setattr(psycopg2, "connect", refusing)
    outcomes = submit(*commands)
    monkeypatch.undo()
    assert [type(outcome) for outcome in outcomes] == 2 * [CommitUnknownError]
    assert [outcome.code for outcome in submit(*commands)] == 2 * ["unique"]
    check_ledger()


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("ending", ["freeze", "cancel", "finalize"])
def test_orders_that_are_ended(play: Play, lose: Lose, committed: bool, ending: str) -> None:
    play.add_token(LQD, "Liquid", "LQD")
    commands = endings(ending, trader(play, 100), trader(play, 200, sells=1))
    lose(committed)
    outcomes = submit(*commands)
    assert all(isinstance(outcome, StoredOrder) for outcome in outcomes), outcomes
    assert Transfer.objects.filter(cancelled=ending != "finalize").count() == 2
    assert Transfer.objects.filter(processed=ending != "freeze").count() == 2
    codes = {"freeze": "SWAP_ALREADY_FROZEN"}
    assert [outcome.code for outcome in submit(*commands)] == 2 * [codes.get(ending, "SWAP_ALREADY_CLOSED")]
    check_ledger()


def endings(ending: str, seller: Trader, buyer: Trader) -> list[Command]:
    """What ends the orders of both."""
    place(seller, 100, 200)
    place(buyer, 200, 100)
    if ending == "finalize":
        assert isinstance(submit(fill(buyer, seller, 200, 100))[0], StoredOrder)
        return [seller.finalize(200), buyer.finalize(100)]
    frozen: list[Command] = [seller.freeze(), buyer.freeze()]
    if ending == "freeze":
        return frozen
    assert all(isinstance(outcome, StoredOrder) for outcome in submit(*frozen))
    return [seller.cancel(0, 0), buyer.cancel(0, 0)]


def test_another_server_ends_one_of_those_that_were_not_written(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one alone is there: the batch is not."""
    play.add_token(LQD, "Liquid", "LQD")
    first, second = endings("freeze", trader(play, 100), trader(play, 200, sells=1))
    send, lost = kept_plans._send, list[str]()

    def losing(cursor: Any, calls: Any, *after: str) -> None:
        if after and not lost:
            lost.extend(after)
            lose_connection()
            running = Running(lambda: store.execute([first]))
            assert isinstance(running.outcome()[0], StoredOrder)
        send(cursor, calls, *after)

    monkeypatch.setattr(kept_plans, "_send", losing)
    refused, ended = submit(first, second)
    assert isinstance(refused, Refusal)
    assert refused.code == "SWAP_ALREADY_FROZEN"
    assert isinstance(ended, StoredOrder)
    check_ledger()
