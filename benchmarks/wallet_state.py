"""Wallet states read a second through HTTP, with proofs, among many wallets.

python -m benchmarks.wallet_state [--wallets 100000] [--requests 3000] [--connections 1 8 32]
"""

from __future__ import annotations

import argparse
import random
from typing import Any

from benchmarks.common import conditions, ledger_database, postgres_conditions, report
from benchmarks.server import load, request, server


def measure(wallets: int, requests: int, connections: list[int]) -> dict[str, Any]:
    """Random wallets, in eon 3 (proof with the checkpoint's path) and, when they were active, in eon 2 (transfers
    with delivery proofs)."""
    with ledger_database() as url:
        from benchmarks.population import ACTIVE_SHARE, make_checkpoint, populate
        from ledger.models import Wallet

        play = populate(wallets)
        make_checkpoint()
        token = play.contract.hex()
        everybody = dict(Wallet.objects.values_list("trail_identifier", "address"))
        active = [trail for trail in everybody if trail and trail % ACTIVE_SHARE == 0]
        with server(url) as port:

            def chains(eon: int, trails: list[int], count: int) -> list[list[bytes]]:
                picked = random.choices(trails, k=count)
                paths = (f"/audit/{eon}/0x{token}/0x{everybody[trail].hex()}/" for trail in picked)
                return [[request("GET", path, port)] for path in paths]

            load(chains(3, list(everybody), 200), port, max(connections))
            return {
                "wallets": wallets,
                "postgresql": postgres_conditions(),
                "proof_only": [load(chains(3, list(everybody), requests), port, c) for c in connections],
                "proof_and_transfers": [load(chains(2, active, requests), port, c) for c in connections],
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    start = conditions()
    report("wallet_state", start, measure(arguments.wallets, arguments.requests, arguments.connections))


if __name__ == "__main__":
    main()
