"""What the ledger says to PostgreSQL about new transfers."""

from __future__ import annotations

from ledger.kept_plans import Kept
from ledger.orders_sql import STATE_COLUMNS

_GIVEN = {
    "state": "bigint",
    "id": "bigint",
    "tx_id": "uuid",
    "wallet": "bigint",
    "recipient": "bigint",
    "eon": "bigint",
    "amount": "numeric",
    "nonce": "numeric",
    "position": "numeric",
    "spent": "numeric",
    "gained": "numeric",
    "root": "bytea",
    "index": "bigint",
    "proof": "bytea",
    "signature": "bytea",
    "operator_signature": "bytea",
}
_ARRAYS = ", ".join(f"${number}" for number in range(1, len(_GIVEN) + 1))
_TIME = f"${len(_GIVEN) + 1}"

ADD_TRANSFERS = Kept(
    "add_transfers",
    [*(f"{kind}[]" for kind in _GIVEN.values()), "timestamptz"],
    f"WITH given AS (SELECT * FROM unnest({_ARRAYS}) n ({', '.join(_GIVEN)})),"  # noqa: S608  (constants)
    f" states AS (INSERT INTO ledger_activestate ({STATE_COLUMNS})"
    " SELECT state, wallet, eon, spent, gained, root, index, proof, signature, operator_signature,"
    f" {_TIME} FROM given)"
    " INSERT INTO ledger_transfer (id, tx_id, wallet_id, recipient_id, eon_number, amount, nonce, position,"
    " sender_active_state_id, time, passive, swap, processed, complete, cancelled, voided, appended, sell_order)"
    f" SELECT id, tx_id, wallet, recipient, eon, amount, nonce, position, state, {_TIME},"
    " true, false, true, true, false, false, true, true FROM given",
)
"""Adds transfers, each with the sender's state, of arrays of their values and the time."""
