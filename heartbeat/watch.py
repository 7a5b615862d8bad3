"""Watching the hub: each check in its turn, and the end of alarms that nothing raises any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from contractor.alarm_catalogue import End, subjects
from contractor.alarms import settle
from contractor.models import Alarm
from heartbeat import checks, pool
from heartbeat.checks import Found
from heartbeat.models import Heartbeat, Notice, Progress
from ledger.models import ChainStatus
from ledger.sql import fetch

OFTEN, SELDOM = 0.0, 60.0
"""Seconds between two runs of a check: those that read a few rows run with each beat, the others add up whole
tables."""
SHARE = 50
"""A check takes at most one part in so many of the time."""
SETTLING = 20.0
"""Seconds in which a process that has started checks no whole tables: the processors are busy with the start of the
others, and with reading the order books."""
SILENCE = timedelta(minutes=5)
"""An alarm that ends by silence has not been raised for so long."""
INCIDENT = timedelta(days=1)
"""So long an incident is listed."""
KEPT = timedelta(days=90)
"""So long alarms are kept that are over."""
WATCH, STAND_IN = "watch", "stand-in"
BOOKS, POOL = "books differ", "pool short"

_next: dict[str, float] = {}
"""When the turn of a check comes: at once, where it is not here."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the checks of one run look at; `awake` is since when the hub is watched without a gap."""

    status: ChainStatus | None
    now: datetime
    awake: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """`find` says what is wrong, for the alarm `subject`; a run every `seconds`."""

    subject: str
    seconds: float
    find: Callable[[Moment], Found]


CHECKS = (
    Check("halted", OFTEN, lambda moment: checks.halted(moment.status)),
    Check("hub held", OFTEN, lambda _: checks.hub_held()),
    Check(
        "no block applied",
        OFTEN,
        lambda moment: checks.no_block_applied(moment.status, moment.now, moment.awake),
    ),
    Check("checkpoint late", OFTEN, lambda moment: checks.checkpoint_late(moment.status)),
    Check("queue lag", OFTEN, lambda moment: checks.queue_lag(moment.status, moment.now, moment.awake)),
    Check("replica not read", OFTEN, lambda _: checks.replica_not_read()),
    Check("fills differ", SELDOM, lambda moment: checks.fills_differ(moment.status)),
    Check("states differ", SELDOM, lambda moment: checks.states_differ(moment.status)),
    Check("ledger unbalanced", SELDOM, lambda moment: pool.ledger_unbalanced(moment.status)),
)


def settle_in() -> None:
    """Let the checks that read whole tables wait, in a process that has just started."""
    seldom = [BOOKS, POOL, *(check.subject for check in CHECKS if check.seconds == SELDOM)]
    _next.update(dict.fromkeys(seldom, time.monotonic() + SETTLING))


settle_in()


def parts(since: datetime | None = None) -> dict[str, Callable[[], int]]:
    """The checks, each when its turn has come, and the ends, for one beat. Each part tells how many alarms it
    changed. `since` is when a process that stands in began to look after the hub (`heartbeat.lookout`)."""
    began = timezone.now()
    found: dict[str, Callable[[], int]] = {
        f"check for {check.subject!r}": partial(_run, check, began, since or began) for check in CHECKS
    }
    return found | {"end alarms": end_alarms}


def forget() -> None:
    """Run every check at the next beat, for tests."""
    _next.clear()


def take_turn(subject: str, seconds: float, work: Callable[[], int]) -> int:
    """Do the work if its turn has come, and note when the next one is."""
    began = time.monotonic()
    if began < _next.get(subject, 0.0):
        return 0
    try:
        return work()
    finally:
        ended = time.monotonic()
        _next[subject] = ended + max(seconds, SHARE * (ended - began))


def _run(check: Check, began: datetime, since: datetime) -> int:
    def work() -> int:
        moment = Moment(checks.chain_status(), timezone.now(), _awake_since(began, since))
        return settle(check.subject, check.find(moment), settings.HUB_ALARM_CALM_SECONDS)

    return take_turn(check.subject, check.seconds, work)


def compare_books() -> int:
    """Compare the books of the exchange in this process. Alarms changed."""
    from heartbeat.books import books_differ
    from swapper.exchange import exchange

    return _compare(BOOKS, lambda: books_differ(exchange))


def compare_pool() -> int:
    """Compare the contract's balances with the ledger's sums. Alarms changed. Raises NodeError. Not one of
    `CHECKS`: a node that does not answer must not hold up the others."""
    from heartbeat.pool import pool_short

    return _compare(POOL, lambda: pool_short(checks.chain_status()))


def _compare(subject: str, find: Callable[[], Found | None]) -> int:
    def work() -> int:
        found = find()
        return 0 if found is None else settle(subject, found, settings.HUB_ALARM_CALM_SECONDS)

    return take_turn(subject, SELDOM, work)


def note_watched() -> None:
    """Note that somebody stood in for the watch."""
    now = timezone.now()
    Progress.objects.update_or_create(name=STAND_IN, defaults={"value": 0, "since": now})


def _awake_since(beat: datetime, begun: datetime) -> datetime:
    """Since when the hub is watched. When it was not before the run that began at `beat`, as while everything was
    switched off, nothing is late yet: then it is since `begun`. How long that run takes does not matter."""
    ended = list(Heartbeat.objects.filter(name=WATCH).values_list("ended", flat=True))
    ended += Progress.objects.filter(name=STAND_IN).values_list("since", flat=True)
    gap = not ended or beat - max(ended) > timedelta(seconds=settings.HUB_QUEUE_LAG_SECONDS)
    row, _ = Progress.objects.get_or_create(name=WATCH, defaults={"value": 0, "since": begun})
    if gap and row.since < begun:
        row.since, row.value = begun, row.value + 1
        row.save()
    return row.since


def end_alarms() -> int:
    """End the alarms that end by silence, unless a part of the hub stands still, whose silence means nothing, and
    incidents after a day. Alarms ended."""
    now = timezone.now()
    ended = 0
    if not Alarm.objects.filter(subject="queue lag", cleared__isnull=True).exists():
        ended += _end(subjects(End.SILENT), now, SILENCE)
    ended += _end(subjects(End.NEVER), now, INCIDENT)
    known = subjects(End.SILENT) + subjects(End.NEVER) + subjects(End.CHECKED)
    strange = Alarm.objects.exclude(subject__in=known).filter(cleared__isnull=True, last__lt=now - INCIDENT)
    ended += strange.update(cleared=now)
    Notice.objects.filter(alarm__cleared__lt=now - KEPT).delete()
    Alarm.objects.filter(cleared__lt=now - KEPT).delete()
    return ended


def _end(names: list[str], now: datetime, after: timedelta) -> int:
    rows = fetch(
        "UPDATE contractor_alarm SET cleared = %s WHERE cleared IS NULL AND subject = ANY(%s) AND last < %s"
        " RETURNING id",
        [now, names, now - after],
    )
    return len(rows)
