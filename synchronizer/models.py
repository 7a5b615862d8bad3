"""The log of what was told, and events that could not be told."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Told(models.Model):
    """An event told on a stream, kept for those who missed it. It is rendered from the row it tells of.

    `stream` is the stream's key (`synchronizer.streams.key_of`); what concerns every wallet has one row with a key
    of its own. `previous` is the position of the event before it on the stream, those that concern every wallet
    included; null if none was kept. Positions are those of `ledger.StreamPosition`.
    """

    position = models.BigIntegerField(primary_key=True)
    stream = models.BinaryField()
    event = models.CharField(max_length=32)
    object_id = models.BigIntegerField()
    previous = models.BigIntegerField(null=True)

    class Meta:
        indexes = [models.Index(fields=["stream", "position"], name="told_stream_position")]


class SetAside(models.Model):
    """An event of the outbox that cannot be rendered, kept for the operator to look at: it must not hold up the
    events behind it. `created` is when it happened, `time` when it was set aside."""

    event = models.CharField(max_length=32)
    object_id = models.BigIntegerField()
    created = models.DateTimeField()
    reason = models.TextField()
    time = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.event} {self.object_id}: {self.reason}"
