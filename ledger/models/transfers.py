"""Transactions between wallets."""

from __future__ import annotations

import uuid

from django.db import models

from ledger.fields import AmountField, SignatureField, non_negative
from ledger.models.accounts import ActiveState
from ledger.models.wallets import Wallet


def state_of_transfer(null: bool = False) -> models.ForeignKey[ActiveState]:
    """A column for one of the states that a transaction makes."""
    return models.ForeignKey(
        ActiveState,
        null=null,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )


class Transaction(models.Model):
    """An amount that leaves a wallet in an eon."""

    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    amount = AmountField()
    time = models.DateTimeField()
    eon_number = models.BigIntegerField()

    class Meta:
        abstract = True


class Transfer(Transaction):
    """A transfer from a wallet to another of the same token, or an order in one eon: a swap from a wallet to its
    owner's wallet of another token. The flags are those of the transaction's life (`spec/ledger.md` §1).

    All transfers are passive: the recipient does not sign; what it received in the eon are the intervals
    [position, position + amount).

    An order has a row for each of its eons, all with the same `tx_id`; only the row of the eon that the order is
    in is `appended` to its wallets' sets. `matched_out` (of the debit token) and `matched_in` (of the credit
    token) are what was matched in the row's eon, `prior_out` and `prior_in` in the order's eons before. A later
    row's signatures are `verified` after the order was accepted; null while they are not. `arrival` is the
    order's place in the line of all orders, null until the matching has seen it; `void_reason` says why a row
    never came into force. The owner's balance markers of nothing, of both its wallets, are in the row, too; they
    count once they are verified and the order comes into force in the eon.

    Triggers that look at many rows at a time stand in for foreign keys: a row is written for wallets and states
    that exist, the states are of its wallets in its eon, and none of them is deleted.
    """

    tx_id = models.UUIDField(default=uuid.uuid4)
    recipient = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    nonce = AmountField()
    position = AmountField(null=True)
    sender_active_state = state_of_transfer()
    passive = models.BooleanField(default=True)
    swap = models.BooleanField(default=False)
    processed = models.BooleanField(default=True)
    complete = models.BooleanField(default=True)
    cancelled = models.BooleanField(default=False)
    voided = models.BooleanField(default=False)
    appended = models.BooleanField(default=True)

    amount_swapped = AmountField(null=True)
    sell_order = models.BooleanField(default=True)
    sender_starting_balance = AmountField(null=True)
    recipient_starting_balance = AmountField(null=True)
    recipient_active_state = state_of_transfer(null=True)
    recipient_fulfillment_active_state = state_of_transfer(null=True)
    recipient_finalization_active_state = state_of_transfer(null=True)
    sender_cancellation_active_state = state_of_transfer(null=True)
    recipient_cancellation_active_state = state_of_transfer(null=True)
    swap_freezing_signature = SignatureField(null=True)
    debit_marker_signature = SignatureField(null=True)
    credit_marker_signature = SignatureField(null=True)
    prior_out = AmountField(null=True)
    prior_in = AmountField(null=True)
    matched_out = AmountField(null=True)
    matched_in = AmountField(null=True)
    verified = models.BooleanField(null=True)
    arrival = models.BigIntegerField(null=True)
    void_reason = models.CharField(max_length=80, null=True)

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
            models.CheckConstraint(
                condition=models.Q(
                    swap=False,
                    amount_swapped__isnull=True,
                    matched_out__isnull=True,
                    matched_in__isnull=True,
                )
                | models.Q(
                    swap=True,
                    passive=False,
                    amount_swapped__gte=1,
                    prior_out__gte=0,
                    prior_in__gte=0,
                    matched_out__gte=0,
                    matched_in__gte=0,
                    amount__gte=models.F("prior_out") + models.F("matched_out"),
                ),
                name="transfer_swap_amounts",
            ),
        ]
        indexes = [
            models.Index(fields=["recipient", "eon_number", "position"], name="transfer_recipient_eon"),
            models.Index(fields=["tx_id"], name="transfer_tx_id"),
            # Lists are read in these orders. Both grow at their end, which costs a writer next to nothing.
            models.Index(fields=["eon_number", "id"], name="transfer_eon"),
            models.Index(fields=["time", "id"], name="transfer_time"),
            models.Index(
                fields=["eon_number", "wallet"],
                name="transfer_open_debit",
                condition=models.Q(swap=True, processed=False),
            ),
            models.Index(
                fields=["eon_number", "recipient"],
                name="transfer_open_credit",
                condition=models.Q(swap=True, processed=False),
            ),
            models.Index(
                fields=["id"],
                name="transfer_arriving",
                condition=models.Q(swap=True, processed=False, appended=True, arrival__isnull=True),
            ),
            models.Index(
                fields=["id"],
                name="transfer_unverified",
                condition=models.Q(swap=True, processed=False, verified__isnull=True),
            ),
        ]
