"""What a batch is decided by is read under its locks, in one round trip where the latest eon is known."""

from __future__ import annotations

from functools import partial
from threading import Event as Flag
from typing import Any

import pytest
from django.db import connection, transaction

from ledger import facts, store
from ledger.accounts_sql import lock_wallets
from ledger.sql import fetch
from ledger.store import StoredTransfer
from ledger.tests.checks import check_ledger
from ledger.tests.racing import Running, until, waiting_for_a_lock
from ledger.tests.test_store import funded
from operator_api.locks import Lock
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Of each batch the eons whose ledgers it shares when it has read what it is decided by."""
    seen: list[set[int]] = []
    situation = facts._situation

    def look(*given: Any) -> facts.Situation:
        rows = fetch(
            "SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            " AND classid = %s AND mode = 'ShareLock'",
            [int(Lock.EON)],
        )
        seen.append({eon for (eon,) in rows})
        return situation(*given)

    monkeypatch.setattr(facts, "_situation", look)
    return seen


def test_a_batch_takes_two_round_trips(play: Play) -> None:
    alice, bob = funded(play, 2)
    asked: list[str] = []

    def note(execute: Any, sql: str, *given: Any) -> Any:
        asked.append(sql)
        return execute(sql, *given)

    assert isinstance(play.pay(alice, bob, 1), StoredTransfer)  # the statements are prepared
    command = alice.transfer(bob.owner, 1)
    with connection.execute_wrapper(note):
        (outcome,) = store.execute([command])
    assert isinstance(outcome, StoredTransfer)
    assert len(asked) == 2
    check_ledger()


@pytest.mark.parametrize("supposed", [0, 1, 3, 2**40])
def test_an_eon_that_was_supposed_wrongly_is_read_again(
    play: Play, shared: list[set[int]], monkeypatch: pytest.MonkeyPatch, supposed: int
) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    alice.enter(2)
    monkeypatch.setattr(facts._Supposed, "eon", supposed)
    (outcome,) = store.execute([alice.transfer(bob.owner, 100)])
    assert isinstance(outcome, StoredTransfer)
    assert shared[-1] == {2}
    assert facts._Supposed.eon == 2
    check_ledger()


def test_an_eon_that_begins_after_the_ledgers_were_shared(
    play: Play, shared: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was supposed rightly, but its ledger could be closed until it is shared, too."""
    alice, bob = funded(play, 2)
    alice.enter(2)
    locked, go = Flag(), Flag()

    def hold() -> None:
        with transaction.atomic():
            lock_wallets([alice.wallet_id])
            locked.set()
            assert go.wait(30)

    holder = Running(hold)
    assert locked.wait(10)
    monkeypatch.setattr(facts._Supposed, "eon", 2)
    waiting = Running(partial(store.execute, [alice.transfer(bob.owner, 100)]))
    until(waiting_for_a_lock)
    play.enter_next_eon()
    go.set()
    assert holder.outcome() is None
    (outcome,) = waiting.outcome()
    assert isinstance(outcome, StoredTransfer)
    assert shared[-1] >= {2}
    check_ledger()


def test_nothing_is_decided_before_the_chain_was_read(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.status.delete()
    with pytest.raises(store.HubNotReadyError):
        store.execute([alice.transfer(bob.owner, 1)])
    assert fetch("SELECT count(*) FROM ledger_transfer") == [(0,)]
