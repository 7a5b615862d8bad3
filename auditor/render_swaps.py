"""Orders as the JSON objects of `spec/http-api.md` §4.10 to §4.13, from rows and from what was just written."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from auditor.render import (
    Object,
    active_state,
    matched_amounts,
    owner_ref,
    seconds,
    state_of,
    state_or_none,
    wallet_ref,
)
from ledger.engine import OrderCancelled, OrderFinalized, OrderPlaced
from ledger.models import Transfer

if TYPE_CHECKING:
    from ledger.orders import StoredOrder


def _receipt(
    *,
    row_id: int,
    wallet: Object,
    amount: int,
    time: datetime,
    eon: int,
    complete: bool,
    states: tuple[Object, Object | None, Object | None],
    recipient: Object,
    nonce: int,
    amount_swapped: int | None,
    tx_id: UUID,
    matched: Object,
    sell: bool,
) -> Object:
    return {
        "id": row_id,
        "wallet": wallet,
        "amount": str(amount),
        "time": seconds(time),
        "eon_number": eon,
        "complete": complete,
        "sender_active_state": states[0],
        "recipient": recipient,
        "recipient_active_state": states[1],
        "recipient_fulfillment_active_state": states[2],
        "nonce": str(nonce),
        "amount_swapped": str(amount_swapped),
        "tx_id": str(tx_id),
        "matched_amounts": matched,
        "sell_order": sell,
    }


def order_receipt(row: Transfer) -> Object:
    """An order, §4.10: the payload of SWAP_CONFIRMATION, INCOMING_SWAP and MATCHED_SWAP."""
    return _receipt(
        row_id=row.pk,
        wallet=wallet_ref(row.wallet),
        amount=row.amount,
        time=row.time,
        eon=row.eon_number,
        complete=row.complete,
        states=(
            active_state(row.sender_active_state),
            state_or_none(row.recipient_active_state),
            state_or_none(row.recipient_fulfillment_active_state),
        ),
        recipient=wallet_ref(row.recipient),
        nonce=row.nonce,
        amount_swapped=row.amount_swapped,
        tx_id=row.tx_id,
        matched=matched_amounts(row),
        sell=row.sell_order,
    )


def order_receipt_of(stored: StoredOrder) -> Object:
    """The receipt of an order just placed: the answer to it."""
    order, event = stored.order, stored.event
    assert isinstance(event, OrderPlaced)
    first = event.eons[0]
    signed = stored.operator_signatures
    return _receipt(
        row_id=order.row,
        wallet=owner_ref(order.debit),
        amount=order.amount,
        time=stored.time,
        eon=order.eon,
        complete=order.complete,
        states=(
            state_of(first.debit, signed["sender_active_state"]),
            state_of(first.credit, signed["recipient_active_state"]),
            state_of(first.fulfillment, None),
        ),
        recipient=owner_ref(order.credit),
        nonce=order.nonce,
        amount_swapped=order.amount_swapped,
        tx_id=order.tx_id,
        matched=matched_amounts(order),
        sell=order.sell,
    )


def freezing_of(stored: StoredOrder) -> Object:
    """The answer to a freezing, §4.11."""
    return {**_name_of(stored), "matched_amounts": matched_amounts(stored.order)}


def cancellation_of(stored: StoredOrder) -> Object:
    """The answer to a cancellation, §4.11."""
    event, signed = stored.event, stored.operator_signatures
    assert isinstance(event, OrderCancelled)
    return {
        **_name_of(stored),
        "sender_cancellation_active_state": state_of(event.debit, signed["sender_cancellation_active_state"]),
        "recipient_cancellation_active_state": state_of(
            event.credit, signed["recipient_cancellation_active_state"]
        ),
    }


def finalization_of(stored: StoredOrder) -> Object:
    """The answer to a finalisation, §4.11."""
    event, signed = stored.event, stored.operator_signatures
    assert isinstance(event, OrderFinalized)
    state = state_of(event.credit, signed["recipient_finalization_active_state"])
    return {**_name_of(stored), "recipient_finalization_active_state": state}


def _name_of(stored: StoredOrder) -> Object:
    return {"id": stored.order.row, "tx_id": str(stored.order.tx_id)}


def order_freezing(row: Transfer) -> Object:
    """§4.11: the payload of FROZEN_SWAP."""
    return {"id": row.pk, "tx_id": str(row.tx_id), "matched_amounts": matched_amounts(row)}


def order_cancellation(row: Transfer) -> Object:
    """§4.11: the payload of SWAP_CANCELLATION and CANCELLED_SWAP."""
    return {
        "id": row.pk,
        "tx_id": str(row.tx_id),
        "sender_cancellation_active_state": state_or_none(row.sender_cancellation_active_state),
        "recipient_cancellation_active_state": state_or_none(row.recipient_cancellation_active_state),
    }


def order_finalization(row: Transfer) -> Object:
    """§4.11: the payload of SWAP_FINALIZATION."""
    return {
        "id": row.pk,
        "tx_id": str(row.tx_id),
        "recipient_finalization_active_state": state_or_none(row.recipient_finalization_active_state),
    }
