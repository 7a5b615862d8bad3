"""The start of a hub whose database holds many wallets and open orders.

    python -m benchmarks.start [--wallets 1000000] [--orders 100000]

A development hub of its own is started, filled with rows, ended and started again; the figures include PostgreSQL,
Redis, the node and all processes. Beside them stands the same start before there were any rows. Of the processes'
time, only what depends on the number of rows differs between the two.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import psycopg2

from benchmarks.common import conditions, report, start_django
from scripts.hub.stack import Stack
from scripts.hub.wire import status

BLOCKS_PER_EON = 100_000
"""No eon ends meanwhile."""
LONGEST = 600.0
"""Seconds to wait for anything."""
POLL = 0.05

CURRENCIES = """
INSERT INTO ledger_token (address, trail, name, short_name, block, wallet_count)
SELECT substring(sha256(n::text::bytea) FROM 1 FOR 20), n, 'Token ' || n, 'T' || n, 0, 0
FROM generate_series(1000, 1001) n RETURNING id
"""
PAIRS = """
INSERT INTO ledger_tokenpair (token_from_id, token_to_id, conduit, paused, passes)
VALUES (%(first)s, %(second)s, '\\x0101010101010101010101010101010101010101', true, 0),
    (%(second)s, %(first)s, '\\x0202020202020202020202020202020202020202', true, 0)
"""
ALLOT = """
INSERT INTO ledger_exclusivebalanceallotment (wallet_id, eon_number, "left", "right", passive_amount,
    passive_marker)
SELECT id, 1, 0, 0, 0, 0 FROM ledger_wallet WHERE token_id = %(token)s
"""
ARRIVE = """
INSERT INTO ledger_account (wallet_id, eon_number, opening, deposited, withdrawn, spent, gained, received, swapped,
    set_size, set_peaks, passive_marker)
SELECT wallet_id, 1, amount, 0, 0, 0, 0, 0, 0, 0, '', 0 FROM ledger_transfer
WHERE id = (SELECT max(id) FROM ledger_transfer);
UPDATE ledger_transfer SET arrival = NULL WHERE id = (SELECT max(id) FROM ledger_transfer);
"""
"""Has the newest order arrive at a book that is read from the database, once the market is not paused."""
OPEN = "UPDATE ledger_tokenpair SET paused = false"


def fill(url: str, wallets: int, orders: int) -> None:
    """Wallets of Ether with deposits, accounts and allotments, and a market of two other tokens with orders."""
    from benchmarks.population import DEPOSIT, REGISTER
    from benchmarks.resting import WRITE

    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM ledger_token ORDER BY trail LIMIT 1")
        (token,) = cursor.fetchone() or (0,)
        cursor.execute(REGISTER, {"token": token, "count": wallets, "deposit": DEPOSIT})
        cursor.execute(ALLOT, {"token": token})
        cursor.execute(CURRENCIES)
        (first,), (second,) = cursor.fetchall()
        cursor.execute(WRITE, {"count": orders, "first": first, "second": second})
        cursor.execute(PAIRS, {"first": first, "second": second})
        cursor.execute(ARRIVE)
    connection.close()
    _maintain(url)


def _maintain(url: str) -> None:
    """What autovacuum has done before a hub is started again."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    connection.close()


def _wait(began: float, what: str, done: Any) -> float:
    """Seconds since `began` until it is done."""
    while not done():
        if time.monotonic() - began > LONGEST:
            raise TimeoutError(f"{what} took more than {LONGEST:.0f} s")
        time.sleep(POLL)
    return round(time.monotonic() - began, 2)


def _matched(connection: Any) -> bool:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM ledger_transfer WHERE swap AND NOT processed AND appended AND arrival IS NULL"
        )
        return bool(cursor.fetchone() == (0,))


def _opened(url: str) -> bool:
    """Open the markets, as soon as PostgreSQL runs; the matching starts seconds later."""
    try:
        connection = psycopg2.connect(url)
    except psycopg2.OperationalError:
        return False
    with connection, connection.cursor() as cursor:
        cursor.execute(OPEN)
    connection.close()
    return True


def start(stack: Stack, url: str, orders: bool) -> dict[str, float]:
    """Start the ended hub, whose database `url` names, again; the seconds until it said that it was ready, and
    until the matching had read its book."""
    began = time.monotonic()
    stack.start(wait=False)
    if orders:
        _wait(began, "PostgreSQL", lambda: _opened(url))
    found = {"ready": _wait(began, "the start", lambda: status(stack.hub_url + "health/ready") == 200)}
    if orders:
        connection = psycopg2.connect(url)
        found["book_read"] = _wait(began, "the book", lambda: _matched(connection))
        connection.close()
    stack.wait_ready(LONGEST)
    return found


def measure(wallets: int, orders: int) -> dict[str, Any]:
    start_django()
    with Stack(block_time=1.0, blocks_per_eon=BLOCKS_PER_EON) as stack:
        url = stack.database_url
        stack.stop()
        empty = start(stack, url, orders=False)
        began = time.monotonic()
        fill(url, wallets, orders)
        filled = time.monotonic() - began
        stack.stop()
        return {
            "wallets": wallets,
            "open_orders": orders,
            "seconds_without_rows": empty,
            "seconds": start(stack, url, orders=True),
            "set_up_seconds": round(filled, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=100_000)
    arguments = parser.parse_args()
    begin = conditions()
    os.environ.setdefault("SLA_THRESHOLD", str(10**6))
    report("start", begin, measure(arguments.wallets, arguments.orders))


if __name__ == "__main__":
    main()
