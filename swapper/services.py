"""Orders placed and ended by their owners."""

from __future__ import annotations

from ledger.engine import OrderCommand, PlaceOrder, Refusal
from ledger.group_commit import committer
from ledger.orders import StoredOrder
from nocust.errors import InvalidSignature
from nocust.signatures import check_signature
from operator_api.error_codes import ErrorCode
from swapper.selectors import open_pairs


def place(order: PlaceOrder) -> StoredOrder | Refusal:
    """Accept and countersign an order, durably, or say why not."""
    return why_not(order) or _submit(order)


def why_not(order: PlaceOrder) -> Refusal | None:
    """Why the ledger need not be asked about an order."""
    if (order.debit.token, order.credit.token) not in open_pairs:
        return Refusal(ErrorCode.TOKEN_PAIR_BLOCKED.code)
    return _malformed(order)


def _malformed(order: PlaceOrder) -> Refusal | None:
    """Refuses an order with something else than a signature for a later eon. Whose the signatures are is found out
    before they are needed (`ledger.verification`)."""
    lists = (
        (order.debit_marker_signatures, ErrorCode.INVALID_DEBIT_BALANCE_SIGNATURE),
        (order.credit_marker_signatures, ErrorCode.INVALID_CREDIT_BALANCE_SIGNATURE),
        (order.debit_signatures, ErrorCode.INVALID_FUTURE_DEBIT_SIGNATURE),
        (order.credit_signatures, ErrorCode.INVALID_FUTURE_CREDIT_SIGNATURE),
        (order.fulfillment_signatures, ErrorCode.INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE),
    )
    for signatures, code in lists:
        if not all(map(_formed, signatures[1:])):
            return Refusal(code.code)
    return None


def _formed(signature: bytes) -> bool:
    try:
        check_signature(signature)
    except InvalidSignature:
        return False
    return True


def end(command: OrderCommand) -> StoredOrder | Refusal:
    """Freeze, cancel or finalise an order, durably, or say why not."""
    return _submit(command)


def _submit(command: PlaceOrder | OrderCommand) -> StoredOrder | Refusal:
    outcome = committer.submit(command)
    assert isinstance(outcome, StoredOrder | Refusal)
    return outcome
