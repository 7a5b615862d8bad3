"""Connections that are lost before, in and after COMMIT: who sent a command once hears what became of it, and never
that it is known."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from threading import Timer
from typing import Any

import psycopg2
import pytest
from django.db import OperationalError, connection

from ledger import kept_plans, lost_commits
from ledger.engine import Command, Refusal
from ledger.group_commit import GroupCommitter
from ledger.lost_commits import CommitUnknownError
from ledger.models import Transfer
from ledger.orders import StoredOrder
from ledger.sql import execute
from ledger.store import StoredTransfer
from ledger.tests.checks import check_ledger
from ledger.tests.test_orders import LQD, place, trader
from ledger.tests.test_own_transaction import lose_connection, usable
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play

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
    alice, bob = funded(play, 2)
    lose(False)
    command = alice.transfer(bob.owner, 1)
    (outcome,) = submit(command)
    assert isinstance(outcome, OperationalError)
    assert not isinstance(outcome, CommitUnknownError)
    assert isinstance(submit(command)[0], StoredTransfer)
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
def test_an_order_that_is_ended(play: Play, lose: Lose, committed: bool) -> None:
    """It adds no row that tells."""
    play.add_token(LQD, "Liquid", "LQD")
    seller = trader(play, 100)
    place(seller, 100, 200)
    lose(committed)
    (outcome,) = submit(seller.freeze())
    assert isinstance(outcome, CommitUnknownError)
    assert Transfer.objects.get().cancelled == committed
    check_ledger()
