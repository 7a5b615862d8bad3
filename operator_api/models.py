"""What the operator's people did to the hub by hand."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class OperatorAction(models.Model):
    """Something done in the admin or by a command: who, what, to what, why and when. Rows are never changed or
    deleted; a trigger refuses it."""

    time = models.DateTimeField(default=timezone.now)
    who = models.CharField(max_length=150, help_text="the account in the admin, or the command")
    action = models.CharField(max_length=50)
    subject = models.CharField(max_length=200, blank=True, help_text="what it was done to")
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.who}: {self.action} {self.subject}".rstrip()
