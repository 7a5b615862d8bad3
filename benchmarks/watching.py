"""What the checks of the watch cost that add up whole tables, with many wallets, of which a tenth are active.

    python -m benchmarks.watching [--wallets 1000000]

Measured before and after the checkpoint of eon 3, and in the eon after; in PostgreSQL alone, the node is not asked.
`strongest_lock` is the strongest lock that a check takes on a table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.common import conditions, ledger_database, postgres_conditions, report

ROUNDS = 3


def _cost(work: Callable[[], object]) -> dict[str, Any]:
    from django.db import transaction

    from ledger.sql import fetch

    took = []
    for _ in range(ROUNDS):
        with transaction.atomic():
            began = time.perf_counter()
            work()
            took.append(time.perf_counter() - began)
            locks = fetch(
                "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL"
            )
    return {
        "median_seconds": round(median(took), 3),
        "slowest_seconds": round(max(took), 3),
        "strongest_lock": sorted(mode for (mode,) in locks)[-1],
    }


def _checks() -> dict[str, Any]:
    from heartbeat import checks, pool

    status = checks.chain_status()
    assert status is not None
    assert pool.ledger_unbalanced(status) == {}
    assert checks.states_differ(status) == {}
    return {
        "ledger unbalanced": _cost(lambda: pool.ledger_unbalanced(status)),
        "pool short": _cost(pool.due),
        "fills differ": _cost(lambda: checks.fills_differ(status)),
        "states differ": _cost(lambda: checks.states_differ(status)),
        "queue lag": _cost(lambda: checks.queue_lag(status, status.updated, status.updated)),
    }


def measure(count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures, and the settings of PostgreSQL."""
    with ledger_database():
        from benchmarks.population import make_checkpoint, populate

        play = populate(count)
        before = _checks()
        make_checkpoint()
        after = _checks()
        play.enter_next_eon()
        found = {"wallets": count, "before the checkpoint": before, "after it": after, "next eon": _checks()}
        return found, postgres_conditions()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, default=1_000_000)
    start = conditions()
    results, settings = measure(parser.parse_args().wallets)
    report("watching", start | {"postgresql": settings}, results)


if __name__ == "__main__":
    main()
