"""What one more transfer of a wallet costs, after few and after many of the eon.

    python -m benchmarks.growth [--histories 100 1000 10000] [--samples 200]

One at a time, through the store into PostgreSQL, signed beforehand. Transfers of a wallet with a long history and
the tenth or so of fresh wallets take turns, so that both meet the same database and the same load. Processor time
is that of this process and of its PostgreSQL server process; all figures are medians.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.common import conditions, ledger_database, postgres_conditions, report

if TYPE_CHECKING:
    from operator_api.simulation.play import Play

TENTH = range(5, 15)
"""The transfers of a fresh wallet that are measured."""
AT_ONCE = 50
"""Transfers written together while a history is made."""
AMOUNT = 10**24


class Cost(NamedTuple):
    """Of a transfer, in microseconds."""

    time: float
    python: float
    postgresql: float


class Payer:
    """A wallet that pays another one, with markers that fall as a client's do."""

    def __init__(self, play: Play) -> None:
        self.wallet, self.payee = play.register(2)
        play.deposit(self.wallet, AMOUNT)
        self.sent = self.received = 0

    def pay(self, count: int = 1) -> tuple[float, float]:
        """Send so many transfers together; the microseconds that the store took, and those of the processor in this
        process."""
        from ledger import store

        commands = []
        for _ in range(count):
            command = self.wallet.transfer(self.payee.owner, 1, marker=AMOUNT - self.sent - 1)
            self.wallet.accepted(command, self.received)
            commands.append(command)
            self.sent += 1
            self.received += 1
        began, used = time.perf_counter_ns(), time.process_time_ns()
        outcomes = store.execute(commands)
        took = (time.perf_counter_ns() - began) / 1e3, (time.process_time_ns() - used) / 1e3
        assert all(isinstance(outcome, store.StoredTransfer) for outcome in outcomes), outcomes
        return took


def _used(process: int) -> int:
    """Nanoseconds of processor time that a process has used."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])


def _measured(payer: Payer, backend: int) -> Cost:
    before = _used(backend)
    took, own = payer.pay()
    return Cost(took, own, (_used(backend) - before) / 1e3)


def _fresh(play: Play, count: int) -> Iterator[Payer]:
    for _ in range(count):
        payer = Payer(play)
        for _ in range(TENTH.start):
            payer.pay()
        yield payer


def compare(play: Play, history: int, samples: int, backend: int) -> dict[str, Any]:
    """A wallet around its transfer number `history` beside fresh ones around their tenth."""
    old = Payer(play)
    while old.sent < history - samples // 2:
        old.pay(min(AT_ONCE, history - samples // 2 - old.sent))
    late: list[Cost] = []
    early: list[Cost] = []
    for payer in _fresh(play, samples // len(TENTH)):
        for _ in TENTH:
            late.append(_measured(old, backend))
            early.append(_measured(payer, backend))
    costs = {"tenth": early, "late": late}
    found = {
        name: {field: round(median(getattr(cost, field) for cost in rows)) for field in Cost._fields}
        for name, rows in costs.items()
    }
    processor = {name: median(cost.python + cost.postgresql for cost in rows) for name, rows in costs.items()}
    return {
        "transfer_number": history,
        "microseconds": found,
        "times_the_tenth": {
            "processor": round(processor["late"] / processor["tenth"], 3),
            "time": round(found["late"]["time"] / found["tenth"]["time"], 3),
        },
    }


def _updates() -> dict[str, Any]:
    """Of the tables that transfers update: updates, and the share that left the indexes alone."""
    from ledger.sql import fetch

    rows = fetch(
        "SELECT relname, n_tup_upd, n_tup_hot_upd, pg_total_relation_size(relid) FROM pg_stat_user_tables"
        " WHERE relname IN ('ledger_account', 'ledger_minimumavailablebalance') ORDER BY 1"
    )
    return {
        table: {"updates": updates, "heap_only": round(hot / max(updates, 1), 3), "bytes": size}
        for table, updates, hot, size in rows
    }


def measure(histories: list[int], samples: int) -> dict[str, Any]:
    with ledger_database():
        from ledger.sql import fetch
        from operator_api.simulation.play import Play

        play = Play()
        ((backend,),) = fetch("SELECT pg_backend_pid()")
        runs = [compare(play, history, samples, backend) for history in histories]
        fetch("SELECT pg_stat_force_next_flush()")
        return {"postgresql": postgres_conditions(), "runs": runs, "updates": _updates()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--samples", type=int, default=200, help="measured transfers of each kind")
    arguments = parser.parse_args()
    start = conditions()
    os.environ["SLA_THRESHOLD"] = str(10**6)
    report("growth", start, measure(arguments.histories, arguments.samples))


if __name__ == "__main__":
    main()
