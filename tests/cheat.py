"""What a dishonest operator could do to its own database, for the tests that see it lose.

    python -m tests.cheat balance EON VICTIM THIEF AMOUNT     move AMOUNT of ether between two accounts of EON
    python -m tests.cheat delivery TRANSFER                   take a transfer back from its recipient
    python -m tests.cheat withhold                            keep checkpoints from being made, until it is ended

The database is that of DATABASE_URL. No part of the hub can do any of this.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from zlib import crc32

import psycopg2

TASK_LOCK = 2
"""`operator_api.locks.Lock.TASK`, under which each beat runs once at a time."""

ACCOUNT = """
    UPDATE ledger_account SET {column} = {column} + %s WHERE eon_number = %s AND wallet_id = (
        SELECT w.id FROM ledger_wallet w JOIN ledger_token t ON t.id = w.token_id
        WHERE t.trail = 0 AND w.address = %s)
"""


def change(cursor: Any, column: str, amount: int, eon: int, address: bytes) -> None:
    """Add to a column of an account, and fail if there is no such account."""
    cursor.execute(ACCOUNT.format(column=column), [amount, eon, address])
    assert cursor.rowcount == 1, (column, eon, address.hex())


def balance(cursor: Any, eon: str, victim: str, thief: str, amount: str) -> None:
    """Move money between accounts, so that the sum stays what the contract holds."""
    change(cursor, "opening", -int(amount), int(eon), bytes.fromhex(victim.removeprefix("0x")))
    change(cursor, "opening", int(amount), int(eon), bytes.fromhex(thief.removeprefix("0x")))


def delivery(cursor: Any, transfer: str) -> None:
    """Let the sender's state stand, but give the recipient nothing."""
    cursor.execute(
        "UPDATE ledger_transfer t SET voided = true FROM ledger_wallet s, ledger_wallet r"
        " WHERE t.id = %s AND s.id = t.wallet_id AND r.id = t.recipient_id"
        " RETURNING t.eon_number, t.amount, s.address, r.address",
        [int(transfer)],
    )
    eon, amount, sender, recipient = cursor.fetchone()
    change(cursor, "received", -int(amount), eon, bytes(recipient))
    change(cursor, "opening", int(amount), eon, bytes(sender))


COMMANDS: dict[str, Callable[..., None]] = {"balance": balance, "delivery": delivery}


def main(command: str, *arguments: str) -> None:
    """Run one of the commands."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        if command == "withhold":
            key = crc32(b"accounting") & 0x7FFFFFFF
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [TASK_LOCK, key])
            print("withholding", flush=True)
            signal.pause()
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger stops it
        COMMANDS[command](cursor, *arguments)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
