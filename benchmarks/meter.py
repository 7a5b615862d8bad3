"""What some work costs this process and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil


def processor_seconds(process: psutil.Process) -> float:
    """What it used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Cost:
    """What some work cost: processor seconds here and in PostgreSQL, bytes of log, bytes stored, seconds."""

    python: float
    postgres: float
    log: int
    stored: int
    seconds: float

    def each(self, count: int) -> dict[str, float]:
        """By item: milliseconds and bytes."""
        return {
            "python_ms": round(1000 * self.python / count, 3),
            "postgres_ms": round(1000 * self.postgres / count, 3),
            "log_bytes": round(self.log / count),
            "stored_bytes": round(self.stored / count),
            "elapsed_ms": round(1000 * self.seconds / count, 3),
        }


class Meter:
    """Processor time of a PostgreSQL server on this machine, of sessions that ended too."""

    def __init__(self) -> None:
        from ledger.sql import fetch

        self._server = psutil.Process(fetch("SELECT pg_backend_pid()")[0][0]).parent()

    def cost(self, work: Callable[[], Any]) -> Cost:
        from ledger.sql import fetch

        def now() -> tuple[float, float, int, int, float]:
            log, size = fetch(
                "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(current_database())"
            )[0]
            return time.process_time(), self._processor(), int(log), int(size), time.monotonic()

        before = now()
        work()
        after = now()
        return Cost(*(end - start for start, end in zip(before, after, strict=True)))  # type: ignore[arg-type]

    def _processor(self) -> float:
        assert self._server is not None
        total = 0.0
        for process in [self._server, *self._server.children()]:
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return float(total)
