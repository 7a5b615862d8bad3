"""The figures, compared with what was played."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event, Timer
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from analytics import selectors
from ledger import replica
from ledger.models import Challenge, Transfer, WithdrawalRequest
from ledger.models import Withdrawal as Paid
from ledger.tests.http import get
from ledger.tests.racing import Running
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db


LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
NOBODY = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
    }
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with override_settings(CACHES=LOCAL):
        cache.clear()
        yield
        cache.clear()


@pytest.fixture
def play() -> Play:
    return Play()


def today() -> str:
    return f"{timezone.now():%Y-%m-%dT00:00:00Z}"


def test_nothing_happened() -> None:
    empty = {"total": 0, "eon_number": [], "time": []}
    assert get("/analytics/wallets") == (200, {"total": 0, "eon_number": []})
    assert get("/analytics/transactions") == (200, empty)
    assert get("/analytics/deposits") == (200, empty)
    assert get("/analytics/withdrawals") == (200, empty)
    assert get("/analytics/challenges") == (200, {**empty, "rebuted": 0})


def test_counts_by_eon_and_day(play: Play) -> None:
    alice, bob = play.register(2)
    for amount in (5, 6, 7):
        play.deposit(alice, amount)
    play.pay(alice, bob, 3)
    play.next_eon()
    (carol,) = play.register(1)
    for player in (alice, bob):
        player.enter(play.eon)
    play.pay(alice, carol, 2)
    play.pay(bob, carol, 1)
    Transfer.objects.filter(eon_number=1).update(time=datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC))
    by_eon = [{"eon_number": 1, "count": 1}, {"eon_number": 2, "count": 2}]
    by_day = [{"day": "2020-02-29T00:00:00Z", "count": 1}, {"day": today(), "count": 2}]
    assert get("/analytics/transactions/") == (200, {"total": 3, "eon_number": by_eon, "time": by_day})
    status, body = get("/analytics/deposits")
    assert (status, body["total"], body["eon_number"]) == (200, 3, [{"eon_number": 1, "count": 3}])
    assert sum(item["count"] for item in body["time"]) == 3
    # the operator's own wallet is one of those of eon 1
    counts = [{"eon_number": 1, "count": 3}, {"eon_number": 2, "count": 1}]
    assert get("/analytics/wallets") == (200, {"total": 4, "eon_number": counts})


def test_challenges_and_payments(play: Play) -> None:
    (alice,) = play.register(1)
    play.deposit(alice, 10)
    request: WithdrawalRequest = play.request_withdrawal(alice, 4)
    Paid.objects.create(
        txid=b"p" * 32,
        log_index=0,
        block=9,
        eon_number=1,
        time=timezone.now(),
        amount=4,
        request=request,
        wallet_id=alice.wallet_id,
    )
    for number in range(3):
        Challenge.objects.create(
            txid=bytes([number]) * 32,
            log_index=0,
            block=9,
            deadline=12,
            time=timezone.now(),
            eon_number=1,
            token=play.contract,
            amount=0,
            sender=alice.address,
            recipient=alice.address,
            rebuted=number > 0,
        )
    assert get("/analytics/withdrawals")[1]["total"] == 1
    body = get("/analytics/challenges")[1]
    assert (body["total"], body["rebuted"], body["eon_number"]) == (3, 2, [{"eon_number": 1, "count": 3}])


def test_figures_are_remembered_for_a_while(play: Play) -> None:
    (alice,) = play.register(1)
    play.deposit(alice, 5)
    assert get("/analytics/deposits")[1]["total"] == 1
    play.deposit(alice, 5)
    assert get("/analytics/deposits")[1]["total"] == 1
    cache.clear()
    assert get("/analytics/deposits")[1]["total"] == 2


class Slow:
    """A computation that is held up, and gives how many there were."""

    def __init__(self) -> None:
        self.begun = Event()
        self.go_on = Event()
        self.count = 0

    def __call__(self) -> selectors.Figures:
        self.count += 1
        self.begun.set()
        assert self.go_on.wait(20)
        return {"total": self.count}

    def ask(self) -> Running:
        """Somebody else who wants the figures."""
        return Running(lambda: selectors._remembered("wallets", self))

    def answer(self) -> selectors.Figures:
        return selectors._remembered("wallets", self)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(selectors, "_newest", {})
    monkeypatch.setattr(replica, "read", lambda compute: compute())
    return Slow()


@pytest.mark.parametrize("caches", [LOCAL, NOBODY])
def test_one_computes_for_all_who_wait(slow: Slow, settings: Any, caches: Any) -> None:
    settings.CACHES = caches
    others = [slow.ask() for _ in range(5)]
    assert slow.begun.wait(20)
    time.sleep(0.2)
    slow.go_on.set()
    assert [one.outcome() for one in others] == [{"total": 1}] * 5
    assert slow.count == 1


@pytest.mark.parametrize("stale", [False, True])
def test_while_one_computes_others_take_what_was_before(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, stale: bool
) -> None:
    slow.go_on.set()
    assert slow.answer() == {"total": 1}
    cache.clear()
    for event in (slow.go_on, slow.begun):
        event.clear()
    if stale:
        monkeypatch.setattr(selectors, "STALE", 0)
    one = slow.ask()
    assert slow.begun.wait(20)
    if stale:
        Timer(0.2, slow.go_on.set).start()
    assert slow.answer() == {"total": 2 if stale else 1}
    slow.go_on.set()
    assert one.outcome() == {"total": 2}


def test_who_fails_to_compute_leaves_it_to_the_next(slow: Slow) -> None:
    slow.go_on.set()

    def fail() -> selectors.Figures:
        raise OperationalError("the database is away")

    with pytest.raises(OperationalError):
        selectors._remembered("wallets", fail)
    assert slow.answer() == {"total": 1}


@override_settings(CACHES=NOBODY)
def test_without_a_cache_they_are_computed(play: Play) -> None:
    assert get("/analytics/wallets")[0] == 200
