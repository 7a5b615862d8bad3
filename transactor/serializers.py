"""What goes into the transfer endpoints."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ledger.engine import Owner, Transfer
from operator_api.error_codes import ErrorCode
from operator_api.input_fields import AddressInput, AmountInput, SignatureObject, SignatureText, WalletInput
from operator_api.rest import object_error, validated


class TransferSerializer(serializers.Serializer[Any]):
    """A transfer as its sender signed it."""

    wallet = WalletInput()
    recipient = WalletInput()
    amount = AmountInput()
    nonce = AmountInput()
    eon_number = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    debit_signature = SignatureObject(help_text="of the new active state, this transfer included")
    debit_balance = AmountInput(help_text="what the sender claims to have left at least")
    debit_balance_signature = SignatureObject(help_text="of the claimed balance")

    class Meta:
        ref_name = "Transfer"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        sender: Owner = attrs["wallet"]
        recipient: Owner = attrs["recipient"]
        if sender.wallet == recipient.wallet:
            raise object_error(ErrorCode.DEBIT_CREDIT_WALLET_ADDRESS_MATCH)
        if sender.token != recipient.token:
            raise object_error(ErrorCode.DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH)
        return attrs


_TRANSFER = TransferSerializer()


def read_transfer(data: Any) -> Transfer:
    """The engine's command of a request's body. Raises DRF's ValidationError."""
    values = validated(_TRANSFER, data)
    return Transfer(
        sender=values["wallet"],
        recipient=values["recipient"],
        eon=values["eon_number"],
        amount=values["amount"],
        nonce=values["nonce"],
        marker=values["debit_balance"],
        marker_signature=values["debit_balance_signature"],
        signature=values["debit_signature"],
    )


class DelegatedWithdrawalSerializer(serializers.Serializer[Any]):
    """An owner's authorisation to withdraw on chain."""

    signature = SignatureText(
        help_text="of contract, token, wallet, expiry and amount, the amount increased by what the wallet has"
        " requested on chain in the current eon (as the contract verifies it)"
    )
    wallet = AddressInput()
    token = AddressInput()
    amount = AmountInput()
    expiry = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, help_text="last block it is valid in, one of the latest eon"
    )

    class Meta:
        ref_name = "DelegatedWithdrawal"
