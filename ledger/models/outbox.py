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
    SWAP_CANCELLATION = "SWAP_CANCELLATION"
    SWAP_FINALIZATION = "SWAP_FINALIZATION"
    CHECKPOINT_CREATED = "CHECKPOINT_CREATED"


class Outbox(models.Model):
    """One event. `object_id` is the row it tells of: the wallet (REGISTERED_WALLET), deposit, request, withdrawal,
    transfer or order's row of an eon, or the eon number (CHECKPOINT_CREATED). The relay renders it and deletes the
    row."""

    event = models.CharField(max_length=32, choices=Event.choices)
    object_id = models.BigIntegerField()
    created = models.DateTimeField(default=timezone.now)
