"""How many transactions there are: those of closed eons are counted once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from auditor.totals import Total
from ledger.models import RootCommitment, Transfer
from ledger.sql import execute
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play
from swapper.tests.market import market, place, trader

pytestmark = pytest.mark.django_db

Pay = Callable[[], object]


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def pay(play: Play) -> Pay:
    """Pays once more, after two eons with payments and an order that lasts longer."""
    market(play)
    alice, bob = funded(play, 2)
    place(trader(play, 100), 100, 200, eons=5)
    for _ in range(2):
        play.pay(alice, bob, 1)
        play.next_eon()
    return lambda: play.pay(alice, bob, 1)


def forget_closed(play: Play) -> None:
    """Have closed eons without rows, which nothing that the hub does can."""
    execute("SET LOCAL session_replication_role = replica")
    execute("DELETE FROM ledger_transfer WHERE eon_number < %s", [play.eon])
    execute("SET LOCAL session_replication_role = DEFAULT")


def test_the_total_is_that_of_the_rows(play: Play, pay: Pay) -> None:
    total = Total()
    for _ in range(2):
        for _ in range(3):
            pay()
            assert total.count() == Transfer.objects.count()
        play.next_eon()
        assert total.count() == Transfer.objects.count()
    assert total.count() == 5 + 2 + 6


def test_before_the_first_checkpoint(play: Play) -> None:
    total = Total()
    assert total.count() == 0
    alice, bob = funded(play, 2)
    play.pay(alice, bob, 1)
    assert total.count() == 1


def test_closed_eons_are_counted_once(play: Play, pay: Pay) -> None:
    total = Total()
    there = total.count()
    forget_closed(play)
    assert total.count() == there
    pay()
    play.next_eon()
    assert total.count() == there + 1
    assert Total().count() == Transfer.objects.count() < there


def test_another_database_is_counted_anew(play: Play, pay: Pay) -> None:
    """The closed eons are other ones, or are not closed there yet."""
    total = Total()
    total.count()
    forget_closed(play)
    RootCommitment.objects.filter(eon_number=play.eon).update(merkle_root=b"\7" * 32)
    assert total.count() == Transfer.objects.count()
