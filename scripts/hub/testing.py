"""`./run.sh test`: linters, types and all tests, with PostgreSQL and Redis of their own beside a running hub."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scripts.hub import instance, ports, postgres, proc, redis
from scripts.hub.config import HUB_FOLDER, PORT_VARIABLES, Config, base_environment
from scripts.hub.errors import HubError, StopRequested
from scripts.hub.lane import Lane, side_by_side
from scripts.hub.progress import Progress
from scripts.hub.stack import STACKS
from scripts.hub.supervisor import Supervisor

RUNS = HUB_FOLDER / "test" / "runs"
SERVICE_SECONDS = 30.0
KEEP_SECONDS = 86_400.0
WORKERS = 2  # of a whole run: most tests of whole hubs wait for blocks, and leave the processors to others
MOST_WORKERS = 16
PLUGIN = "scripts.hub.workers"
SHARED_OUT = ("--dist", "loadfile", "--no-loadscope-reorder", "--max-worker-restart=0")
SUMMARY = ("--durations=25", "--durations-min=1")
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", "."))


def run(config: Config, arguments: list[str]) -> int:
    """Everything, or pytest alone if arguments are given; the exit code of the first that failed.

    HUB_TEST_WORKERS is how many processes share the tests: 2 of a whole run, 0 (no sharing) with arguments.
    """
    RUNS.mkdir(parents=True, exist_ok=True)
    for folders in (RUNS, STACKS):
        _remove_old(folders)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=RUNS))
    folder.chmod(0o755)
    numbers = dict(zip(PORT_VARIABLES, ports.free_ports(len(PORT_VARIABLES)), strict=True))
    own = replace(config, folder=folder, ports=numbers, database_url="", redis_url="", node_url="", test=True)
    progress = Progress(sys.stderr)
    supervisor = Supervisor(own.logs, progress.say)
    proc.adopt_orphans()

    def request_stop(_number: int, _frame: object) -> None:
        supervisor.stop_requested = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, request_stop)
    with instance.hold(folder):
        try:
            return _with_services(own, supervisor, progress, arguments)
        except StopRequested:
            return 130
        finally:
            supervisor.stop()
            instance.reset(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _remove_old(folders: Path) -> None:
    """Delete what killed runs and failed stacks left a day ago and more; a living one holds its lock."""
    for folder in folders.glob("*"):
        lock = folder / "run" / "lock"
        try:
            old = time.time() - folder.stat().st_mtime > KEEP_SECONDS
            if not old or not lock.exists():
                continue
            with instance.hold(folder):
                instance.reset(folder)
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, HubError):
            continue


def _with_services(config: Config, supervisor: Supervisor, progress: Progress, arguments: list[str]) -> int:
    workers = _workers(arguments)
    with progress.step("PostgreSQL and Redis for tests"):
        server = postgres.prepare(config)
        supervisor.start(server.program, SERVICE_SECONDS)
        postgres.make_database(server.url)
        redis_urls = [_start_redis(config, supervisor, number) for number in range(max(workers, 1))]
    environment = base_environment() | {
        "DATABASE_URL": server.url,
        "REDIS_URL": redis_urls[0],
        "HUB_TEST": "1",
    }
    environment["HUB_BEAT_SCHEDULE_FILE"] = str(config.run / "beat-schedule")
    environment["HUB_TEST_REDIS_URLS"] = " ".join(redis_urls)
    shared = ["-n", str(workers), *SHARED_OUT] if workers else []
    tests = [sys.executable, "-m", "pytest", "-p", PLUGIN, *shared, *(arguments or SUMMARY)]
    lanes = [Lane([tests], environment)]
    if not arguments:
        checks = [[sys.executable, "-m", *check] for check in CHECKS]
        lanes.append(Lane(checks, environment, config.logs / "checks.log"))

    def watch() -> None:
        if supervisor.stop_requested:
            raise StopRequested
        supervisor.check()

    try:
        return side_by_side(lanes, watch)
    finally:
        _end_orphans(supervisor)


def _workers(arguments: list[str]) -> int:
    """How many workers play the tests; 0 for pytest's one process. Raises HubError."""
    text = os.environ.get("HUB_TEST_WORKERS", "") or ("0" if arguments else str(WORKERS))
    if not text.isdigit() or int(text) > MOST_WORKERS:
        raise HubError(f"HUB_TEST_WORKERS must be a whole number up to {MOST_WORKERS}, and is {text!r}.")
    return int(text)


def _start_redis(config: Config, supervisor: Supervisor, number: int) -> str:
    """Start a server for one worker; its URL."""
    folder, (port,) = config.folder / f"redis-{number}", ports.free_ports(1)
    program, url = redis.prepare(replace(config, folder=folder, ports={**config.ports, "redis": port}))
    supervisor.start(replace(program, name=folder.name), SERVICE_SECONDS)
    return url


def _end_orphans(supervisor: Supervisor, seconds: float = 60.0) -> None:
    """End what a crashed test run left behind: every child that is not one of the services."""
    services = {slot.child.pid for slot in supervisor.slots.values() if slot.child}
    deadline = time.monotonic() + seconds
    asked: set[int] = set()
    while orphans := set(proc.children(os.getpid())) - services:
        late = time.monotonic() > deadline
        for pid in orphans:
            with suppress(OSError):
                if late or pid not in asked:
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                os.waitpid(pid, os.WNOHANG)
        asked |= orphans
        time.sleep(0.05)
