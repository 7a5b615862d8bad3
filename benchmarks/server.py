"""The hub's server process under load."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, percentile
from benchmarks.load import Chains

HOST = "127.0.0.1"
START_SECONDS = 60


@contextmanager
def server(database: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """The port of a server started as the hub starts it, on the database."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    settings = {
        **os.environ,
        "DATABASE_URL": database,
        "HUB_HOST": HOST,
        "HUB_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        **(environment or {}),
    }
    process = subprocess.Popen(
        ["bash", str(ROOT / "scripts" / "runserver.sh")],
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
        start_new_session=True,
    )
    try:
        _wait(port, process)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def request(method: str, path: str, port: int, body: Any = None) -> bytes:
    """A whole HTTP request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def load(chains: Chains, port: int, connections: int, rate: float = 0.0) -> dict[str, Any]:
    """Send the chains from a process of its own, at so many requests a second or (0) as fast as they are answered;
    rate, latencies in milliseconds, processor time of server and generator, and what went wrong."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(pickle.dumps(chains))
        command = [sys.executable, "-m", "benchmarks.load", file.name, HOST, str(port)]
        command += [str(connections), str(rate)]
        before = _processor_seconds(port)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        used = _processor_seconds(port) - before
    found = json.loads(done.stdout)
    latencies = sorted(found["latencies"])
    accepted = sum(count for status, count in found["statuses"].items() if int(status) < 300)
    return {
        "connections": connections,
        "offered_per_second": rate or None,
        "requests": len(latencies),
        "accepted": accepted,
        "accepted_per_second": round(accepted / found["seconds"], 1),
        "p50_ms": round(1000 * percentile(latencies, 0.50), 1),
        "p99_ms": round(1000 * percentile(latencies, 0.99), 1),
        "server_cpu_ms_per_request": round(1000 * used / len(latencies), 2),
        "generator_cpu_ms_per_request": round(1000 * found["processor_seconds"] / len(latencies), 3),
        "generator_cores": round(found["processor_seconds"] / found["seconds"], 2),
        "failures": found["failures"],
    }


def _processor_seconds(port: int) -> float:
    """Processor time used so far by the processes that listen on the port, with their children."""
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp4")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
    }
    total = 0.0
    for pid in pids - {None}:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            times = member.cpu_times()
            total += times.user + times.system
    return total
