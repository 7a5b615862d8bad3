"""Serializer fields for what clients send."""

from __future__ import annotations

from typing import Any

from drf_yasg import openapi
from rest_framework import serializers

from ledger.directory import find_owner, token_id
from ledger.engine import Owner
from nocust.addresses import parse_address
from nocust.encoding import parse_amount
from nocust.errors import NocustError
from operator_api.error_codes import ErrorCode


class AmountInput(serializers.Field[int, Any, Any, Any]):
    """An integer of 0 to 2**256 - 1 as a number, decimal text or text with an exponent (`spec/http-api.md`
    §1.3). The value is an int."""

    default_error_messages = {
        "invalid": "A whole number of at least 0 and below 2**256 is required.",
        "min_value": "Ensure this value is greater than or equal to 0.",
    }

    class Meta:
        swagger_schema_fields = {"type": openapi.TYPE_STRING, "example": "1000000000000000000"}

    def to_internal_value(self, data: Any) -> int:
        negative = (isinstance(data, int) and not isinstance(data, bool) and data < 0) or (
            isinstance(data, str) and data.strip()[:1] == "-" and data.strip()[1:].isdecimal()
        )
        if negative:
            self.fail("min_value")
        try:
            return parse_amount(data)
        except NocustError:
            self.fail("invalid")

    def to_representation(self, value: int) -> str:
        return str(value)


class AddressInput(serializers.Field[bytes, Any, Any, Any]):
    """An address, 40 hexadecimal digits in any case with or without 0x. The value is 20 bytes."""

    class Meta:
        swagger_schema_fields = {
            "type": openapi.TYPE_STRING,
            "pattern": "^(0x)?[0-9a-fA-F]{40}$",
            "example": "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1",
        }

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a valid string.", code="invalid")
        if not data:
            raise serializers.ValidationError("This field may not be blank.", code="blank")
        try:
            return parse_address(data)
        except NocustError:
            raise serializers.ValidationError(
                ErrorCode.INVALID_ADDRESS.value, code=ErrorCode.INVALID_ADDRESS.code
            ) from None

    def to_representation(self, value: bytes) -> str:
        return value.hex()


class SignatureText(serializers.Field[bytes, Any, Any, Any]):
    """A signature, 130 hexadecimal digits. The value is its bytes, or empty bytes for text that is none: no
    message is signed by those, so the check of the signature gives its own code."""

    default_error_messages = {
        "invalid": "Not a valid string.",
        "blank": "This field may not be blank.",
        "max_length": "Ensure this field has no more than 130 characters.",
    }

    class Meta:
        swagger_schema_fields = {"type": openapi.TYPE_STRING, "maxLength": 130, "minLength": 1}

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, str):
            self.fail("invalid")
        if not data:
            self.fail("blank")
        if len(data) > 130:
            self.fail("max_length")
        try:
            return bytes.fromhex(data)
        except ValueError:
            return b""

    def to_representation(self, value: bytes) -> str:
        return value.hex()


class SignatureObject(serializers.Serializer[Any]):
    """`{"value": signature}`. The value is the signature's bytes."""

    value = SignatureText()

    class Meta:
        ref_name = "Signature"

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data)["value"]


class WalletInput(serializers.Serializer[Any]):
    """`{"address", "token"}` of an admitted wallet. The value is its `ledger.engine.Owner`."""

    address = AddressInput()
    token = AddressInput()

    class Meta:
        ref_name = "WalletInput"

    def to_internal_value(self, data: Any) -> Owner:
        values = super().to_internal_value(data)
        owner = find_owner(values["token"], values["address"])
        if owner is not None:
            return owner
        known = token_id(values["token"]) is not None
        code = ErrorCode.WALLET_NOT_ADMITTED if known else ErrorCode.TOKEN_NOT_REGISTERED
        raise serializers.ValidationError([code.value], code=code.code)
