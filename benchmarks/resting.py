"""A book of many resting orders, written set-wise in seconds, and how long the matching takes to read it."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from django.db import connection, transaction

ROUNDS = 5

WRITE = """
CREATE TEMP TABLE trader AS
SELECT n, nextval('ledger_wallet_id_seq') AS debit, nextval('ledger_wallet_id_seq') AS credit,
    nextval('ledger_activestate_id_seq') AS given, nextval('ledger_activestate_id_seq') AS got,
    nextval('ledger_activestate_id_seq') AS fulfilled, n %% 2 AS side, 10^18 + n AS amount,
    floor((10^18 + n) * (1.1 + (n * 7919 %% 1000003) / 1000003.0)) AS wanted
FROM generate_series(1, %(count)s) n;
INSERT INTO ledger_wallet (id, token_id, address, trail_identifier, registration_eon_number,
    registration_authorization, registration_operator_authorization)
SELECT wallet, token, substring(sha256(n::text::bytea) FROM 1 FOR 20), n, 1, fake, fake
FROM (SELECT n, debit AS wallet, CASE side WHEN 0 THEN %(first)s ELSE %(second)s END AS token FROM trader UNION ALL
    SELECT n, credit, CASE side WHEN 0 THEN %(second)s ELSE %(first)s END FROM trader) w,
    (SELECT decode(repeat('11', 65), 'hex') AS fake) f;
INSERT INTO ledger_activestate (id, wallet_id, eon_number, updated_spendings, updated_gains, tx_set_hash,
    tx_set_index, tx_set_proof, wallet_signature, operator_signature, time)
SELECT id, wallet, 1, 0, 0, sha256(id::text::bytea), 0, '', fake, fake, now()
FROM (SELECT given AS id, debit AS wallet FROM trader UNION ALL SELECT got, credit FROM trader
    UNION ALL SELECT fulfilled, credit FROM trader) s, (SELECT decode(repeat('11', 65), 'hex') AS fake) f;
INSERT INTO ledger_transfer (tx_id, wallet_id, recipient_id, eon_number, amount, amount_swapped, nonce, sell_order,
    sender_active_state_id, recipient_active_state_id, recipient_fulfillment_active_state_id, time,
    sender_starting_balance, recipient_starting_balance, appended, verified, passive, swap, processed, complete,
    cancelled, voided, prior_out, prior_in, matched_out, matched_in, arrival)
SELECT gen_random_uuid(), debit, credit, 1, amount, wanted, n, true, given, got, fulfilled, now(), amount, 0, true,
    true, false, true, false, false, false, false, 0, 0, 0, 0, nextval('ledger_arrival_seq') FROM trader;
DROP TABLE trader;
"""


def measure(play: Any, count: int) -> dict[str, Any]:
    """Medians of reading the book of a market of its own, half of its orders on each side, nearly each at its own
    price, in seconds."""
    from swapper.books import Market, read_book

    first, second = (play.add_token(bytes([mark]) * 20, f"Token {mark}", f"T{mark}").pk for mark in (1, 2))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(WRITE, {"count": count, "first": first, "second": second})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    market = Market(*sorted((first, second)))
    whole, python = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        book = read_book(market, 1)
        whole.append(time.perf_counter() - began)
        python.append(time.process_time() - used)
        assert len(book) == count
    return {"resting": count, "seconds": round(median(whole), 2), "cpu_in_python": round(median(python), 2)}
