"""What goes in and out of the registration endpoints."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from admission.services import Admission, admitted_places, barred, is_authorized
from ledger.models import Token
from ledger.store import chain_status
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.input_fields import AddressInput, SignatureObject
from operator_api.rest import object_error
from tos import services as tos
from tos.models import TOSConfig


class TokenInput(AddressInput):
    """The address of a registered token. The value is its row."""

    def to_internal_value(self, data: Any) -> Any:
        token = Token.objects.filter(address=super().to_internal_value(data)).first()
        if token is None:
            code = ErrorCode.TOKEN_NOT_REGISTERED
            raise serializers.ValidationError(code.value, code=code.code)
        return token


class AdmissionSerializer(serializers.Serializer[Any]):
    """A request to register one address in one token."""

    authorization = SignatureObject()
    tos_signature = SignatureObject()
    token = TokenInput()
    address = AddressInput()

    class Meta:
        ref_name = "AdmissionRequest"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        token = attrs.pop("token")
        admission = Admission(token.pk, token.address, **attrs)
        if barred([admission.address]):
            raise object_error(ErrorCode.WALLET_BLACKLISTED)
        if (admission.token_id, admission.address) in admitted_places([admission.address]):
            raise object_error(ErrorCode.WALLET_ALREADY_ADMITTED)
        eon, config = chain_status().eon, published_terms()
        check_signatures(admission, eon, config)
        return {"admissions": [admission], "eon": eon, "config": config}


class EntryListSerializer(serializers.ListSerializer[Any]):
    """Entries whose errors are a list, too, with {} for each good one (`spec/http-api.md` §2.1)."""

    def to_internal_value(self, data: Any) -> list[Any]:
        try:
            values: list[Any] = super().to_internal_value(data)
        except serializers.ValidationError as error:
            details: Any = error.detail
            numbers = [key for key in details if isinstance(key, int)]
            if numbers:
                count = len(data) if isinstance(data, list) else max(numbers) + 1
                details = [details.get(index, {}) for index in range(count)]
            raise serializers.ValidationError(details) from None
        return values


class BulkAdmissionSerializer(serializers.Serializer[Any]):
    """Requests to register several wallets. Those that are registered already are skipped."""

    class EntrySerializer(serializers.Serializer[Any]):
        authorization = SignatureObject()
        tos_signature = SignatureObject()
        token = AddressInput()
        address = AddressInput()

        class Meta:
            ref_name = "BulkAdmissionEntry"
            list_serializer_class = EntryListSerializer

    admissions = EntrySerializer(many=True)

    class Meta:
        ref_name = "BulkAdmissionRequest"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        entries = attrs["admissions"]
        if len(entries) > settings.BULK_ADMISSION_LIMIT:
            raise object_error(
                ErrorCode.TOO_MANY_ADMISSION_REQUESTS, f"At most {settings.BULK_ADMISSION_LIMIT} wallets."
            )
        eon, config = chain_status().eon, published_terms()
        addresses = [entry["address"] for entry in entries]
        tokens = dict(Token.objects.values_list("address", "pk"))
        refused, known = barred(addresses), admitted_places(addresses)
        admissions: list[Admission] = []
        for entry in entries:
            token = tokens.get(entry["token"])
            if token is None:
                raise object_error(ErrorCode.TOKEN_NOT_REGISTERED, f"Unknown token 0x{entry['token'].hex()}.")
            place = (token, entry["address"])
            if entry["address"] in refused or place in known:
                continue
            admission = Admission(token, entry.pop("token"), **entry)
            check_signatures(admission, eon, config)
            known.add(place)
            admissions.append(admission)
        return {"admissions": admissions, "eon": eon, "config": config}


def published_terms() -> TOSConfig:
    """The latest terms; registration needs some."""
    config = tos.latest()
    if config is None:
        raise object_error(ErrorCode.TOS_NOT_PUBLISHED)
    return config


def check_signatures(admission: Admission, eon: int, config: TOSConfig) -> None:
    """Raise unless the owner signed the registration for the eon, and the terms."""
    if not is_authorized(admission, eon):
        raise object_error(ErrorCode.INVALID_ADMISSION_SIGNATURE, f"The latest eon is {eon}.")
    message = tos.digest(config)
    if not is_valid(message, admission.tos_signature, admission.address):
        raise object_error(ErrorCode.INVALID_TOS_SIGNATURE, f"The digest is {message.hex()}.")


class AdmittedSerializer(serializers.Serializer[Any]):
    """A registered wallet; the signatures are not shown."""

    authorization = serializers.CharField(allow_null=True)
    address = serializers.CharField()
    token = serializers.CharField()
    tos_signature = serializers.CharField(allow_null=True)

    class Meta:
        ref_name = "AdmissionResponse"


class BulkAdmittedSerializer(serializers.Serializer[Any]):
    """The wallets that were registered now, in the order of the request."""

    admissions = AdmittedSerializer(many=True)

    class Meta:
        ref_name = "BulkAdmissionResponse"
