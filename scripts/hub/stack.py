"""A whole hub for tests: its own folder, its own free ports, started and ended by the test.

    with Stack(block_time=1, blocks_per_eon=30) as stack:
        requests.get(stack.hub_url + "audit/")
        stack.kill("server")
        stack.wait_ready()

It runs the same supervisor as `./run.sh`, as a process of its own, so killed programs are started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from scripts.hub import instance, place, ports, proc, wire
from scripts.hub.child import last_lines
from scripts.hub.config import HUB_FOLDER, PORT_VARIABLES, ROOT, base_environment
from scripts.hub.errors import HubError
from scripts.hub.instance import ProcessRecord, Record

STACKS = HUB_FOLDER / "test" / "stacks"
START_SECONDS = 300.0


class Stack:
    """A hub with PostgreSQL, Redis and node of its own.

    `block_time` in seconds, `blocks_per_eon` in blocks; `ports` by the names of `config.PORT_VARIABLES`, free ones
    by default; `environment` overrides or adds variables of the hub. A folder that is not given is deleted at the
    end; its logs stay for a day if something failed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        ports_by_name: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        block_time: float = 1.0,
        blocks_per_eon: int = 30,
    ) -> None:
        self._own_folder = folder is None
        if folder is None:
            STACKS.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="stack-", dir=STACKS))
            folder.chmod(0o755)  # a server's user must pass through
        self.folder = folder.resolve()
        self.block_time = block_time
        self.blocks_per_eon = blocks_per_eon
        chosen = dict(ports_by_name or {})
        missing = [name for name in PORT_VARIABLES if name not in chosen]
        chosen.update(zip(missing, ports.free_ports(len(missing), chosen.values()), strict=True))
        self.ports = chosen
        self._overrides = dict(environment or {})
        self._supervisor: subprocess.Popen[bytes] | None = None

    # -- life --------------------------------------------------------------------------------------------------

    def start(self, wait: bool = True) -> None:
        """Start the hub and wait until it is ready. Raises HubError with what the supervisor said."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            raise HubError(f"The stack in {self.folder} already runs.")
        environment = base_environment() | {
            "HUB_TEST": "1",
            "HUB_DATA": str(self.folder),
            "HUB_BLOCK_TIME": str(self.block_time),
            "HUB_BLOCKS_PER_EON": str(self.blocks_per_eon),
            **{variable: str(self.ports[name]) for name, variable in PORT_VARIABLES.items()},
            **self._overrides,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [
                    shutil.which("setpriv") or "setpriv",
                    "--pdeathsig",
                    "SIGTERM",
                    sys.executable,
                    "-m",
                    "scripts.hub",
                    "dev",
                ],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            self.wait_ready(START_SECONDS)

    def stop(self) -> None:
        """End the hub in order; its data stays."""
        if self._supervisor is None:
            return
        if self._supervisor.poll() is None:
            self._supervisor.terminate()
        try:
            self._supervisor.wait(instance.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        self._supervisor = None
        instance.end_leftovers(self.folder)

    def remove(self) -> None:
        """Delete the data and logs of a stopped stack."""
        instance.reset(self.folder)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self._leave(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(failed=kind is not None)

    def _leave(self, failed: bool) -> None:
        self.stop()
        if self._own_folder and failed:
            place.remove_data(self.folder)
        elif self._own_folder:
            self.remove()

    # -- acting on processes -------------------------------------------------------------------------------------

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process of the hub; its pid. The supervisor starts again what ends.

        Returns after the end of a process sent SIGKILL, so that `wait_ready` waits for its successor.
        """
        process = self.processes[name]
        if not process.alive:
            raise HubError(f"{name} does not run just now.")
        os.kill(process.pid, number)
        if number == signal.SIGKILL:
            self._wait(lambda: not process.alive, 10.0, f"{name} outlives SIGKILL")
        return process.pid

    def kill_supervisor(self) -> None:
        """`kill -9` of the supervisor; everything it started ends with it."""
        if self._supervisor is not None:
            self._supervisor.kill()
            self._supervisor.wait()

    def restart(self, name: str, seconds: float = 60.0) -> int:
        """End a process in order and wait until the supervisor has started it again; its new pid."""
        before = self.kill(name, self._stop_signal(name))
        return self.wait_restarted(name, before, seconds)

    @staticmethod
    def _stop_signal(name: str) -> signal.Signals:
        return signal.SIGINT if name == "postgres" else signal.SIGTERM

    def wait_restarted(self, name: str, before: int, seconds: float = 60.0) -> int:
        """Wait until the process runs with another pid than `before`; the new pid."""

        def again() -> bool:
            process = self.processes[name]
            return process.pid != before and process.alive

        self._wait(again, seconds, f"{name} was not started again")
        return self.processes[name].pid

    def wait_ready(self, seconds: float = 120.0) -> None:
        """Wait until every process runs and the hub answers. Raises HubError with the supervisor's last lines."""

        def ready() -> bool:
            record = self._record()
            if record is None or not record.ready:
                return False
            return all(process.alive for process in record.processes.values()) and self._answers()

        self._wait(ready, seconds, "The hub is not ready")

    def _answers(self) -> bool:
        return wire.status(self.hub_url + "audit/") == 200

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._supervisor is None or self._supervisor.poll() is not None:
                raise HubError(
                    f"The supervisor ended; its output {self.output} ends with\n{last_lines(self.output)}"
                )
            if time.monotonic() > deadline:
                raise HubError(
                    f"{what} after {seconds:.0f} s; {self.output} ends with\n{last_lines(self.output)}"
                )
            time.sleep(0.1)

    # -- looking -------------------------------------------------------------------------------------------------

    def _record(self) -> Record | None:
        """What this stack's supervisor wrote, not one before it."""
        record = instance.read(self.folder)
        mine = self._supervisor is not None and record is not None and record.pid == self._supervisor.pid
        return record if mine else None

    @property
    def output(self) -> Path:
        """What the supervisor printed."""
        return self.folder / "supervisor.log"

    @property
    def processes(self) -> dict[str, ProcessRecord]:
        """Each process by name: postgres, redis, node, server, scheduler, accounting, audit, chain, verifier."""
        record = self._record()
        return record.processes if record else {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the hub's processes were given."""
        record = self._record()
        if record is None or not record.environment:
            raise HubError("The stack does not run.")
        return record.environment

    @property
    def hub_url(self) -> str:
        """With the final slash."""
        return f"http://localhost:{self.ports['hub']}/"

    @property
    def node_url(self) -> str:
        return self.environment["HUB_ETHEREUM_NODE_URL"]

    @property
    def database_url(self) -> str:
        return self.environment["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return self.environment["REDIS_URL"]

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def listens(self, name: str, port: int) -> bool:
        """Whether that very process listens on the port."""
        return proc.listens(self.processes[name].pid, port)
