"""Moving the checkpoint of many wallets into a file and back: time, memory, bytes, and what writers notice.

    python -m benchmarks.archive [--wallets 100000 1000000]

Another process moves it, so that its peak memory is its own. Meanwhile somebody pays, one transfer after the other.
Then one checkpoint after the other is made and the oldest archived: how much the tables still grow.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.checkpoint import PROOFS, beside_writers, peak, table_sizes, verify
from benchmarks.common import conditions, ledger_database, postgres_conditions, report, start_django

EON = 3
"""Of the checkpoint that is moved: the newest but one."""
ROUNDS = 3


def move(what: str, directory: Path) -> None:
    """Archive or restore the checkpoint in this process, and print what it took."""
    start_django()
    from ledger.archive import archive, restore
    from ledger.store import chain_status

    chain_status()
    before, used, began = peak(), time.process_time(), time.perf_counter()
    found = (archive if what == "archive" else restore)(EON, directory)
    figures = {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - used, 2),
        "idle_memory_mib": round(before, 1),
        "peak_memory_mib": round(peak(), 1),
        "rows": found.rows,
        "file_bytes": found.size,
    }
    json.dump(figures, sys.stdout)


def measure(count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures, and the settings of PostgreSQL."""
    with ledger_database() as url, tempfile.TemporaryDirectory() as directory:
        from benchmarks.population import make_checkpoint, populate
        from ledger.archive import archive
        from ledger.sql import execute

        play = populate(count)
        players = play.register(2)
        play.deposit(players[0], 10**18)
        make_checkpoint()
        play.next_eon()
        sizes = [sum(table_sizes().values())]
        archived = beside_writers(play, players, url, "benchmarks.archive", "--archive", directory)
        for eon in range(EON + 1, EON + 1 + ROUNDS):
            execute("VACUUM")  # what autovacuum does
            play.next_eon()
            sizes.append(sum(table_sizes().values()))
            archive(eon, Path(directory))
        restored = beside_writers(play, players, url, "benchmarks.archive", "--restore", directory)
        verify(count)
        return {
            "wallets": count,
            "archived": {**archived, "file_bytes_per_wallet": round(archived["file_bytes"] / count, 1)},
            "restored": restored,
            "bytes_per_wallet_in_tables_of_three_checkpoints": [round(size / count, 1) for size in sizes],
            "proofs_verified": min(PROOFS, count),
        }, postgres_conditions()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, nargs="+", default=[100_000, 1_000_000])
    for what in ("archive", "restore"):
        parser.add_argument(f"--{what}", type=Path, help=f"{what} the checkpoint in DATABASE_URL")
    arguments = parser.parse_args()
    for what in ("archive", "restore"):
        if getattr(arguments, what):
            move(what, getattr(arguments, what))
            return
    os.environ["SLA_THRESHOLD"] = str(10**6)
    os.environ["HUB_CHAIN_STALL_SECONDS"] = "0"  # populating takes minutes, in which no block comes
    start = conditions()
    runs, settings = zip(*map(measure, arguments.wallets), strict=True)
    report("archive", start, {"postgresql": settings[0], "runs": runs})


if __name__ == "__main__":
    main()
