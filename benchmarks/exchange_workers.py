"""What the accounting and the verifier worker do about orders, in processes of their own and without the rest.

    python -m benchmarks.exchange_workers match|verify

The tasks are those of `heartbeat.tasks`, called here instead of by Celery, until SIGTERM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import psutil

from benchmarks.common import ROOT, start_django
from benchmarks.meter import processor_seconds

PAUSE = 1.0
"""Seconds between two runs of the verification, as between two heartbeats."""


class Worker:
    """One of them, running."""

    def __init__(self, task: str, database: str) -> None:
        environment = {**os.environ, "DATABASE_URL": database, "LOG_LEVEL": "WARNING"}
        command = [sys.executable, "-m", "benchmarks.exchange_workers", task]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment)

    def processor_seconds(self) -> float:
        """Processor time used so far."""
        return processor_seconds(psutil.Process(self._process.pid))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def workers(database: str) -> Iterator[dict[str, Worker]]:
    """Both, by task."""
    made = {task: Worker(task, database) for task in ("match", "verify")}
    try:
        yield made
    finally:
        for worker in made.values():
            worker.end()


def main() -> None:
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    start_django()
    from ledger.verification import verify_orders
    from swapper import exchange_worker

    while not stop.is_set():
        if sys.argv[1] == "match":
            exchange_worker.run(60.0, stop)
        else:
            verify_orders()
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
