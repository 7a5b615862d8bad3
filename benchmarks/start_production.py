"""The start of the production hub, `./run.sh prod`, whose database holds many wallets and open orders.

    python -m benchmarks.start_production [--wallets 1000000] [--orders 100000] [--starts 3]

PostgreSQL, Redis and an Ethereum node run already, as an operator's do, and the tables are migrated. Each start
follows an orderly end: from the call of `./run.sh prod` until `/health/ready` answers 200. In it are the checks of
settings and servers; two server processes and the other five are started.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.common import conditions, report, start_django
from benchmarks.start import BLOCKS_PER_EON, LONGEST, POLL, fill
from scripts.hub.wire import status
from tests.production import Hub, Services


def start(hub: Hub) -> float:
    """Seconds until the ended hub was ready; it is ended again."""
    began = time.monotonic()
    try:
        hub.launch()
        while status(f"{hub.url}health/ready") != 200:
            hub.check_alive()
            if time.monotonic() - began > LONGEST:
                raise TimeoutError(f"the hub was not ready in {LONGEST:.0f} s: {hub.said()}")
            time.sleep(POLL)
        took = round(time.monotonic() - began, 2)
        hub.wait_ready()
        return took
    finally:
        hub.end()


def measure(wallets: int, orders: int, starts: int) -> dict[str, Any]:
    """The seconds of each start, without rows and with them."""
    start_django()
    with Services(blocks_per_eon=BLOCKS_PER_EON) as services:
        hub = Hub(services.folder, services.variables())
        hub.done("migrate")
        start(hub)  # registers the tokens, once
        empty = [start(hub) for _ in range(starts)]
        fill(services.database_url, wallets, orders)
        filled = [start(hub) for _ in range(starts)]
    return {
        "seconds_without_rows": {"starts": empty, "median": statistics.median(empty)},
        "wallets": wallets,
        "open_orders": orders,
        "seconds": {"starts": filled, "median": statistics.median(filled)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=1_000_000)
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--starts", type=int, default=3)
    arguments = parser.parse_args()
    begin = conditions()
    report("start_production", begin, measure(arguments.wallets, arguments.orders, arguments.starts))


if __name__ == "__main__":
    main()
