"""Orders without serializers, for requests with nothing unusual about them (`operator_api/direct.py`)."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from ledger.engine import PlaceOrder
from operator_api import plain_input as plain
from swapper.serializers import HIGHEST_AMOUNT, SIGNED, make_order
from swapper.services import why_not


def read(data: Any) -> PlaceOrder:
    """The engine's command of a request's parsed body. Raises what `operator_api.plain_input` does, for everything
    that would be refused, too."""
    plain.require(settings.SWAPS_ENABLED)
    debit, credit = plain.wallet(data["wallet"]), plain.wallet(data["recipient"])
    plain.require(debit.address == credit.address and debit.token != credit.token)
    plain.require_welcome(debit)
    amount, amount_swapped = plain.amount(data["amount"]), plain.amount(data["amount_swapped"])
    plain.require(1 <= amount <= HIGHEST_AMOUNT and 1 <= amount_swapped <= HIGHEST_AMOUNT)
    sell = data.get("sell_order", True)
    plain.require(type(sell) is bool)
    signed = {name: _signatures(data[name]) for name in SIGNED}
    eons = {len(signatures) for signatures in signed.values()}
    plain.require(len(eons) == 1 and 1 <= eons.pop() <= settings.SWAPS_PERSISTENCE_LIMIT)
    order = make_order(
        {
            "wallet": debit,
            "recipient": credit,
            "amount": amount,
            "amount_swapped": amount_swapped,
            "nonce": plain.amount(data["nonce"]),
            "eon_number": plain.eon(data["eon_number"]),
            "sell_order": sell,
            **signed,
        }
    )
    plain.require(why_not(order) is None)
    return order


def _signatures(items: Any) -> tuple[bytes, ...]:
    plain.require(type(items) is list)
    return tuple(map(plain.signature, items))
