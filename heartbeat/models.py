"""What the periodic tasks remember between runs, on all hosts together."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from contractor.models import Alarm


class Heartbeat(models.Model):
    """A periodic task: when a run of it last ended, on whatever host, and what its runs have taken. `seconds`
    is the sum over all runs, `slowest` the longest of them."""

    name = models.CharField(max_length=64, unique=True)
    ended = models.DateTimeField(default=timezone.now)
    runs = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0, help_text="Parts of runs that went wrong.")
    seconds = models.FloatField(default=0.0)
    last_seconds = models.FloatField(default=0.0)
    slowest = models.FloatField(default=0.0)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Progress(models.Model):
    """A number that ought to change, and since when it has not."""

    name = models.CharField(max_length=64, unique=True)
    value = models.BigIntegerField()
    since = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class Notice(models.Model):
    """That an alarm was raised, or is over, as told through one channel. Until `sent` it is tried again; a process
    that dies between the sending and the note has it sent twice, never not at all."""

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="notices")
    channel = models.CharField(max_length=16)
    over = models.BooleanField(help_text="Tells that the alarm is over.")
    tries = models.IntegerField(default=0)
    due = models.DateTimeField(default=timezone.now, help_text="When it is tried next.")
    sent = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["alarm", "channel", "over"], name="notice_once")]
        indexes = [models.Index(fields=["due"], name="notice_due", condition=models.Q(sent__isnull=True))]

    def __str__(self) -> str:
        return f"{self.alarm_id} by {self.channel}"


class Circuit(models.Model):
    """A channel's circuit breaker: after some failures in a row nothing is tried until `open_until`."""

    channel = models.CharField(max_length=16, unique=True)
    failures = models.IntegerField(default=0, help_text="In a row.")
    open_until = models.DateTimeField(null=True)
    note = models.CharField(max_length=200, default="", blank=True, help_text="The last failure.")

    def __str__(self) -> str:
        return self.channel
