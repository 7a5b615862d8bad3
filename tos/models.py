"""Terms of service and who signed them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from ledger.fields import AddressField, SignatureField


class TOSConfig(models.Model):
    """One edition of the terms of service and the privacy policy, by their digests: 64 hexadecimal digits in the
    letter case they were published in."""

    privacy_policy_digest = models.CharField(max_length=64)
    terms_of_service_digest = models.CharField(max_length=64)
    time = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["privacy_policy_digest", "terms_of_service_digest"], name="tos_config_digests"
            )
        ]

    def __str__(self) -> str:
        return f"{self.terms_of_service_digest[:8]}/{self.privacy_policy_digest[:8]}"


class TOSSignature(models.Model):
    """An address's signature of an edition (`spec/crypto.md` §13)."""

    address = AddressField()
    tos_config = models.ForeignKey(TOSConfig, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    tos_signature = SignatureField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["address", "tos_config"], name="tos_signature_address_config")
        ]
