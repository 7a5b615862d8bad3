"""Telling the operator of alarms, at least once each, through every channel that is configured.

What is to be told is in the database (`heartbeat.models.Notice`), and noted as sent after it was taken: whoever
dies between has it told again. Alarms of one subject that are told at the same time share a message, so that a
thousand of them are no flood.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from django.db.models import F
from django.utils import timezone

from contractor.alarm_catalogue import End, subjects
from heartbeat.channels import Channel, DeliveryError, Message, channels
from heartbeat.models import Circuit, Notice
from ledger.sql import execute

logger = logging.getLogger(__name__)

AT_ONCE = 1000
"""Notices read in one run."""
RUN_SECONDS = 10.0
"""After so long a run begins no further message: other work waits."""
FAILURES = 3
"""Failures in a row that open a channel's circuit."""
OPEN_SECONDS, LONGEST_OPEN_SECONDS = 30, 600
"""How long nothing is tried then, twice as long each time again."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 2, 300
FORGOTTEN = timedelta(days=3)
"""What could not be told for so long is not told any more, nor what happened before a channel was set up."""


def run() -> int:
    """Tell what is to be told. Returns how many notices were sent."""
    deadline = time.monotonic() + RUN_SECONDS
    found = channels()
    _write_notices([channel.name for channel in found])
    return sum(_deliver(channel, deadline) for channel in found)


def _write_notices(names: Sequence[str]) -> None:
    """A notice for each channel about each alarm that stands or was raised of late, and one about its end,
    unless it was an incident."""
    now = timezone.now()
    execute(
        "INSERT INTO heartbeat_notice (alarm_id, channel, over, tries, due)"
        " SELECT a.id, c.name, false, 0, %s FROM contractor_alarm a CROSS JOIN unnest(%s::text[]) c (name)"
        " WHERE a.cleared IS NULL OR a.cleared > %s ORDER BY a.id ON CONFLICT DO NOTHING",
        [now, list(names), now - timedelta(hours=1)],
    )
    execute(
        "INSERT INTO heartbeat_notice (alarm_id, channel, over, tries, due)"
        " SELECT a.id, n.channel, true, 0, %s FROM contractor_alarm a JOIN heartbeat_notice n ON n.alarm_id = a.id"
        " WHERE a.cleared > %s AND NOT n.over AND NOT a.subject = ANY(%s) ORDER BY a.id ON CONFLICT DO NOTHING",
        [now, now - FORGOTTEN, subjects(End.NEVER)],
    )


def _deliver(channel: Channel, deadline: float) -> int:
    circuit, _ = Circuit.objects.get_or_create(channel=channel.name)
    sent = 0
    for message, rows in _due(channel.name):
        now = timezone.now()
        if time.monotonic() > deadline or (circuit.open_until is not None and circuit.open_until > now):
            break
        keys = [row.pk for row in rows]
        try:
            channel.send(message)
        except DeliveryError as error:
            _failed(circuit, keys, max(row.tries for row in rows), str(error))
            continue
        Notice.objects.filter(pk__in=keys).update(sent=timezone.now(), tries=F("tries") + 1)
        if circuit.failures:
            circuit.failures, circuit.open_until, circuit.note = 0, None, ""
            circuit.save()
            logger.info("alarms are told by %s again", channel.name)
        sent += len(keys)
    return sent


def _due(channel: str) -> list[tuple[Message, list[Notice]]]:
    """What is to be told now, oldest first, by subject. That an alarm is over is told after that it was raised."""
    now = timezone.now()
    waiting = Notice.objects.filter(channel=channel, sent__isnull=True, alarm__last__gt=now - FORGOTTEN)
    rows = list(
        waiting.filter(due__lte=now)
        .exclude(over=True, alarm__in=waiting.filter(over=False).values("alarm"))
        .select_related("alarm")
        .order_by("id")[:AT_ONCE]
    )
    first = {(row.alarm.subject, row.over): row.pk for row in reversed(rows)}
    rows.sort(key=lambda row: (first[row.alarm.subject, row.over], row.pk))
    found: list[tuple[Message, list[Notice]]] = []
    for (subject, over), group in groupby(rows, key=lambda row: (row.alarm.subject, row.over)):
        notices = list(group)
        found.append((Message(subject, over, [row.alarm for row in notices]), notices))
    return found


def _failed(circuit: Circuit, keys: Sequence[int], tries: int, reason: str) -> None:
    """Try again later, less and less often; after some failures in a row nothing is tried for a while."""
    now = timezone.now()
    seconds = min(FIRST_RETRY_SECONDS * 2 ** min(tries, 20), LONGEST_RETRY_SECONDS)
    Notice.objects.filter(pk__in=list(keys)).update(
        tries=F("tries") + 1, due=now + timedelta(seconds=seconds)
    )
    circuit.failures += 1
    circuit.note = reason[:200]
    if circuit.failures >= FAILURES:
        doublings = min(circuit.failures - FAILURES, 20)
        pause = min(OPEN_SECONDS * 2**doublings, LONGEST_OPEN_SECONDS)
        circuit.open_until = now + timedelta(seconds=pause)
    circuit.save()
    logger.warning(
        "an alarm could not be told by %s (%s), failure %s in a row",
        circuit.channel,
        reason,
        circuit.failures,
    )
