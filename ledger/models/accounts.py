"""What a wallet holds in one eon, and the states both sides signed."""

from __future__ import annotations

from django.db import models

from ledger.fields import AmountField, HashField, HashListField, SignatureField, non_negative
from ledger.models.wallets import Wallet


class ActiveState(models.Model):
    """A wallet's cumulative spent and gained and its transaction set in an eon, signed by the owner and, once it
    is in force, by the operator (`spec/crypto.md` §2). The proof is the path of the newest transaction in that
    set. Triggers see to it that the wallet exists and that neither is ever deleted: rows name states without
    foreign keys, which would lock a state for each of them."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    eon_number = models.BigIntegerField()
    updated_spendings = AmountField()
    updated_gains = AmountField()
    tx_set_hash = HashField()
    tx_set_index = models.BigIntegerField()
    tx_set_proof = HashListField()
    wallet_signature = SignatureField()
    operator_signature = SignatureField(null=True)
    time = models.DateTimeField()

    class Meta:
        constraints = [
            non_negative("updated_spendings", "updated_gains", "tx_set_index", table="active_state"),
        ]


class Account(models.Model):
    """A wallet in one eon: the constant-size record the engine decides on.

    available = opening + deposited + gained + received + swapped - spent - withdrawn. It is below zero only when
    the owner requested more on chain than was left, which is what slashing is for; spending never takes it there,
    as a trigger sees to.

    `swapped` is what the wallet's order moves beside the signed counters while it is in force: on the side that
    gives, the amount, which is signed as spent, less what was matched in this eon; on the side that receives,
    what was matched. It goes into `gained` when the order is closed.

    `withdrawn` is net of cancelled requests, those of the eon before included, so it may be below zero.
    `set_peaks` are the Merkle peaks of the `set_size` closed leaves of the transaction set; `tail` is the newest
    leaf in its final form, which the signed root holds in its open form (`spec/crypto.md` §6, §8).
    `passive_marker` is the position of the wallet's newest outgoing transfer.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    eon_number = models.BigIntegerField()
    opening = AmountField()
    deposited = AmountField(default=0)
    withdrawn = AmountField(default=0)
    spent = AmountField(default=0)
    gained = AmountField(default=0)
    received = AmountField(default=0)
    swapped = AmountField(default=0)
    set_size = models.BigIntegerField(default=0)
    set_peaks = HashListField(default=bytes)
    tail = HashField(null=True)
    passive_marker = AmountField(default=0)
    active_state = models.ForeignKey(
        ActiveState, null=True, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["eon_number", "wallet"], name="account_eon_wallet"),
            non_negative(
                "deposited",
                "spent",
                "gained",
                "received",
                "swapped",
                "set_size",
                "passive_marker",
                table="account",
            ),
        ]

    @property
    def available(self) -> int:
        """What the wallet may spend or take into the next eon."""
        income = self.opening + self.deposited + self.gained + self.received + self.swapped
        return int(income - self.spent - self.withdrawn)


class MinimumAvailableBalance(models.Model):
    """The smallest amount that the owner, in an eon, committed not to withdraw below (`spec/crypto.md` §4).

    One row a wallet and eon: only the smallest can cancel a withdrawal that larger ones can't.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, db_index=False)
    eon_number = models.BigIntegerField()
    amount = AmountField()
    signature = SignatureField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["wallet", "eon_number"], name="minimum_available_balance_wallet_eon"
            ),
            non_negative("amount", table="minimum_available_balance"),
        ]
