"""Transfers accepted a second through HTTP: signed beforehand, countersigned and durable when they are answered.

    python -m benchmarks.transfers [--senders 400] [--each 10] [--connections 1 8 32 64] [--processes 2] [--told]

Senders and recipients are pairs, so that the positions a sender must know for its next transfer are known before.
The server is started as the hub starts it; generator, server and PostgreSQL share the machine's cores. The bound of
a run is what signatures alone (two recoveries and one signature each) would allow on the cores that the generator
left. The last run is at 70 % of the rate of the fastest one, its latencies counted from when a request was due.
With `--told` the relay runs beside, as in a hub; what it needs is not left to the rest, and how far it is behind in
the end is measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil

from benchmarks import signatures
from benchmarks.common import conditions, ledger_database, postgres_conditions, report
from benchmarks.meter import processor_seconds
from benchmarks.server import PROCESSES, load, request, server
from benchmarks.telling import redis, relay
from scripts.hub.child import describe_end

AMOUNT = 10**24
BULK = 200
"""Wallets admitted at a time."""

POLL = 0.01
CALM = 0.7
"""The share of the fastest rate at which latencies are to be short."""


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


def posts(script: list[list[Any]], port: int) -> list[list[bytes]]:
    """The requests with a script's bodies."""
    return [[request("POST", "/transfer/", port, body) for body in chain] for chain in script]


def on_cores_left(bound: dict[str, Any], generator_cores: float) -> int:
    """Transfers a second that signatures alone would allow beside a generator that uses so many cores."""
    of_two: float = bound["2_threads"]["transfers_per_second_at_most"]
    return round(of_two / 2 * ((os.cpu_count() or 1) - generator_cores))


@contextmanager
def telling() -> Iterator[psutil.Popen]:
    """The relay, on the ledger of this process."""
    with redis() as url:
        os.environ["REDIS_URL"] = url
        with relay() as process:
            yield process


def run(requests: list[list[bytes]], port: int, teller: psutil.Popen | None, *load_as: Any) -> dict[str, Any]:
    """A run, until all that happened has been told if there is a relay. Raises RuntimeError if that one ends."""
    from ledger.models import Outbox

    before = processor_seconds(teller) if teller else 0.0
    found = load(requests, port, *load_as)
    if teller is not None:
        ended, waiting = time.monotonic(), Outbox.objects.count()
        while Outbox.objects.exists():
            if teller.poll() is not None:
                raise RuntimeError(f"the relay {describe_end(teller.returncode)}; see what it printed above")
            time.sleep(POLL)
        found["told_later_seconds"] = round(time.monotonic() - ended, 2)
        found["not_yet_told"] = waiting
        used = processor_seconds(teller) - before
        found["relay_cpu_ms_per_request"] = round(1000 * used / found["requests"], 3)
    return found


def measure(
    senders: int, each: int, connections: list[int], processes: int, told: bool = False
) -> dict[str, Any]:
    with ledger_database() as url, telling() if told else nullcontext() as teller:
        from ledger.models import Transfer

        bound = signatures.measure(0.5, 3)
        warm_up, *scripts, last = prepare(senders, each, len(connections) + 2)
        with server(url, {"SLA_THRESHOLD": str(10**6)}, processes) as port:
            run(posts(warm_up[: max(connections)], port), port, teller, max(connections))
            before = Transfer.objects.count()
            runs = [
                run(posts(script, port), port, teller, count)
                for script, count in zip(scripts, connections, strict=True)
            ]
            peak = max(runs, key=lambda one: one["accepted_per_second"])
            calm = CALM * peak["accepted_per_second"]
            runs.append(run(posts(last, port), port, teller, peak["connections"], calm))
        stored = Transfer.objects.count() - before
        bound = signatures.higher(bound, signatures.measure(0.5, 3))
        accepted = sum(one["accepted"] for one in runs)
        assert stored == accepted, f"{accepted} accepted, {stored} stored"
        for one in runs:
            one["bound_on_cores_left"] = on_cores_left(bound, one["generator_cores"])
            one["share_of_bound"] = round(one["accepted_per_second"] / one["bound_on_cores_left"], 2)
        return {
            "server_processes": processes,
            "signature_bound": bound,
            "postgresql": postgres_conditions(),
            "runs": runs,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--senders", type=int, default=400)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--processes", type=int, default=PROCESSES, help="of the server")
    parser.add_argument("--told", action="store_true", help="with the relay beside")
    arguments = parser.parse_args()
    start = conditions()
    os.environ["SLA_THRESHOLD"] = str(10**6)
    report("transfers", start, measure(**vars(arguments)))


if __name__ == "__main__":
    main()
