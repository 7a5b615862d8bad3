"""Events that could not be told."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


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
