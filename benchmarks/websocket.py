"""Events told to many websocket subscribers: how many a second, how late, and what a connection costs.

python -m benchmarks.websocket [--subscribers 10000] [--each 1] [--rate 1000] [--seconds 10]

Transfers that were written beforehand are put into the outbox: at a steady rate, each told on the streams of its
two wallets; then as many as in a second at once; then one event of the public stream, which everybody watches. A
frame's delay is counted from the commit of its event until the subscriber has it. There is a wallet for each so
many subscribers, and a transfer of each wallet.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, conditions, ledger_database, percentile, postgres_conditions, report
from benchmarks.meter import processor_seconds
from benchmarks.server import server, serving
from benchmarks.telling import redis, relay

TRANSFER = "TRANSFER_CONFIRMATION"
STEPS = 50
"""Transactions a second in which events are put."""


class Subscribers:
    """The process of the subscribers."""

    def __init__(self, port: int, streams: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.listeners", str(port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.process = psutil.Process(self._process.pid)
        self._send(json.dumps(streams))
        if self._receive() != "ready\n":
            raise RuntimeError("subscribers could not be connected")

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()

    def heard(self) -> list[tuple[float, int]]:
        """(time, event's id) of what came; waits until nothing more does. Raises RuntimeError if a connection was
        lost."""
        with tempfile.NamedTemporaryFile() as file:
            self._send(file.name)
            lost = json.loads(self._receive())["lost"]
            found: list[tuple[float, int]] = pickle.loads(Path(file.name).read_bytes())  # noqa: S301  # our own
        if lost:
            raise RuntimeError(f"{lost} connections were lost")
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


# ---- the hub's side ----------------------------------------------------------------------------------------------


def prepare(wallets: int) -> tuple[list[str], list[int]]:
    """The streams of wallets, and the ids of transfers that can be told: the first wallet pays the second, that one
    the third, and so on round."""
    from benchmarks.population import populate
    from ledger.models import Outbox, Transfer, Wallet
    from synchronizer.streams import name_of

    populate(wallets, share=1)
    Outbox.objects.all().delete()
    rows = list(Transfer.objects.order_by("wallet_id").values_list("pk", "wallet_id"))
    found = Wallet.objects.select_related("token").in_bulk([sender for _, sender in rows])
    return [name_of(found[sender]) for _, sender in rows], [pk for pk, _ in rows]


def put(event: str, ids: list[int]) -> float:
    """Events into the outbox, as a transaction that causes them does. When it was committed."""
    from django.db import transaction

    from ledger.models import Event
    from ledger.store import tell

    with transaction.atomic():
        tell(*((Event(event), row) for row in ids))
    return time.time()


def resident(process: psutil.Process) -> int:
    """Bytes of memory."""
    return int(process.memory_info().rss)


class Run:
    """Subscribers, each of one wallet's stream and the public one, and what they hear."""

    def __init__(self, port: int, streams: list[str], relay_process: psutil.Process) -> None:
        server_now = serving(port)[0]
        self._idle, used = resident(server_now), processor_seconds(server_now)
        began = time.monotonic()
        self._subscribers = Subscribers(port, streams)
        self._opened = time.monotonic() - began
        self._opening = processor_seconds(server_now) - used
        self._count = len(streams)
        self._members = {
            "server": server_now,
            "relay": relay_process,
            "subscribers": self._subscribers.process,
        }

    def sizes(self) -> dict[str, Any]:
        """What the connections cost."""
        server_now = self._members["server"]
        connected = resident(server_now)
        return {
            "subscribers": self._count,
            "connected_per_second": round(self._count / self._opened),
            "server_processor_ms_per_connection": round(1000 * self._opening / self._count, 2),
            "server_idle_mib": round(self._idle / 2**20),
            "server_mib": round(connected / 2**20),
            "server_pss_mib": round(server_now.memory_full_info().pss / 2**20),
            "kib_per_connection": round((connected - self._idle) / 1024 / self._count, 1),
        }

    def tell(self, event: str, ids: list[int], rate: int, told_to: int) -> dict[str, Any]:
        """Put the events into the outbox at a rate, each id once; 0: all at once. Each is told to so many."""
        before = self._used()
        committed: dict[int, float] = {}
        step = max(1, rate // STEPS) if rate else len(ids)
        start = time.monotonic()
        for first in range(0, len(ids), step):
            some = ids[first : first + step]
            committed.update(dict.fromkeys(some, put(event, some)))
            if rate:
                time.sleep(max(0.0, start + (first + step) / rate - time.monotonic()))
        offered = time.monotonic() - start
        heard = self._subscribers.heard()
        after = self._used()
        if len(heard) != len(ids) * told_to:
            raise RuntimeError(f"{len(heard)} frames came of {len(ids) * told_to}")
        delays = sorted(at - committed[key] if key else at - max(committed.values()) for at, key in heard)
        lasted = max(at for at, _ in heard) - min(committed.values())
        return {
            "events_per_second": round(len(ids) / offered) if rate else "at once",
            "frames": len(heard),
            "frames_per_second": round(len(heard) / lasted),
            "p50_ms": round(1000 * percentile(delays, 0.5), 1),
            "p99_ms": round(1000 * percentile(delays, 0.99), 1),
            "slowest_ms": round(1000 * delays[-1], 1),
            "processor_seconds": {name: round(after[name] - before[name], 2) for name in after},
        }

    def _used(self) -> dict[str, float]:
        return {name: processor_seconds(process) for name, process in self._members.items()}

    def stop(self) -> None:
        self._subscribers.stop()


def measure(subscribers: int, each: int, rate: int, seconds: int) -> dict[str, Any]:
    """A run. Raises RuntimeError if a frame is missing or comes twice, or a connection is lost."""
    with redis() as redis_url:
        os.environ["REDIS_URL"] = redis_url
        with ledger_database() as url, relay() as relay_process:
            streams, transfers = prepare(subscribers // each)
            with server(url, {"REDIS_URL": redis_url}, processes=1) as port:
                run = Run(
                    port, [streams[number % len(streams)] for number in range(subscribers)], relay_process
                )
                try:
                    return run.sizes() | {
                        "steadily": run.tell(TRANSFER, transfers[: rate * seconds], rate, 2 * each),
                        "at once": run.tell(TRANSFER, transfers[:rate], 0, 2 * each),
                        "to everybody": run.tell("EON_STARTED", [2], 0, subscribers),
                        "afterwards": run.sizes(),
                        "postgresql": postgres_conditions(),
                    }
                finally:
                    run.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=1, help="subscribers of each wallet")
    parser.add_argument("--rate", type=int, default=1000, help="transfers a second")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    start = conditions()
    report(
        "websocket", start, measure(arguments.subscribers, arguments.each, arguments.rate, arguments.seconds)
    )


if __name__ == "__main__":
    main()
