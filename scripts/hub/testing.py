"""`./run.sh test`: linters, types and all tests, with PostgreSQL and Redis of their own beside a running hub."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from scripts.hub import instance, ports, postgres, proc, redis
from scripts.hub.config import HUB_FOLDER, PORT_VARIABLES, ROOT, Config, base_environment
from scripts.hub.errors import HubError, StopRequested
from scripts.hub.progress import Progress
from scripts.hub.stack import STACKS
from scripts.hub.supervisor import Supervisor

RUNS = HUB_FOLDER / "test" / "runs"
SERVICE_SECONDS = 30.0
KEEP_SECONDS = 86_400.0
CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy", "."))


def run(config: Config, arguments: list[str]) -> int:
    """Everything, or pytest alone if arguments are given; the exit code of the first that failed."""
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
    with progress.step("PostgreSQL and Redis for tests"):
        server = postgres.prepare(config)
        supervisor.start(server.program, SERVICE_SECONDS)
        postgres.make_database(server.url)
        program, redis_url = redis.prepare(config)
        supervisor.start(program, SERVICE_SECONDS)
    environment = base_environment() | {"DATABASE_URL": server.url, "REDIS_URL": redis_url, "HUB_TEST": "1"}
    environment["HUB_BEAT_SCHEDULE_FILE"] = str(config.run / "beat-schedule")
    commands = [[sys.executable, "-m", *check] for check in CHECKS] if not arguments else []
    commands.append([sys.executable, "-m", "pytest", *arguments])
    failed = 0
    for command in commands:
        code = _run(command, environment, supervisor)
        if code != 0:
            print(f"failed with code {code}: {' '.join(command[2:])}", file=sys.stderr, flush=True)
        failed = failed or code
    return failed


def _run(command: list[str], environment: dict[str, str], supervisor: Supervisor) -> int:
    """Run in the terminal's session, so that Ctrl-C reaches it too; watch the services meanwhile."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        while (code := process.poll()) is None:
            if supervisor.stop_requested:
                raise StopRequested
            supervisor.check()
            _sleep(process)
        return code
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _end_orphans(supervisor)


def _sleep(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return


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
