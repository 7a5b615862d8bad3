"""What goes into the endpoints of orders (`spec/http-api.md` §3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from ledger.engine import HIGHEST_ORDERED, CancelOrder, FinalizeOrder, FreezeOrder, Owner, PlaceOrder
from nocust.signatures import SIGNATURE_LENGTH
from operator_api.error_codes import ErrorCode
from operator_api.input_fields import AmountInput, SignatureObject, WalletInput
from operator_api.rest import object_error, validated
from swapper.selectors import KnownOrder

HIGHEST_AMOUNT: Final = HIGHEST_ORDERED // 2
"""An order's amounts are counted twice in the states that end it."""


class OrderAmountInput(AmountInput):
    """An amount of an order, 1 to `HIGHEST_AMOUNT`."""

    def __init__(self, code: ErrorCode, zero: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._code = code
        self._zero = zero

    def to_internal_value(self, data: Any) -> int:
        amount = super().to_internal_value(data)
        if amount == 0:
            raise serializers.ValidationError(
                "Ensure this value is greater than or equal to 1.", code=self._zero
            )
        if amount > HIGHEST_AMOUNT:
            raise serializers.ValidationError(self._code.value, code=self._code.code)
        return amount


class SignatureList(serializers.ListSerializer[Any]):
    """A list of `{"value": signature}`. The value is a tuple of the signatures' bytes.

    An order has up to a hundred of them, so those that are as they should be are read without a serializer each.
    """

    child = SignatureObject()

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list):
            message = self.error_messages["not_a_list"].format(input_type=type(data).__name__)
            raise serializers.ValidationError({"non_field_errors": [ErrorDetail(message, "not_a_list")]})
        try:
            return tuple(map(_signature, data))
        except (TypeError, KeyError, ValueError):
            return self._with_errors(data)

    def _with_errors(self, data: list[Any]) -> Any:
        """The same by the serializer of each. Raises the errors, {} for items without."""
        found: list[Any] = []
        errors: list[Any] = []
        for item in data:
            try:
                found.append(self.child.run_validation(item))
                errors.append({})
            except serializers.ValidationError as error:
                errors.append(error.detail)
        if any(errors):
            raise serializers.ValidationError(errors)
        return tuple(found)


def _signature(item: Any) -> bytes:
    text = item["value"]
    if not isinstance(text, str) or len(text) != 2 * SIGNATURE_LENGTH:
        raise ValueError
    return bytes.fromhex(text)


class OrderSerializer(serializers.Serializer[Any]):
    """An order as its owner signed it; item i of each list is for the eon `eon_number` + i."""

    wallet = WalletInput(help_text="gives")
    recipient = WalletInput(help_text="receives; the same owner's wallet of another token")
    amount = OrderAmountInput(
        ErrorCode.INVALID_DEBIT_AMOUNT,
        zero=ErrorCode.INVALID_DEBIT_AMOUNT.code,
        help_text="given at most; all that the wallet can spend, 1 to 2**126 - 1",
    )
    amount_swapped = OrderAmountInput(
        ErrorCode.INVALID_CREDIT_AMOUNT, zero="min_value", help_text="wanted for it, 1 to 2**126 - 1"
    )
    nonce = AmountInput(help_text="no other transaction of the wallet has it in any of the order's eons")
    eon_number = serializers.IntegerField(min_value=0, max_value=2**63 - 1, help_text="the latest eon")
    sell_order = serializers.BooleanField(
        default=True, help_text="filled when all is given; otherwise when all that was wanted is received"
    )
    debit_signature = SignatureList(help_text="of the giving wallet's active states")
    debit_balance_signature = SignatureList(help_text="of the giving wallet's markers, each of 0")
    credit_signature = SignatureList(help_text="of the receiving wallet's active states")
    credit_balance_signature = SignatureList(help_text="of the receiving wallet's markers, each of 0")
    credit_fulfillment_signature = SignatureList(
        help_text="of the receiving wallet's states once it is filled"
    )

    class Meta:
        ref_name = "Order"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not settings.SWAPS_ENABLED:
            raise object_error(ErrorCode.SWAPPING_DISABLED)
        lengths = {len(attrs[name]) for name in SIGNED}
        if len(attrs["debit_signature"]) > settings.SWAPS_PERSISTENCE_LIMIT:
            limit = settings.SWAPS_PERSISTENCE_LIMIT
            raise object_error(ErrorCode.TOO_MANY_FUTURE_SIGNATURES, f"An order lasts at most {limit} eons.")
        if len(lengths) > 1 or not attrs["debit_signature"]:
            raise object_error(ErrorCode.WRONG_NUMBER_OF_SIGNATURES)
        debit: Owner = attrs["wallet"]
        credit: Owner = attrs["recipient"]
        if debit.address != credit.address:
            raise object_error(ErrorCode.DEBIT_CREDIT_WALLET_ADDRESS_MISMATCH)
        if debit.token == credit.token:
            raise object_error(ErrorCode.DEBIT_CREDIT_TOKEN_ADDRESS_MATCH)
        return attrs


SIGNED: Final = (
    "debit_signature",
    "debit_balance_signature",
    "credit_signature",
    "credit_balance_signature",
    "credit_fulfillment_signature",
)

_ORDER = OrderSerializer()


def read_order(data: Any) -> PlaceOrder:
    """The engine's command of a request's body. Raises DRF's ValidationError."""
    return make_order(validated(_ORDER, data))


def make_order(values: Mapping[str, Any]) -> PlaceOrder:
    """The engine's command of the values of a request's fields."""
    debit: Owner = values["wallet"]
    credit: Owner = values["recipient"]
    eon: int = values["eon_number"]
    return PlaceOrder(
        debit=debit,
        credit=credit,
        eon=eon,
        amount=values["amount"],
        amount_swapped=values["amount_swapped"],
        sell=values["sell_order"],
        nonce=values["nonce"],
        debit_signatures=values["debit_signature"],
        credit_signatures=values["credit_signature"],
        fulfillment_signatures=values["credit_fulfillment_signature"],
        debit_marker_signatures=values["debit_balance_signature"],
        credit_marker_signatures=values["credit_balance_signature"],
    )


class FreezingSerializer(serializers.Serializer[Any]):
    """Takes an order off the market."""

    freezing_signature = SignatureObject(help_text="of both tokens and the order's nonce")

    class Meta:
        ref_name = "Freezing"


class CancellationSerializer(serializers.Serializer[Any]):
    """Ends a frozen order; one signature for each of its eons from the latest on."""

    sender_cancellation_signature = SignatureList(
        help_text="of the giving wallet's states, the rest back in it"
    )
    recipient_cancellation_signature = SignatureList(help_text="of the receiving wallet's states")

    class Meta:
        ref_name = "Cancellation"


class FinalizationSerializer(serializers.Serializer[Any]):
    """Ends a filled order; one signature for each of its eons from the latest on."""

    finalization_signature = SignatureList(help_text="of the receiving wallet's states")

    class Meta:
        ref_name = "Finalization"


_FREEZING = FreezingSerializer()
_CANCELLATION = CancellationSerializer()
_FINALIZATION = FinalizationSerializer()


def read_freezing(order: KnownOrder, data: Any) -> FreezeOrder:
    """The engine's command of a request's body. Raises DRF's ValidationError, as those below."""
    values = validated(_FREEZING, data)
    return FreezeOrder(order.tx_id, order.debit, order.credit, values["freezing_signature"])


def read_cancellation(order: KnownOrder, data: Any) -> CancelOrder:
    values = validated(_CANCELLATION, data)
    return CancelOrder(
        order.tx_id,
        order.debit,
        order.credit,
        values["sender_cancellation_signature"],
        values["recipient_cancellation_signature"],
    )


def read_finalization(order: KnownOrder, data: Any) -> FinalizeOrder:
    values = validated(_FINALIZATION, data)
    return FinalizeOrder(order.tx_id, order.debit, order.credit, values["finalization_signature"])
