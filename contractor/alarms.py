"""Alarms: what the operator must look at.

Who raises one pays for a log line and nothing else. A thread of the process writes it to the table that all
processes share (`contractor.models.Alarm`), in a connection of its own: so it stays when the caller's
transaction is rolled back, and waits while PostgreSQL does not answer. `heartbeat.delivery` takes it to people.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Condition, Thread

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from contractor.alarm_catalogue import Severity, kind_of
from ledger.sql import Row, fetch

logger = logging.getLogger(__name__)

QUIET_SECONDS = 600.0
"""The same alarm (subject and text, or key) is logged once in this time by a process: a beat can't flood anyone."""
TELL_SECONDS = 30.0
"""The table hears of the same alarm once in this time from a process."""
REMEMBERED = 1000
WAITING = 1000
"""Reports kept while PostgreSQL does not answer; the oldest are dropped, which are in the log."""
RETRY_SECONDS = 5.0
EXIT_SECONDS = 3.0
"""How long the end of a process waits for its last reports."""
KEY_LENGTH, TEXT_LENGTH = 500, 2000

Name = tuple[str, str]
"""Subject and key."""

_logged: dict[Name, float] = {}
_told: dict[Name, tuple[bool, float]] = {}


@dataclass(frozen=True, slots=True)
class Report:
    """Something about an alarm that the table does not know yet: that it was raised, or that it is over."""

    subject: str
    key: str
    text: str
    raised: bool
    time: datetime


def raise_alarm(subject: str, text: str, key: str | None = None) -> bool:
    """Tell the operator; False if this process told the same a short while ago. `subject` is one of
    `contractor.alarm_catalogue`, `text` is the sentence with the numbers. Where those change all the time,
    `key` says what the alarm is about instead of the text."""
    name = subject, text if key is None else key
    _report(name, text, raised=True)
    if not _remember(_logged, name):
        return False
    logger.critical("ALARM %s: %s", subject, text)
    return True


def clear_alarm(subject: str, key: str) -> None:
    """Say that an alarm is over, if it stands. Cheap enough for every beat."""
    _logged.pop((subject, key), None)
    _report((subject, key), "", raised=False)


def settle(subject: str, found: Mapping[str, str], calm_seconds: float) -> int:
    """Make the table say what a check found, at once and in the caller's connection: `found` is what is wrong, text
    by key. Others of the subject end after they have not been found for `calm_seconds`. Returns how many alarms
    were raised first or ended now."""
    now = timezone.now()
    reports = [Report(subject, key, text, True, now) for key, text in found.items()]
    with transaction.atomic():
        fresh = _write_raised(reports)
        ended = fetch(
            "UPDATE contractor_alarm SET cleared = %s WHERE subject = %s AND cleared IS NULL AND NOT key = ANY(%s)"
            " AND last <= %s RETURNING key",
            [now, subject, [_key(key) for key in found], now - timedelta(seconds=calm_seconds)],
        )
    for key in fresh:
        logger.critical("ALARM %s: %s", subject, found.get(key, key))
    for (key,) in ended:
        logger.warning("alarm over: %s %s", subject, key)
    return len(fresh) + len(ended)


def forget() -> None:
    """Let every alarm be raised again, for tests."""
    _logged.clear()
    _told.clear()
    recorder.drop()


class Recorder:
    """Takes reports to the table in a thread that lives while there are some. Without `automatic` they wait until
    `flush` is called."""

    def __init__(self) -> None:
        self.automatic = True
        self._waiting: deque[Report] = deque(maxlen=WAITING)
        self._changed = Condition()
        self._thread: Thread | None = None

    def put(self, report: Report) -> None:
        with self._changed:
            self._waiting.append(report)
            if self.automatic and (self._thread is None or not self._thread.is_alive()):
                self._thread = Thread(target=self._run, name="alarms", daemon=True)
                self._thread.start()

    def flush(self) -> int:
        """Write what waits, in the caller's connection. How many reports that were. Raises django.db.Error, and
        keeps them then."""
        with self._changed:
            reports = list(self._waiting)
        if reports:
            _write(reports)
        with self._changed:
            for report in reports:
                if self._waiting and self._waiting[0] is report:  # unless pushed out meanwhile
                    self._waiting.popleft()
        return len(reports)

    def drop(self) -> None:
        with self._changed:
            self._waiting.clear()

    def finish(self, seconds: float = EXIT_SECONDS) -> None:
        """Wait until everything is written, but not longer than `seconds`."""
        with self._changed:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            try:
                self.flush()
                with self._changed:
                    if not self._waiting:
                        self._thread = None
                        return
            except (DatabaseError, InterfaceError) as error:
                logger.warning("alarms wait for the database: %s", str(error).strip())
                time.sleep(RETRY_SECONDS)
            finally:
                connection.close()


recorder = Recorder()
atexit.register(recorder.finish)


def _report(name: Name, text: str, raised: bool) -> None:
    now = time.monotonic()
    before = _told.get(name)
    if before is not None and before[0] == raised and now - before[1] < TELL_SECONDS:
        return
    if len(_told) >= REMEMBERED:
        _told.clear()
    _told[name] = raised, now
    recorder.put(Report(*name, text, raised, timezone.now()))


def _remember(memory: dict[Name, float], name: Name) -> bool:
    """Note the time; False if that was done a short while ago."""
    now = time.monotonic()
    last = memory.get(name)
    if last is not None and now - last < QUIET_SECONDS:
        return False
    if len(memory) >= REMEMBERED:
        memory.clear()
    memory[name] = now
    return True


def _key(key: str) -> str:
    return key[:KEY_LENGTH].replace("\0", "")


def _write(reports: Sequence[Report]) -> None:
    """One after the other, as they came: an alarm may end and begin again in one batch."""
    with transaction.atomic():
        for report in reports:
            if report.raised:
                _write_raised([report])
            else:
                fetch(
                    "UPDATE contractor_alarm SET cleared = %s WHERE subject = %s AND key = %s AND cleared IS NULL"
                    " RETURNING id",
                    [report.time, report.subject, _key(report.key)],
                )


def _write_raised(reports: Sequence[Report]) -> list[str]:
    """Begin the alarms, or note that they were raised once more. The keys of those that did not stand."""
    fresh: list[str] = []
    for report in reports:
        severity: Severity = kind_of(report.subject).severity
        key, text = _key(report.key), report.text[:TEXT_LENGTH].replace("\0", "")
        row: Row = (report.subject, key, severity.value, text, report.time, report.time)
        rows = fetch(
            "INSERT INTO contractor_alarm (subject, key, severity, text, first, last, count)"
            " VALUES (%s, %s, %s, %s, %s, %s, 1)"
            " ON CONFLICT (subject, key) WHERE cleared IS NULL DO UPDATE SET text = EXCLUDED.text,"
            " last = greatest(contractor_alarm.last, EXCLUDED.last), count = contractor_alarm.count + 1"
            " RETURNING (xmax = 0)",
            row,
        )
        if rows[0][0]:
            fresh.append(report.key)
    return fresh
