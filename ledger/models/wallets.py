"""Tokens and the wallets that hold them."""

from __future__ import annotations

from django.db import models

from ledger.fields import AddressField, PublicKeyField, SignatureField
from nocust.addresses import to_checksum


class Token(models.Model):
    """A token the hub trades in. Ether is the token whose address is the contract's own."""

    address = AddressField(unique=True)
    trail = models.PositiveIntegerField(unique=True)
    name = models.CharField(max_length=40, null=True)
    short_name = models.CharField(max_length=40, null=True)
    block = models.BigIntegerField(help_text="Head block when the token was registered here.")
    wallet_count = models.BigIntegerField(default=0, help_text="Wallets admitted; the next wallet's trail.")

    class Meta:
        ordering = ["trail"]

    def __str__(self) -> str:
        return f"{self.short_name or to_checksum(self.address)}"


class Wallet(models.Model):
    """An address in one token, admitted: it has a place (trail) in the token's balance tree.

    The two authorisations are the signatures of the registration message by the owner (with trail 0) and by the
    operator (with the assigned trail), `spec/crypto.md` §3. The owner's public key is in them; it is kept beside so
    that its signatures can be verified together with others (`nocust/batch.py`).
    """

    token = models.ForeignKey(
        Token, on_delete=models.PROTECT, related_name="wallets", db_index=False, db_constraint=False
    )
    address = AddressField()
    trail_identifier = models.BigIntegerField()
    registration_eon_number = models.BigIntegerField()
    registration_authorization = SignatureField()
    registration_operator_authorization = SignatureField()
    public_key = PublicKeyField(null=True, editable=False, help_text="Of the owner, where it is known.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["address", "token"], name="wallet_address_token"),
            models.UniqueConstraint(fields=["token", "trail_identifier"], name="wallet_token_trail"),
            models.CheckConstraint(
                condition=models.Q(trail_identifier__gte=0, registration_eon_number__gte=0),
                name="wallet_non_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{to_checksum(self.address)} #{self.trail_identifier}"


class Blacklist(models.Model):
    """An address barred from registering by the operator."""

    address = AddressField(unique=True)

    def __str__(self) -> str:
        return to_checksum(self.address)
