"""Events waiting to be told to subscribers, written in the transaction that caused them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Event(models.TextChoices):
    """What happened, by the names that subscribers know (`spec/http-api.md` §5.5)."""

    REGISTERED_WALLET = "REGISTERED_WALLET"
    CONFIRMED_DEPOSIT = "CONFIRMED_DEPOSIT"
    REQUESTED_WITHDRAWAL = "REQUESTED_WITHDRAWAL"
    CONFIRMED_WITHDRAWAL = "CONFIRMED_WITHDRAWAL"
    TRANSFER_CONFIRMATION = "TRANSFER_CONFIRMATION"
    SWAP_CONFIRMATION = "SWAP_CONFIRMATION"
    MATCHED_SWAP = "MATCHED_SWAP"
    SWAP_FREEZING = "SWAP_FREEZING"
    SWAP_CANCELLATION = "SWAP_CANCELLATION"
    SWAP_FINALIZATION = "SWAP_FINALIZATION"
    CHECKPOINT_CREATED = "CHECKPOINT_CREATED"
    EON_STARTED = "EON_STARTED"
    CHECKPOINT_SUBMITTED = "CHECKPOINT_SUBMITTED"
    REORGANISATION = "REORGANISATION"
    STATUS = "STATUS"


class Outbox(models.Model):
    """One event. `object_id` is the row it tells of: the wallet (REGISTERED_WALLET), deposit, request, withdrawal,
    transfer, order's row of an eon or reorganisation, the eon number (CHECKPOINT_CREATED, CHECKPOINT_SUBMITTED,
    EON_STARTED), or flags (STATUS). The relay renders it, logs it and deletes the row."""

    event = models.CharField(max_length=32, choices=Event.choices)
    object_id = models.BigIntegerField()
    created = models.DateTimeField(default=timezone.now)


class StreamPosition(models.Model):
    """The one row that says how far events have been told. Positions are microseconds of UNIX time, moved on where
    events come faster, so they grow even over a database that was restored from a backup."""

    last = models.BigIntegerField(default=0, help_text="Position of the newest event told.")
    forgotten = models.BigIntegerField(default=0, help_text="Events up to here are not kept any more.")
    status = models.IntegerField(default=0, help_text="The hub's status as it was told last: flags.")

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="stream_position_single_row")]
