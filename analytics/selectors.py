"""Counts of what happened, by eon and by day, computed in SQL and remembered a while (`spec/http-api.md` §3.9)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import Lock
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDay

from ledger import replica
from ledger.models import Challenge, Deposit, Transfer, Wallet, Withdrawal

logger = logging.getLogger(__name__)

Figures = dict[str, Any]

STALE: Final = 10
"""While newer figures are computed, those before are good for so many times `HUB_ANALYTICS_SECONDS`."""

_computing = {name: Lock() for name in ("wallets", "transactions", "challenges", "deposits", "withdrawals")}
"""Held by the thread of this process that computes: figures cost all of history."""
_newest: dict[str, tuple[float, Figures]] = {}
"""What this process computed last, and when it had."""


def wallets() -> Figures:
    """Registered wallets, by the eon of their registration."""
    return _remembered("wallets", lambda: _by_eon(Wallet.objects.all(), "registration_eon_number"))


def transactions() -> Figures:
    """Transfers and orders; an order counts once for each of its eons, as its rows do."""
    return _remembered("transactions", lambda: _by_eon_and_day(Transfer.objects.all()))


def challenges() -> Figures:
    """Challenges, and how many of them the operator has answered."""

    def compute() -> Figures:
        return {
            **_by_eon_and_day(Challenge.objects.all()),
            "rebuted": Challenge.objects.filter(rebuted=True).count(),
        }

    return _remembered("challenges", compute)


def deposits() -> Figures:
    """Deposits that were applied."""
    return _remembered("deposits", lambda: _by_eon_and_day(Deposit.objects.all()))


def withdrawals() -> Figures:
    """Withdrawal requests that were paid."""
    return _remembered("withdrawals", lambda: _by_eon_and_day(Withdrawal.objects.all()))


def _remembered(name: str, compute: Callable[[], Figures]) -> Figures:
    """The figures, at most `HUB_ANALYTICS_SECONDS` old, and as much older as the replica is behind. Without the
    cache they are computed each time. While one thread does, others take those before, and wait where these are
    stale."""
    found: Figures | None = None
    with _perhaps():
        found = cache.get(f"analytics/{name}")
    if found is not None:
        return found
    asked = monotonic()
    when, before = _newest.get(name, (-inf, {}))
    stale = asked - when > STALE * settings.HUB_ANALYTICS_SECONDS
    if not _computing[name].acquire(blocking=stale):
        return before
    try:
        return _computed(name, asked, compute)
    finally:
        _computing[name].release()


def _computed(name: str, asked: float, compute: Callable[[], Figures]) -> Figures:
    """The figures, if another thread has not just computed them while this one waited."""
    when, found = _newest.get(name, (-inf, {}))
    if when < asked:
        found = replica.read(compute)
        _newest[name] = monotonic(), found
        with _perhaps():
            cache.set(f"analytics/{name}", found, settings.HUB_ANALYTICS_SECONDS)
    return found


@contextmanager
def _perhaps() -> Iterator[None]:
    """Goes on if the cache does not answer."""
    try:
        yield
    except Exception as error:
        logger.warning("the cache does not answer: %s", error)


def _by_eon(rows: QuerySet[Any], eon: str = "eon_number") -> Figures:
    counts = rows.order_by().values(eon).annotate(count=Count("id")).order_by(eon).values_list(eon, "count")
    listed = [{"eon_number": number, "count": count} for number, count in counts]
    return {"total": sum(item["count"] for item in listed), "eon_number": listed}


def _by_eon_and_day(rows: QuerySet[Any]) -> Figures:
    days = (
        rows.order_by()
        .annotate(day=TruncDay("time"))
        .values("day")
        .annotate(count=Count("id"))
        .order_by("day")
        .values_list("day", "count")
    )
    listed = [{"day": f"{day:%Y-%m-%dT00:00:00Z}", "count": count} for day, count in days]
    return {**_by_eon(rows), "time": listed}
