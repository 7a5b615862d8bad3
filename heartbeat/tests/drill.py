"""Drills of alarms: a fault is injected, somebody is told; it is put right, and the alarm ends as it should."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import QuerySet
from django.utils import timezone

from contractor import alarms
from contractor.alarm_catalogue import CATALOGUE, End
from contractor.models import Alarm
from heartbeat import delivery, watch
from heartbeat.tests.consumer import Consumer


class Drill:
    """What the operator is told of the hub under test, which runs in this process."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    def told(self, title: str) -> str:
        """The one message that came, about this."""
        alarms.recorder.flush()
        delivery.run()
        texts = self.consumer.take()
        (text,) = [text for text in texts if title in text]
        return text

    def raised(self, subject: str) -> str:
        """The message that the alarm was raised."""
        return self.told(f"{CATALOGUE[subject].severity.value.upper()}: {subject}")

    def over(self, subject: str) -> None:
        """Somebody is told that it is over."""
        self.told(f"RESOLVED: {subject}")
        assert not self.standing(subject).exists()

    def quiet(self) -> bool:
        """Whether there is nothing to tell."""
        alarms.recorder.flush()
        delivery.run()
        return not self.consumer.take()

    def standing(self, subject: str) -> QuerySet[Alarm]:
        return Alarm.objects.filter(subject=subject, cleared__isnull=True)

    def lasts(self, subject: str, go_on: Callable[[], object]) -> None:
        """However long the fault lasts, the alarm stands while the hub goes on."""
        assert CATALOGUE[subject].end is End.SILENT
        self._later(subject, go_on)
        assert self.standing(subject).exists()
        assert not self._news(f": {subject}*")

    def ends(self, subject: str, go_on: Callable[[], object]) -> None:
        """The fault is gone: while the hub goes on nothing raises the alarm, so that it ends by silence."""
        assert CATALOGUE[subject].end is End.SILENT
        self._later(subject, go_on)
        self.over(subject)

    def passes(self, subject: str, go_on: Callable[[], object]) -> None:
        """It was an incident: nobody raises it again, it is listed for a day, and nobody is told of an end."""
        assert CATALOGUE[subject].end is End.NEVER
        self._later(subject, go_on)
        assert self.standing(subject).exists()
        self.standing(subject).update(last=timezone.now() - 2 * watch.INCIDENT)
        watch.end_alarms()
        assert not self.standing(subject).exists()
        assert not self._news(f"RESOLVED: {subject}")

    def _news(self, title: str) -> list[str]:
        alarms.recorder.flush()
        delivery.run()
        return [text for text in self.consumer.take() if title in text]

    def _later(self, subject: str, go_on: Callable[[], object]) -> None:
        """The hub goes on, some time after the alarm was raised last."""
        alarms.recorder.flush()
        assert self.standing(subject).exists()
        alarms.forget()
        self.standing(subject).update(last=timezone.now() - 2 * watch.SILENCE)
        go_on()
        alarms.recorder.flush()
        watch.end_alarms()
