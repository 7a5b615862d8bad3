"""Which database this is, and the holds of a restored one."""

from __future__ import annotations

from django.db import models

from ledger.fields import HashField


class Identity(models.Model):
    """The one row with what PostgreSQL changes when a database is restored, copied or failed over: the cluster, its
    timeline, and the numbers of the database and of this very table."""

    cluster = models.DecimalField(max_digits=20, decimal_places=0, help_text="pg_control_system()")
    timeline = models.CharField(max_length=8, help_text="First part of the write-ahead log's file names.")
    database = models.BigIntegerField()
    place = models.BigIntegerField(help_text="This table's number: new where the table was made again.")

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="identity_single_row")]


class Hold(models.Model):
    """A time in which the hub signs nothing: from when it was noticed that the database was restored until the
    operator's decision, and in the eons before `first_eon` afterwards."""

    class Decision(models.TextChoices):
        OPEN = ""
        NOTHING_LOST = "nothing lost"
        LOSS_ACCEPTED = "loss accepted"

    reason = models.TextField()
    noticed = models.DateTimeField()
    restored_to = models.DateTimeField(null=True, help_text="When the restored hub last heard of the chain.")
    restored_eon = models.BigIntegerField(null=True, help_text="The latest eon it knew.")
    decision = models.CharField(max_length=16, choices=Decision.choices, default=Decision.OPEN, blank=True)
    decided = models.DateTimeField(null=True)
    first_eon = models.BigIntegerField(
        null=True, help_text="The first eon in which the hub signs again; null while nothing is decided."
    )

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.reason} ({self.decision or 'undecided'})"


class SubmittedRoot(models.Model):
    """A checkpoint that the contract holds, read while the hub was held. The ledger's own must be the same."""

    eon_number = models.BigIntegerField(unique=True)
    merkle_root = HashField()
    block = models.BigIntegerField()

    class Meta:
        ordering = ["eon_number"]
