"""What goes in and out of the terms of service endpoints."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ledger.models import Wallet
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.input_fields import AddressInput, SignatureText
from operator_api.rest import object_error
from tos import services


class TermsSerializer(serializers.Serializer[Any]):
    """The latest terms; the digests are 64 hexadecimal digits without 0x, empty before anything is published."""

    privacy_policy_digest = serializers.CharField(allow_blank=True)
    terms_of_service_digest = serializers.CharField(allow_blank=True)
    time = serializers.IntegerField(required=False, help_text="UNIX seconds of the publication")

    class Meta:
        ref_name = "TermsOfService"


class SignTermsSerializer(serializers.Serializer[Any]):
    """An address's signature of the latest terms."""

    address = AddressInput()
    tos_signature = SignatureText()

    class Meta:
        ref_name = "SignTerms"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        config = services.latest()
        if config is None:
            raise object_error(ErrorCode.TOS_NOT_PUBLISHED)
        if services.has_signed(attrs["address"], config):
            raise object_error(ErrorCode.LATEST_TOS_ALREADY_SIGNED)
        if not Wallet.objects.filter(address=attrs["address"]).exists():
            raise object_error(ErrorCode.WALLET_NOT_ADMITTED)
        if not is_valid(services.digest(config), attrs["tos_signature"], attrs["address"]):
            raise object_error(ErrorCode.INVALID_TOS_SIGNATURE)
        return {**attrs, "config": config}


class SignedTermsSerializer(serializers.Serializer[Any]):
    """What was stored: the signature is not shown."""

    address = serializers.CharField(help_text="40 hexadecimal digits without 0x")
    tos_signature = serializers.CharField(allow_null=True)

    class Meta:
        ref_name = "SignedTerms"
