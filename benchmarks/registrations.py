"""Wallets registered a second through HTTP: signed beforehand, countersigned and durable when they are answered.

    python -m benchmarks.registrations [--wallets 8000] [--bulk 20] [--connections 1 8 32]

`--bulk` is the number of wallets in a request; with 1 each has a request of its own at /admission/. The bound is
what the signatures that a registration needs (the owner's two, verified, and the operator's) allow on the cores
that the generator leaves, measured in the same run. `cpu_to_signatures` is the processor time of server and
PostgreSQL in units of that of the signatures; it says the same on a busy machine.
"""

from __future__ import annotations

import argparse
from typing import Any

import psutil

from benchmarks import signatures
from benchmarks.common import conditions, ledger_database, postgres_conditions, report
from benchmarks.server import load, request, server

EON = 1


def sign(contract: bytes, terms: bytes, count: int) -> list[Any]:
    """The bodies of so many registrations of fresh wallets in Ether."""
    from operator_api.simulation.wallets import SimulatedWallet

    fresh = (SimulatedWallet.create(contract, contract) for _ in range(count))
    return [wallet.registration(EON, terms) for wallet in fresh]


def prepare(wallets: int, bulk: int, port: int, contract: bytes, terms: bytes) -> list[list[bytes]]:
    """The requests, each in a chain of its own."""
    bodies = sign(contract, terms, wallets)
    if bulk == 1:
        return [[request("POST", "/admission/", port, body)] for body in bodies]
    parts = (bodies[start : start + bulk] for start in range(0, wallets, bulk))
    return [[request("POST", "/admission/bulk/", port, {"admissions": part})] for part in parts]


def signatures_seconds() -> float:
    """Processor time of a registration's signatures, measured beside whatever else runs."""
    each = signatures.processor_seconds()
    return 2 * each["recovered"] + each["signed"]


def run(requests: list[list[bytes]], bulk: int, port: int, connections: int, each: float) -> dict[str, Any]:
    """One run; `each` is the processor time (seconds) of a registration's signatures."""
    from ledger.models import Wallet

    before = Wallet.objects.count()
    found = load(requests, port, connections)
    stored = Wallet.objects.count() - before
    assert stored == found["accepted"] * bulk, f"{found['accepted']} x {bulk} accepted, {stored} stored"
    cores = (psutil.cpu_count() or 1) - found["generator_cores"]
    rate = found["accepted_per_second"] * bulk
    bound = cores / each
    server, postgres = (found[f"{part}_cpu_ms_per_request"] / bulk for part in ("server", "postgres"))
    return {
        **found,
        "wallets_per_second": round(rate),
        "bound_per_second": round(bound),
        "share_of_bound": round(rate / bound, 3),
        "server_cpu_ms_per_wallet": round(server, 3),
        "postgres_cpu_ms_per_wallet": round(postgres, 3),
        "cpu_to_signatures": round((server + postgres) / 1000 / signatures_seconds(), 2),
    }


def measure(wallets: int, bulk: int, connections: list[int]) -> dict[str, Any]:
    wallets -= wallets % bulk
    with ledger_database() as url:
        from operator_api.simulation.play import Play
        from tos import services as tos

        play = Play()
        terms = tos.digest(play.config)
        bound = signatures.measure(0.5, 3)["1_threads"]
        each = 2 / bound["recovered_per_second"] + 1 / bound["signed_per_second"]
        with server(url, {"BULK_ADMISSION_LIMIT": str(max(bulk, 20))}) as port:

            def requests(count: int) -> list[list[bytes]]:
                return prepare(count, bulk, port, play.contract, terms)

            load(requests(bulk * 2 * max(connections)), port, max(connections))
            runs = [run(requests(wallets), bulk, port, count, each) for count in connections]
        return {"bulk": bulk, "signature_bound": bound, "postgresql": postgres_conditions(), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=8000, help="registered in each run")
    parser.add_argument("--bulk", type=int, default=20)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    start = conditions()
    report("registrations", start, measure(arguments.wallets, arguments.bulk, arguments.connections))


if __name__ == "__main__":
    main()
