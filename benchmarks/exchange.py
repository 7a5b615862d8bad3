"""Orders accepted, matched and confirmed a second through HTTP, beside what the signatures alone would allow; and
how long a book of resting orders takes to be read from the database.

    python -m benchmarks.exchange [--orders 2000] [--connections 8 32] [--eons 1 5] [--resting 100000]

Orders are signed beforehand, each by a trader of its own, and match in pairs. An order is confirmed when it is
complete and its fulfilled state countersigned, on disk. The server is started as the hub starts it; it, the two
workers, PostgreSQL and the generator share the machine's cores.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import resting, signatures
from benchmarks.common import conditions, ledger_database, percentile, postgres_conditions, report
from benchmarks.exchange_workers import Worker, workers
from benchmarks.server import load, request, server

LQD = bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c")
BULK = 200
"""Wallets admitted at a time."""
WARM_UP = 200
"""Orders before anything is measured."""
UNIT = 10**18
PATIENCE = 300.0
"""Seconds after which orders that are not matched never will be."""


def market() -> Any:
    """A ledger with two tokens and both their pairs."""
    from ledger.models import TokenPair
    from operator_api.simulation.play import Play

    play = Play()
    play.add_token(LQD, "Liquid", "LQD")
    for given, wanted in (play.tokens, play.tokens[::-1]):
        TokenPair.between(given, wanted).save()
    return play


def prepare(play: Any, count: int, eons: int) -> list[Any]:
    """The bodies of orders that match in pairs, each of its own trader; sellers and buyers take turns."""
    from django.db import transaction

    from operator_api.simulation.traders import Trader, order_body

    bodies = []
    for start in range(0, count, BULK):
        traders = []
        for index in range(start, min(start + BULK, count)):
            debit, credit = play.tokens[index % 2], play.tokens[1 - index % 2]
            traders.append(Trader.create(play.contract, debit.address, credit.address))
        for side in (0, 1):
            half = traders[side::2]
            play.admit([one.debit for one in half], play.tokens[side])
            play.admit([one.credit for one in half], play.tokens[1 - side])
        with transaction.atomic():
            for one in traders:
                play.deposit(one.debit, UNIT)
        bodies += [order_body(one.place(UNIT, UNIT, eons)) for one in traders]
    return bodies


def measure_http(
    bodies: list[Any], eons: int, connections: int, port: int, running: dict[str, Worker]
) -> dict[str, Any]:
    """Send the orders and wait until the last is confirmed."""
    from ledger.sql import fetch

    (last,) = fetch("SELECT COALESCE(max(id), 0) FROM ledger_transfer")[0]
    used = {task: worker.processor_seconds() for task, worker in running.items()}
    chains = [[request("POST", "/swap/", port, body)] for body in bodies]
    result = load(chains, port, connections)
    confirmed, ended = _wait_for_matches(last, len(bodies) // 2 * 2)
    ((began,),) = fetch("SELECT min(time) FROM ledger_transfer WHERE id > %s", [last])
    waited = [
        float(seconds)
        for (seconds,) in fetch(
            "SELECT extract(epoch FROM m.time - t.time) FROM ledger_matching m"
            " JOIN ledger_transfer t ON t.id = m.taker_id WHERE m.taker_id > %s ORDER BY 1",
            [last],
        )
    ]
    used = {task: worker.processor_seconds() - used[task] for task, worker in running.items()}
    rate = confirmed / (ended - began).total_seconds()
    return {
        "eons": eons,
        **result,
        "confirmed": confirmed,
        "confirmed_per_second": round(rate, 1),
        "accepted_to_matched_p50_ms": round(1000 * percentile(waited, 0.50), 1),
        "accepted_to_matched_p99_ms": round(1000 * percentile(waited, 0.99), 1),
        "matching_cpu_ms_per_order": round(1000 * used["match"] / len(bodies), 2),
        "verifying_cpu_ms_per_order": round(1000 * used["verify"] / len(bodies), 2),
        "later_rows_verified_after_seconds": round(_wait_for_verification(ended), 1),
    }


def _wait_for_matches(last: int, wanted: int) -> tuple[int, Any]:
    """How many orders newer than the row `last` are complete, and when the last of them was matched."""
    from ledger.sql import fetch

    deadline = time.monotonic() + PATIENCE
    while True:
        ((confirmed,),) = fetch(
            "SELECT count(*) FROM ledger_transfer t JOIN ledger_activestate f"
            " ON f.id = t.recipient_fulfillment_active_state_id"
            " WHERE t.id > %s AND t.complete AND t.appended AND f.operator_signature IS NOT NULL",
            [last],
        )
        if confirmed >= wanted or time.monotonic() > deadline:
            ((ended,),) = fetch("SELECT max(time) FROM ledger_matching WHERE taker_id > %s", [last])
            return confirmed, ended
        time.sleep(0.1)


def _wait_for_verification(since: Any) -> float:
    from ledger.sql import fetch

    while fetch("SELECT 1 FROM ledger_transfer WHERE swap AND NOT processed AND verified IS NULL LIMIT 1"):
        time.sleep(0.1)
    ((seconds,),) = fetch("SELECT extract(epoch FROM now() - %s)", [since])
    return float(seconds)


def signature_bound(eons: list[int]) -> dict[str, Any]:
    """Five verifications an eon; the operator signs two states when it accepts and one when it is complete."""
    found = signatures.measure(0.5, 3)
    for rates in found.values():
        del rates["transfers_per_second_at_most"]
        recovered, signed = rates["recovered_per_second"], rates["signed_per_second"]
        for count in eons:
            rates[f"orders_of_{count}_eons_per_second_at_most"] = round(
                1 / (5 * count / recovered + 3 / signed)
            )
    return found


def measure(orders: int, connections: list[int], eons: list[int], count: int) -> dict[str, Any]:
    with ledger_database() as url:
        bound = signature_bound(eons)
        play = market()
        warm_up = prepare(play, WARM_UP, 1)
        scripts = [
            (some, many, prepare(play, orders, some)) for some in eons for many in connections if orders
        ]
        with server(url) as port, workers(url) as running:
            load([[request("POST", "/swap/", port, body)] for body in warm_up], port, max(connections))
            time.sleep(1)
            runs = [measure_http(bodies, some, many, port, running) for some, many, bodies in scripts]
        bound = signatures.higher(bound, signature_bound(eons))
        return {
            "signature_bound": bound,
            "postgresql": postgres_conditions(),
            "runs": runs,
            "book": resting.measure(play, count) if count else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--orders", type=int, default=2000, help="a run; 0: none")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--eons", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--resting", type=int, default=100_000, help="orders in the book; 0: no book")
    arguments = parser.parse_args()
    start = conditions()
    results = measure(arguments.orders, arguments.connections, arguments.eons, arguments.resting)
    report("exchange", start, results)


if __name__ == "__main__":
    main()
