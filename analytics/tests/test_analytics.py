"""The figures, compared with what was played."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.core.cache import cache
from django.test import override_settings
from django.utils import timezone

from ledger.models import Challenge, Transfer, WithdrawalRequest
from ledger.models import Withdrawal as Paid
from ledger.tests.http import get
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


@override_settings(CACHES=NOBODY)
def test_without_a_cache_they_are_computed(play: Play) -> None:
    assert get("/analytics/wallets")[0] == 200
