"""Transfers accepted a second while somebody sends others with a signature that is not the sender's.

    python -m benchmarks.forged [--senders 1024] [--each 12] [--connections 512] [--rate 100] [--wallets 20 1024]

First without, then for each number of wallets with forged transfers, `--rate` of them a second in all, each in the
name of the next of so many wallets, until the others are done; all from one address, which is another one for each
number. A forged one is refused only once its batch is decided, since all signatures of a batch are verified
together; then it goes the general way to its answer.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

from benchmarks import transfers
from benchmarks.common import conditions, ledger_database, report
from benchmarks.server import PROCESSES, load, request, server

FORGERS = 32
"""Connections with forged transfers."""
SECONDS = 10.0
"""For which forged ones are sent; longer than the transfers take."""
FIGURES = ("accepted", "accepted_per_second", "p50_ms", "p99_ms")


def forged(body: dict[str, Any], port: int, address: str) -> bytes:
    """A transfer with its two signatures exchanged: both well formed, and neither of what it stands for. A proxy
    says that it comes from the address."""
    state, marker = body["debit_signature"], body["debit_balance_signature"]
    other = {**body, "debit_signature": marker, "debit_balance_signature": state}
    line = f"\r\nX-Forwarded-For: {address}\r\n"
    return request("POST", "/transfer/", port, other).replace(b"\r\n", line.encode(), 1)


def measure(senders: int, each: int, connections: int, rate: float, wallets: list[int]) -> dict[str, Any]:
    with ledger_database() as url:
        warm_up, *scripts, last = transfers.prepare(senders, each, len(wallets) + 3)
        with server(url, {"SLA_THRESHOLD": str(10**6)}) as port:

            def run(script: list[list[Any]]) -> dict[str, Any]:
                found = load(transfers.posts(script, port), port, connections)
                return {name: found[name] for name in FIGURES}

            def forge(count: int, address: str) -> dict[str, Any]:
                names = islice(cycle(range(count)), round(rate * SECONDS))
                return load([[forged(last[name][0], port, address)] for name in names], port, FORGERS, rate)

            run(warm_up[:connections])
            runs: list[dict[str, Any]] = [{"forged_wallets": 0, **run(scripts[0])}]
            for number, (count, script) in enumerate(zip(wallets, scripts[1:], strict=True), 1):
                with ThreadPoolExecutor(1) as beside:
                    forging = beside.submit(forge, count, f"192.0.2.{number}")
                    found = run(script)
                    if forging.done():
                        raise RuntimeError("the transfers took longer than the forged ones")
                refused = forging.result()
                assert not refused["accepted"], "a forged transfer was accepted"
                share = round(found["accepted_per_second"] / runs[0]["accepted_per_second"], 2)
                runs.append({"forged_wallets": count, **found, "share_of_rate_without": share})
                runs[-1]["forged"] = {"refused": refused["requests"], "p99_ms": refused["p99_ms"]}
        return {"server_processes": PROCESSES, "connections": connections, "rate": rate, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--senders", type=int, default=1024)
    parser.add_argument("--each", type=int, default=12)
    parser.add_argument("--connections", type=int, default=512)
    parser.add_argument("--rate", type=float, default=100, help="forged transfers a second")
    parser.add_argument("--wallets", type=int, nargs="+", default=[20, 1024], help="in whose names")
    arguments = parser.parse_args()
    if max(arguments.wallets) > arguments.senders:
        parser.error("--wallets: there are not so many --senders")
    start = conditions()
    os.environ["SLA_THRESHOLD"] = str(10**6)
    report("forged", start, measure(**vars(arguments)))


if __name__ == "__main__":
    main()
