"""What the ledger says to PostgreSQL about orders, and about rows and markers of all transactions."""

from __future__ import annotations

from ledger.kept_plans import Kept, run
from ledger.sql import by_id

PRIOR = (
    "CASE WHEN t.appended THEN t.prior_{0} ELSE (SELECT COALESCE(sum(p.matched_{0}), 0) FROM ledger_transfer p"
    " WHERE p.tx_id = t.tx_id AND p.eon_number + 0 < t.eon_number) END"
)
"""What was matched before the row's eon; the row itself knows once it is in force. The eon as an expression,
here and below, leaves the planner the index of the orders alone."""

COLUMNS = ", ".join(
    (
        "t.id, t.tx_id, t.wallet_id, t.recipient_id, t.eon_number",
        "t.amount, t.amount_swapped, t.sell_order, t.nonce",
        PRIOR.format("out"),
        PRIOR.format("in"),
        "t.matched_out, t.matched_in, t.appended, t.complete, t.cancelled, t.voided, t.processed, t.void_reason",
        "f.updated_spendings, f.updated_gains, f.tx_set_hash",
        "(SELECT max(l.eon_number + 0) FROM ledger_transfer l WHERE l.tx_id = t.tx_id)",
    )
)
JOINS = by_id("ledger_activestate", "t.recipient_fulfillment_active_state_id", "f")
"""Joins to each order t its fulfilled state."""

ITS_WALLETS = f"{by_id('ledger_wallet', 't.wallet_id', 'w')} {by_id('ledger_wallet', 't.recipient_id', 'r')}"
"""Joins its wallets to each order t: w gives, r receives."""
ITS_ACCOUNT = (
    "LEFT JOIN LATERAL (SELECT * FROM ledger_account"
    " WHERE wallet_id = t.wallet_id AND eon_number = t.eon_number LIMIT 1) a ON true"
)
"""Joins to each order t the account of the wallet that gives."""

LOCK_LATER = Kept(
    "lock_later_rows",
    ["uuid[]", "bigint"],
    "SELECT id FROM ledger_transfer WHERE tx_id = ANY($1) AND eon_number + 0 > $2 AND NOT processed"
    " ORDER BY id + 0 FOR NO KEY UPDATE",
)
READ = Kept(
    "read_orders",
    ["uuid[]", "bigint"],
    f"SELECT DISTINCT ON (t.tx_id) {COLUMNS} FROM ledger_transfer t {JOINS}"  # noqa: S608
    " WHERE t.tx_id = ANY($1) AND t.swap AND t.eon_number + 0 >= $2 ORDER BY t.tx_id, t.eon_number",
)


ORDERED = (
    "SELECT wallet_id, recipient_id FROM ledger_transfer WHERE eon_number = {eon} AND swap AND NOT processed"
    " AND wallet_id = ANY({wallets}) UNION ALL"
    " SELECT wallet_id, recipient_id FROM ledger_transfer WHERE eon_number = {eon} AND swap AND NOT processed"
    " AND recipient_id = ANY({wallets})"
)


def fresh_numbers(sequence: str, count: str) -> str:
    """The SQL of so many fresh numbers of a sequence, as one text, which `ascending` reads."""
    return f"array_to_string(ARRAY(SELECT nextval('{sequence}') FROM generate_series(1, {count})), ' ')"  # noqa: S608


def ascending(numbers: str) -> list[int]:
    """The numbers in a text."""
    return sorted(map(int, numbers.split()))


STATE_IDS, TRANSFER_IDS = "ledger_activestate_id_seq", "ledger_transfer_id_seq"
_NUMBERS = Kept(
    "row_numbers",
    ["integer", "integer"],
    f"SELECT {fresh_numbers(STATE_IDS, '$1')}, {fresh_numbers(TRANSFER_IDS, '$2')}",
)


def row_numbers(states: int, transfers: int) -> tuple[list[int], list[int]]:
    """Fresh row ids of so many active states and transfers, ascending."""
    if not states and not transfers:
        return [], []
    ((of_states, of_transfers),) = run(_NUMBERS(states, transfers))
    return ascending(of_states), ascending(of_transfers)


KEEP_MARKERS = Kept(
    "keep_markers",
    ["bigint[]", "bigint[]", "numeric[]", "bytea[]"],
    "INSERT INTO ledger_minimumavailablebalance AS old (wallet_id, eon_number, amount, signature)"
    " SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (wallet_id, eon_number) DO UPDATE"
    " SET amount = EXCLUDED.amount, signature = EXCLUDED.signature WHERE EXCLUDED.amount < old.amount",
)
"""Keeps each wallet's smallest marker of an eon, of rows with one for each wallet and eon, in order."""

MATCHED = Kept(
    "matched",
    ["bigint[]", "numeric[]", "numeric[]", "boolean[]", "bigint[]"],
    "UPDATE ledger_transfer t SET matched_out = n.matched_out, matched_in = n.matched_in, complete = n.complete,"
    " arrival = COALESCE(n.arrival, t.arrival)"
    " FROM unnest($1, $2, $3, $4, $5) n (id, matched_out, matched_in, complete, arrival) WHERE t.id = n.id",
)
FULFILLED = Kept(
    "fulfilled",
    ["bigint[]", "bytea[]"],
    "UPDATE ledger_activestate s SET operator_signature = n.signature"
    " FROM unnest($1, $2) n (id, signature) JOIN ledger_transfer t ON t.id = n.id"
    " WHERE s.id = t.recipient_fulfillment_active_state_id RETURNING t.id, s.id",
)
VOID_LATER = Kept(
    "void_later_rows",
    ["uuid[]"],
    "UPDATE ledger_transfer l SET voided = true, processed = true FROM ledger_transfer t"
    " WHERE t.tx_id = ANY($1) AND t.appended AND l.tx_id = ANY($1) AND l.tx_id = t.tx_id AND NOT l.processed"
    " AND NOT l.appended AND l.eon_number + 0 > t.eon_number",
)


STATE_COLUMNS = (
    "id, wallet_id, eon_number, updated_spendings, updated_gains, tx_set_hash, tx_set_index, tx_set_proof,"
    " wallet_signature, operator_signature, time"
)
ORDER_COLUMNS = (
    "id, tx_id, wallet_id, recipient_id, eon_number, amount, amount_swapped, nonce, sell_order,"
    " sender_active_state_id, recipient_active_state_id, recipient_fulfillment_active_state_id, time,"
    " sender_starting_balance, recipient_starting_balance, appended, verified, debit_marker_signature,"
    " credit_marker_signature, passive, swap, processed, complete, cancelled, voided, prior_out, prior_in,"
    " matched_out, matched_in"
)
