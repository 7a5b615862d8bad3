"""Transactions between wallets."""

from __future__ import annotations

import uuid

from django.db import models

from ledger.fields import AmountField, non_negative
from ledger.models.accounts import ActiveState
from ledger.models.wallets import Wallet


class Transaction(models.Model):
    """An amount that leaves a wallet in an eon."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    amount = AmountField()
    time = models.DateTimeField()
    eon_number = models.BigIntegerField()

    class Meta:
        abstract = True


class Transfer(Transaction):
    """A transfer from a wallet to another of the same token.

    All transfers are passive: the recipient does not sign; what it received in the eon are the intervals
    [position, position + amount). The flags are those of the transaction's life (`spec/ledger.md` §1).
    """

    tx_id = models.UUIDField(default=uuid.uuid4)
    recipient = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+", db_index=False)
    nonce = AmountField()
    position = AmountField(null=True)
    sender_active_state = models.ForeignKey(
        ActiveState, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    passive = models.BooleanField(default=True)
    swap = models.BooleanField(default=False)
    processed = models.BooleanField(default=True)
    complete = models.BooleanField(default=True)
    cancelled = models.BooleanField(default=False)
    voided = models.BooleanField(default=False)
    appended = models.BooleanField(default=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "eon_number", "nonce"], name="transfer_wallet_eon_nonce"
            ),
            non_negative("amount", "nonce", table="transfer"),
            models.CheckConstraint(
                condition=models.Q(swap=True) | models.Q(complete=False) | models.Q(processed=True),
                name="transfer_complete_is_processed",
            ),
        ]
        indexes = [
            models.Index(fields=["recipient", "eon_number", "position"], name="transfer_recipient_eon"),
            models.Index(fields=["tx_id"], name="transfer_tx_id"),
        ]
