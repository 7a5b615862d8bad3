"""What each statement of a batch of transfers costs PostgreSQL: processor time of the connection's process.

    python -m benchmarks.statements [--batch 100] [--rounds 40]

The ledger is called in this process; Linux tells the time that a process ran (`schedstat`) before and after each
statement. What runs in PostgreSQL's other processes (the writer of the log, checkpoints) is not counted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2.extensions

from benchmarks.common import conditions, ledger_database, postgres_conditions, report

SPREAD = 10
"""Batches that pass until a wallet pays again."""
WARM_UP = 8
"""Batches before anything is measured."""
SHOWN = 60
"""Characters of a statement that name it."""


class Meter:
    """Microseconds of a process by what it did."""

    def __init__(self, process: int) -> None:
        self._file = Path(f"/proc/{process}/schedstat")
        self.used: dict[str, float] = defaultdict(float)

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        before = self._microseconds()
        try:
            yield
        finally:
            self.used[what[:SHOWN]] += self._microseconds() - before

    def _microseconds(self) -> float:
        return int(self._file.read_text().split()[0]) / 1000


def attach(meter: Meter) -> None:
    """Have the statements of this thread's connection measured."""
    from django.db import connection

    class Measured(psycopg2.extensions.cursor):
        def execute(self, query: Any, parameters: Any = None) -> None:
            with meter.measuring(str(query)):
                super().execute(query, parameters)

    connection.connection.cursor_factory = Measured


def measure(batch: int, rounds: int) -> dict[str, Any]:
    from ledger import store
    from ledger.sql import fetch
    from operator_api.simulation.play import Play

    play = Play()
    players = [player for _ in range(SPREAD) for player in play.register(batch)]
    for player in players:
        play.deposit(player, 10**9)
    meter = Meter(fetch("SELECT pg_backend_pid()")[0][0])
    attach(meter)
    python = 0.0
    for number in range(WARM_UP + rounds):
        if number == WARM_UP:
            meter.used.clear()
            python = 0.0
        first = number % (SPREAD - 1) * batch
        senders, recipients = players[first : first + batch], players[first + batch : first + 2 * batch]
        commands = [sender.transfer(to.owner, 1, 0) for sender, to in zip(senders, recipients, strict=True)]
        began = time.process_time()
        outcomes = store.execute(commands)
        python += time.process_time() - began
        for sender, command, outcome in zip(senders, commands, outcomes, strict=True):
            assert isinstance(outcome, store.StoredTransfer), outcome
            sender.accepted(command, outcome.event.position)
    count = rounds * batch
    return {
        "transfers": count,
        "batch": batch,
        "postgres_us_a_transfer": round(sum(meter.used.values()) / count, 1),
        "python_us_a_transfer": round(1e6 * python / count, 1),
        "statements_us_a_transfer": {what: round(used / count, 2) for what, used in meter.used.items()},
        "postgresql": postgres_conditions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    start = conditions()
    # No relay runs, so Redis is not asked.
    os.environ |= {"REDIS_URL": "redis://127.0.0.1:1", "SLA_THRESHOLD": "1000000"}
    with ledger_database():
        report("statements", start, measure(options.batch, options.rounds))


if __name__ == "__main__":
    main()
