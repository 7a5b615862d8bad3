"""Signatures of an order's later eons, verified after the order was accepted and before they are needed.

Five signatures an eon would make placing an order of many eons slow, and most orders are over before their second
eon. A row whose signatures are not its owner's is void, with the reason, and so are the order's rows after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.conf import settings

from ledger.orders_sql import ITS_WALLETS, JOINS
from ledger.sql import Row, by_id, execute, fetch
from nocust.batch import Batch, Verify
from nocust.swaps import SwapOrder, WalletPosition, empty_marker, order_states

BATCH: Final = 200
"""Rows verified between two writes."""

UNVERIFIED = (
    "SELECT t.id, t.tx_id, t.eon_number, t.amount, t.amount_swapped, t.nonce,"  # noqa: S608  (constants)
    " w.address, dt.address, ct.address,"
    " w.trail_identifier, r.trail_identifier, d.wallet_signature, g.wallet_signature, f.wallet_signature,"
    f" t.debit_marker_signature, t.credit_marker_signature FROM ledger_transfer t {ITS_WALLETS}"
    f" {by_id('ledger_token', 'w.token_id', 'dt')} {by_id('ledger_token', 'r.token_id', 'ct')}"
    f" {by_id('ledger_activestate', 't.sender_active_state_id', 'd')}"
    f" {by_id('ledger_activestate', 't.recipient_active_state_id', 'g')} {JOINS}"
    " WHERE t.swap AND NOT t.processed AND t.verified IS NULL"
)

# Rows are locked by ascending id, as where orders end (`ledger.orders.load_orders`): nobody waits for somebody who
# waits for them.
VERIFIED = (
    "WITH locked AS MATERIALIZED (SELECT id FROM ledger_transfer WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)"
    " UPDATE ledger_transfer t SET verified = true FROM locked WHERE t.id = locked.id"
)
VOIDED = (
    "WITH locked AS MATERIALIZED (SELECT id FROM ledger_transfer WHERE tx_id = %s AND eon_number + 0 >= %s"
    " AND NOT processed AND NOT appended ORDER BY id + 0 FOR NO KEY UPDATE)"
    " UPDATE ledger_transfer t SET verified = false, voided = true, processed = true, void_reason = %s"
    " FROM locked WHERE t.id = locked.id"
)


def verify_orders(eon: int | None = None) -> int:
    """Verify what is not verified yet: all of it, a batch at a time, or only the rows of an eon. Returns how many
    rows were looked at."""
    done = 0
    condition = "" if eon is None else f" AND t.eon_number = {int(eon)}"
    while True:
        rows = fetch(f"{UNVERIFIED}{condition} ORDER BY t.id LIMIT {BATCH}")
        good = [row[0] for row, reason in zip(rows, _why_bad(rows), strict=True) if not _voided(row, reason)]
        execute(VERIFIED, [good])
        done += len(rows)
        if len(rows) < BATCH:
            return done


def _why_bad(rows: Sequence[Row]) -> list[str | None]:
    """For each row the code of the first signature that is not the owner's, or None."""
    batch = Batch()
    found = [_first_bad(row, batch.is_valid) for row in rows]
    if batch.holds():
        return found
    verify = batch.verifier()
    return [_first_bad(row, verify) for row in rows]


def _first_bad(row: Row, verify: Verify) -> str | None:
    _, _, eon, amount, swapped, nonce, owner, debit, credit, debit_trail, credit_trail, *signed = row
    order = SwapOrder(
        contract=settings.HUB_LQD_CONTRACT_ADDRESS,
        owner=_bytes(owner),
        debit_token=_bytes(debit),
        credit_token=_bytes(credit),
        debit_trail=_int(debit_trail),
        credit_trail=_int(credit_trail),
        amount=_int(amount),
        amount_swapped=_int(swapped),
        nonce=_int(nonce),
        eon=_int(eon),
    )
    states = order_states(order, WalletPosition(start=order.amount), WalletPosition(start=0), 1)[0]
    expected = (
        (states.debit.message, "INVALID_FUTURE_DEBIT_SIGNATURE"),
        (states.credit.message, "INVALID_FUTURE_CREDIT_SIGNATURE"),
        (states.fulfillment.message, "INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE"),
        (empty_marker(order, order.debit_token, order.eon), "INVALID_DEBIT_BALANCE_SIGNATURE"),
        (empty_marker(order, order.credit_token, order.eon), "INVALID_CREDIT_BALANCE_SIGNATURE"),
    )
    for (message, code), signature in zip(expected, signed, strict=True):
        if signature is None or not verify(message, _bytes(signature), order.owner):
            return code
    return None


def _voided(row: Row, code: str | None) -> bool:
    """Void the order from the row's eon on if there is a reason."""
    if code is None:
        return False
    execute(
        VOIDED,
        [str(row[1]), row[2], f"{code} for eon {row[2]}"],
    )
    return True


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes | memoryview)
    return bytes(value)


def _int(value: object) -> int:
    return int(str(value))
