"""What the contract did to wallets, as read from confirmed blocks."""

from __future__ import annotations

from django.db import models

from ledger.fields import AddressField, AmountField, HashField, SignatureField, non_negative
from ledger.models.wallets import Token, Wallet


class BlockchainTransaction(models.Model):
    """An effect of one event of the contract, identified for ever by its transaction and log index. One whose event
    a deep fork took away has a negative log index: no event has that."""

    txid = HashField()
    log_index = models.IntegerField()
    block = models.BigIntegerField()
    eon_number = models.BigIntegerField()
    amount = AmountField()
    time = models.DateTimeField()

    class Meta:
        abstract = True


class Deposit(BlockchainTransaction):
    """A deposit. `eon_number` is the eon it is credited in; without a wallet it waits for the address to
    register, then is credited in the eon of the registration."""

    token = models.ForeignKey(Token, on_delete=models.PROTECT, db_index=False)
    address = AddressField()
    wallet = models.ForeignKey(Wallet, null=True, on_delete=models.PROTECT, related_name="deposits")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["txid", "log_index"], name="deposit_event"),
            non_negative("amount", table="deposit"),
        ]
        indexes = [
            models.Index(
                fields=["address"], name="deposit_unclaimed", condition=models.Q(wallet__isnull=True)
            ),
            models.Index(fields=["eon_number"], name="deposit_eon"),
        ]


class WithdrawalRequest(BlockchainTransaction):
    """A withdrawal requested on chain; `eon_number` is the eon of the request."""

    token = models.ForeignKey(Token, on_delete=models.PROTECT, db_index=False)
    address = AddressField()
    wallet = models.ForeignKey(
        Wallet, null=True, on_delete=models.PROTECT, related_name="withdrawal_requests"
    )
    slashed = models.BooleanField(default=False)
    slashed_eon_number = models.BigIntegerField(null=True, help_text="The eon in which it was given back.")
    paid = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether there is a withdrawal for it; a trigger writes this.",
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["txid", "log_index"], name="withdrawal_request_event"),
            non_negative("amount", table="withdrawal_request"),
            models.CheckConstraint(
                condition=models.Q(slashed=False, slashed_eon_number__isnull=True)
                | models.Q(slashed=True, slashed_eon_number__isnull=False),
                name="withdrawal_request_slashed_in_an_eon",
            ),
        ]
        indexes = [
            models.Index(fields=["eon_number"], name="withdrawal_request_eon"),
            models.Index(
                fields=["slashed_eon_number"],
                name="withdrawal_request_slashed",
                condition=models.Q(slashed=True),
            ),
            models.Index(
                fields=["eon_number"],
                name="withdrawal_request_waiting",
                condition=models.Q(paid=False, slashed=False),
            ),
        ]


class Withdrawal(BlockchainTransaction):
    """A request that the contract paid; `eon_number` is the eon of the payment. One confirmation may cover
    several requests."""

    wallet = models.ForeignKey(Wallet, null=True, on_delete=models.PROTECT, related_name="withdrawals")
    request = models.OneToOneField(WithdrawalRequest, on_delete=models.PROTECT)

    class Meta:
        ordering = ["id"]
        constraints = [non_negative("amount", table="withdrawal")]


class Challenge(BlockchainTransaction):
    """A dispute opened on chain in `eon_number`, about the state of the eon before; `rebuted` once the answer is
    confirmed. The amount is 0. About a transfer, its sender and its recipient may each open one."""

    token = AddressField(help_text="The token, or a pair's conduit (spec/crypto.md §7.5).")
    sender = AddressField()
    recipient = AddressField()
    by_sender = models.BooleanField(
        null=True,
        help_text="Whether the transfer's sender opened it; null until the contract's record was read.",
    )
    deadline = models.BigIntegerField(help_text="The last block that may hold the answer.")
    rebuted = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["txid", "log_index"], name="challenge_event")]
        indexes = [
            models.Index(fields=["eon_number"], name="challenge_open", condition=models.Q(rebuted=False))
        ]


class DelegatedWithdrawal(models.Model):
    """A withdrawal that the owner asked the operator to request on chain. While `pending` its amount is set
    aside; it ends `requested` when the contract's event is applied, or `failed` when that can't happen any more.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        REQUESTED = "requested"
        FAILED = "failed"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="delegated_withdrawals")
    amount = AmountField()
    expiry_block = models.BigIntegerField()
    signature = SignatureField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    request = models.OneToOneField(WithdrawalRequest, null=True, on_delete=models.PROTECT)
    time = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["wallet", "signature"], name="delegated_withdrawal_once"),
            non_negative("amount", "expiry_block", table="delegated_withdrawal"),
        ]
        indexes = [
            models.Index(
                fields=["wallet"], name="delegated_withdrawal_pending", condition=models.Q(state="pending")
            )
        ]
