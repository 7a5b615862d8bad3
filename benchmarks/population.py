"""A ledger with many wallets, written set-wise in seconds: what the hub would have written, but for signatures,
which nobody checks here and which are the same everywhere.

Eon 1: everybody registers and deposits. Eon 2: each tenth wallet pays the next such one. So the checkpoint of
eon 3 has balances from allotments and from accounts, active states and passive trees.

    DATABASE_URL=postgresql://... python -m benchmarks.population [--wallets 1000000]

stores one with that checkpoint in an empty database and leaves it there, for benchmarks that only read.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from django.db import connection, transaction

from benchmarks.common import start_django

if TYPE_CHECKING:
    from operator_api.simulation.play import Play

ACTIVE_SHARE = 10
"""One in so many wallets pays and is paid in eon 2."""
DEPOSIT = 10**18

REGISTER = """
INSERT INTO ledger_wallet (token_id, address, trail_identifier, registration_eon_number,
    registration_authorization, registration_operator_authorization)
SELECT %(token)s, substring(sha256(n::text::bytea) FROM 1 FOR 20), n, 1, fake, fake
FROM generate_series(1, %(count)s) n, (SELECT decode(repeat('11', 65), 'hex') AS fake) f;
UPDATE ledger_token SET wallet_count = %(count)s + 1 WHERE id = %(token)s;
INSERT INTO ledger_deposit (txid, log_index, block, eon_number, amount, time, token_id, address, wallet_id)
SELECT sha256(address), 0, 1, 1, %(deposit)s + trail_identifier, now(), token_id, address, id
FROM ledger_wallet WHERE trail_identifier > 0;
INSERT INTO ledger_account (wallet_id, eon_number, opening, deposited, withdrawn, spent, gained, received, swapped,
    set_size, set_peaks, passive_marker)
SELECT id, 1, 0, %(deposit)s + trail_identifier, 0, 0, 0, 0, 0, 0, '', 0
FROM ledger_wallet WHERE trail_identifier > 0;
"""

PAY = """
CREATE TEMPORARY TABLE payment AS
SELECT id AS sender, nextval('ledger_activestate_id_seq') AS state, trail_identifier AS amount,
    coalesce(lead(id) OVER (ORDER BY id), min(id) OVER ()) AS recipient
FROM ledger_wallet WHERE trail_identifier > 0 AND trail_identifier %% %(share)s = 0;
INSERT INTO ledger_activestate (id, wallet_id, eon_number, updated_spendings, updated_gains, tx_set_hash,
    tx_set_index, tx_set_proof, wallet_signature, operator_signature, time)
SELECT state, sender, 2, amount, 0, sha256(state::text::bytea), 0, '', fake, fake, now()
FROM payment, (SELECT decode(repeat('11', 65), 'hex') AS fake) f;
INSERT INTO ledger_transfer (tx_id, wallet_id, recipient_id, eon_number, amount, nonce, position,
    sender_active_state_id, time, passive, swap, processed, complete, cancelled, voided, appended, sell_order)
SELECT gen_random_uuid(), sender, recipient, 2, amount, state, 0, state, now(),
    true, false, true, true, false, false, true, true FROM payment;
INSERT INTO ledger_minimumavailablebalance (wallet_id, eon_number, amount, signature)
SELECT sender, 2, 0, decode(repeat('11', 65), 'hex') FROM payment;
INSERT INTO ledger_account (wallet_id, eon_number, opening, deposited, withdrawn, spent, gained, received, swapped,
    set_size, set_peaks, tail, passive_marker, active_state_id)
SELECT sent.sender, 2, a."right" - a."left", 0, 0, sent.amount, 0, got.amount, 0, 0, '', sha256('x'), 0, sent.state
FROM payment sent JOIN payment got ON got.recipient = sent.sender
    JOIN ledger_exclusivebalanceallotment a ON a.wallet_id = sent.sender AND a.eon_number = 2;
DROP TABLE payment;
"""


def populate(count: int, share: int = ACTIVE_SHARE) -> Play:
    """A play whose Ether has `count` wallets beside the operator's, in eon 3, whose checkpoint is due. One in
    `share` of them paid and was paid."""
    from operator_api.simulation.play import Play

    play = Play()
    values = {
        "token": play.tokens[0].pk,
        "count": count,
        "deposit": DEPOSIT,
        "share": share,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(REGISTER, values)
    _analyze()
    play.next_eon()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PAY, values)
    play.enter_next_eon()
    status = play.status
    status.refresh_from_db()
    status.confirmed_block = status.first_block_of(3) - 1
    status.save()
    _analyze()
    return play


def _analyze() -> None:
    """What autovacuum does on a server that lives longer than a benchmark."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def make_checkpoint() -> None:
    """The checkpoint of eon 3."""
    from ledger.checkpoint import create_checkpoint

    with transaction.atomic():
        create_checkpoint(3, 121)
    _analyze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if not os.environ.get("DATABASE_URL"):
        parser.error("DATABASE_URL names the empty database")
    start_django()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    populate(arguments.wallets)
    make_checkpoint()


if __name__ == "__main__":
    main()
