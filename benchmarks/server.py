"""The hub's server process under load."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, percentile
from benchmarks.load import Chains
from benchmarks.meter import Meter
from scripts.hub.listening import Listener, open_listener
from scripts.hub.ports import free_ports

HOST = "127.0.0.1"
START_SECONDS = 60
PROCESSES = 2
"""As HUB_SERVER_PROCESSES has it."""

_serving: dict[int, list[subprocess.Popen[bytes]]] = {}
"""The processes that share each port."""


@contextmanager
def server(
    database: str, environment: dict[str, str] | None = None, processes: int = PROCESSES
) -> Iterator[int]:
    """The port that server processes share, started on the database as a production hub starts them."""
    settings = {**os.environ, "DATABASE_URL": database, "LOG_LEVEL": "WARNING", **(environment or {})}
    port = free_ports(1)[0]
    with (
        closing(open_listener(HOST, port, processes)) as listener,
        tempfile.TemporaryDirectory() as folder,
    ):
        started = [_start(settings, listener, number, Path(folder)) for number in range(processes)]
        _serving[port] = [process for process, _ in started]
        try:
            for process, ready in started:
                _wait(process, ready)
            yield port
        finally:
            for process in _serving.pop(port):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


def _start(
    settings: dict[str, str], listener: Listener, number: int, folder: Path
) -> tuple[subprocess.Popen[bytes], Path]:
    ready = folder / str(number)
    command = ["bash", str(ROOT / "scripts" / "runserver.sh"), f"--ready-file={ready}"]
    process = subprocess.Popen(
        [*command, *listener.arguments(number)],
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
        pass_fds=listener.all_numbers,
        start_new_session=True,
    )
    return process, ready


def _wait(process: subprocess.Popen[bytes], ready: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a server process did not start")
        time.sleep(0.1)


def request(method: str, path: str, port: int, body: Any = None) -> bytes:
    """A whole HTTP request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def load(chains: Chains, port: int, connections: int, rate: float = 0.0) -> dict[str, Any]:
    """Send the chains from a process of its own, at so many requests a second or (0) as fast as they are answered;
    rate, latencies in milliseconds, processor time of server, PostgreSQL and generator, and what went wrong."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(pickle.dumps(chains))
        command = [sys.executable, "-m", "benchmarks.load", file.name, HOST, str(port)]
        command += [str(connections), str(rate)]
        before = _processor_seconds(port)
        outputs: list[bytes] = []
        cost = Meter().cost(
            lambda: outputs.append(
                subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
            )
        )
        used = _processor_seconds(port) - before
    found = json.loads(outputs[0])
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
        "postgres_cpu_ms_per_request": round(1000 * cost.postgres / len(latencies), 3),
        "generator_cpu_ms_per_request": round(1000 * found["processor_seconds"] / len(latencies), 3),
        "generator_cores": round(found["processor_seconds"] / found["seconds"], 2),
        "failures": found["failures"],
    }


def serving(port: int) -> list[psutil.Process]:
    """The server processes that share the port."""
    return [psutil.Process(process.pid) for process in _serving[port]]


def _processor_seconds(port: int) -> float:
    """Processor time used so far by the processes that share the port, with their children."""
    total = 0.0
    for process in serving(port):
        for member in (process, *process.children(recursive=True)):
            times = member.cpu_times()
            total += times.user + times.system
    return total
