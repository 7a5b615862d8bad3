"""Transfers without serializers, for requests with nothing unusual about them (`operator_api/direct.py`)."""

from __future__ import annotations

from typing import Any

from ledger.engine import Transfer
from operator_api import plain_input as plain


def read(data: Any) -> Transfer:
    """The engine's command of a request's parsed body. Raises what `operator_api.plain_input` does, for everything
    that would be refused, too."""
    sender, recipient = plain.wallet(data["wallet"]), plain.wallet(data["recipient"])
    plain.require(sender.wallet != recipient.wallet and sender.token == recipient.token)
    plain.require_welcome(sender)
    return Transfer(
        sender=sender,
        recipient=recipient,
        eon=plain.eon(data["eon_number"]),
        amount=plain.amount(data["amount"]),
        nonce=plain.amount(data["nonce"]),
        marker=plain.amount(data["debit_balance"]),
        marker_signature=plain.signature(data["debit_balance_signature"]),
        signature=plain.signature(data["debit_signature"]),
    )
