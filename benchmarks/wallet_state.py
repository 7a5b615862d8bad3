"""Wallet states read a second through HTTP, with proofs, among many wallets.

    python -m benchmarks.wallet_state [--wallets 100000] [--requests 3000] [--connections 1 8 32]

`--ledger URL` names a database that `benchmarks.population` has filled, in place of one of the benchmark's own.
"""

from __future__ import annotations

import argparse
import random
from contextlib import ExitStack
from typing import Any

from benchmarks.common import conditions, filled_database, ledger_database, postgres_conditions, report
from benchmarks.server import load, request, server

WARM_UP = 500


def measure(ledger: str, wallets: int, requests: int, connections: list[int]) -> dict[str, Any]:
    """Random wallets, in eon 3 (proof with the checkpoint's path) and, when they were active, in eon 2 (transfers
    with delivery proofs)."""
    with ExitStack() as stack:
        url = stack.enter_context(filled_database(ledger) if ledger else ledger_database())
        from django.conf import settings

        from benchmarks.population import ACTIVE_SHARE, make_checkpoint, populate
        from ledger.models import Wallet

        if not ledger:
            populate(wallets)
            make_checkpoint()
        token = settings.HUB_LQD_CONTRACT_ADDRESS.hex()
        everybody = dict(Wallet.objects.values_list("trail_identifier", "address"))
        active = [trail for trail in everybody if trail and trail % ACTIVE_SHARE == 0]
        port = stack.enter_context(server(url))

        def chains(path: str, trails: list[int], count: int) -> list[list[bytes]]:
            """Requests for random wallets, each in a chain of its own."""
            picked = (everybody[trail].hex() for trail in random.choices(trails, k=count))
            return [
                [request("GET", path.format(token=f"0x{token}", wallet=f"0x{wallet}"), port)]
                for wallet in picked
            ]

        def runs(path: str, trails: list[int]) -> list[dict[str, Any]]:
            load(chains(path, trails, WARM_UP), port, max(connections))
            return [load(chains(path, trails, requests), port, count) for count in connections]

        return {
            "wallets": len(everybody),
            "postgresql": postgres_conditions(),
            "proof_only": runs("/audit/3/{token}/{wallet}/", list(everybody)),
            "proof_and_transfers": runs("/audit/2/{token}/{wallet}/", active),
            "whois": runs("/audit/{token}/{wallet}/whois", list(everybody)),
            "status": runs("/audit/", [0]),
            "tokens": runs("/audit/tokens/", [0]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--ledger", default="", help="URL of a filled database, which stays as it is")
    arguments = parser.parse_args()
    start = conditions()
    found = measure(arguments.ledger, arguments.wallets, arguments.requests, arguments.connections)
    report("wallet_state", start, found)


if __name__ == "__main__":
    main()
