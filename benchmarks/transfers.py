"""Transfers accepted a second through HTTP: signed beforehand, countersigned and durable when they are answered.

    python -m benchmarks.transfers [--senders 400] [--each 10] [--connections 1 8 32 64]

Senders and recipients are pairs, so that the positions a sender must know for its next transfer are known before.
The server is started as the hub starts it; generator, server and PostgreSQL share the machine's cores.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from benchmarks import signatures
from benchmarks.common import conditions, ledger_database, postgres_conditions, report
from benchmarks.server import load, request, server

AMOUNT = 10**24
BULK = 200
"""Wallets admitted at a time."""


def prepare(senders: int, each: int, runs: int) -> list[list[list[Any]]]:
    """A ledger with pairs of wallets, and for each run the bodies of every sender's transfers, in order."""
    from operator_api.simulation.play import Play
    from operator_api.simulation.wallets import transfer_body

    play = Play()
    players = [player for _ in range(2 * senders * runs // BULK + 1) for player in play.register(BULK)]
    scripts: list[list[list[Any]]] = []
    for run in range(runs):
        chains = []
        for pair in range(senders):
            sender, recipient = players[2 * (run * senders + pair) :][:2]
            play.deposit(sender, AMOUNT)
            bodies, received = [], 0
            for amount in range(1, each + 1):
                command = sender.transfer(recipient.owner, amount, marker=AMOUNT // 2)
                sender.accepted(command, received)
                received += amount
                bodies.append(transfer_body(command))
            chains.append(bodies)
        scripts.append(chains)
    return scripts


def measure(senders: int, each: int, connections: list[int]) -> dict[str, Any]:
    with ledger_database() as url:
        from ledger.models import Transfer

        bound = signatures.measure(0.5, 3)
        warm_up, *scripts = prepare(senders, each, len(connections) + 1)
        with server(url, {"SLA_THRESHOLD": str(10**6)}) as port:

            def requests(script: list[list[Any]]) -> list[list[bytes]]:
                return [[request("POST", "/transfer/", port, body) for body in chain] for chain in script]

            load(requests(warm_up[: max(connections)]), port, max(connections))
            before = Transfer.objects.count()
            runs = [
                load(requests(script), port, count)
                for script, count in zip(scripts, connections, strict=True)
            ]
        stored = Transfer.objects.count() - before
        accepted = sum(run["accepted"] for run in runs)
        assert stored == accepted, f"{accepted} accepted, {stored} stored"
        return {"signature_bound": bound, "postgresql": postgres_conditions(), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--senders", type=int, default=400)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 64])
    arguments = parser.parse_args()
    start = conditions()
    os.environ["SLA_THRESHOLD"] = str(10**6)
    report("transfers", start, measure(arguments.senders, arguments.each, arguments.connections))


if __name__ == "__main__":
    main()
