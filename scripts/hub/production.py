"""`./run.sh prod ...`: the production hub on this host, with servers that the operator runs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scripts.hub import backup, environment, instance, proc, report
from scripts.hub.child import Program, tied
from scripts.hub.commands import become, become_manage, is_help, refuse_arguments
from scripts.hub.config import ROOT
from scripts.hub.environment import Production
from scripts.hub.errors import HubError, StopRequested
from scripts.hub.instance import Record
from scripts.hub.listening import Listener, open_listener
from scripts.hub.programs import SCRIPTS
from scripts.hub.progress import Progress
from scripts.hub.supervisor import POLL, Supervisor

USAGE = """usage: ./run.sh prod [COMMAND]

  (none)            check everything, then start all processes on this host and keep them running
  PROCESS           run one process in the foreground, its log on standard error: {processes}
  check             check the environment and the servers it names, and print all that is wrong
  migrate           bring the database's tables to this version
  prepare           check node, contract and database against each other, register tokens, publish the terms
  restart [NAME...] restart the running hub's processes, or those named, with the settings as they are now;
                    the server so that no request is lost
  stop              end the hub that runs on this host
  status            the state of each of its processes
  backup FILE       write the database to a file (pg_dump), while the hub runs
  restore FILE      replace the database by a backup; the hub is held until 'after-restore' decides
  after-restore     compare a restored database with the chain, report what is lost, decide ('--help')
  manage ARGS...    Django's manage.py
  help              this text

Settings: .env beside run.sh (or HUB_ENV_FILE) and the environment, see docs/configuration.md."""

STEP_SECONDS = 3600.0
READY_SECONDS = 180.0
STOP_SECONDS = 180.0
"""Longest wait for the end of the hub, besides HUB_DRAIN_SECONDS."""
WORKER_SECONDS = 60.0
"""Longest wait for a worker's running task when it is told to end."""
RESTART_SECONDS = 600.0
PATIENT = 10**9
"""Unexpected ends of a process that are put up with: in production it is started again for ever."""
START_DEATHS = 2


class ProductionHub:
    """All processes of one host under a supervisor. Use from one thread: `start`, then `watch`, and `stop` in any
    case."""

    def __init__(self, production: Production, progress: Progress) -> None:
        self.production = production
        self.progress = progress
        self.supervisor = Supervisor(production.logs, progress.say, self._tell)
        self.restart_requested = False
        self._record = Record(os.getpid(), proc.start_time(os.getpid()), production.hub_url)
        self._listener: Listener | None = None

    def _tell(self) -> None:
        self._record.processes = self.supervisor.records()
        instance.write(self.production.folder, self._record)

    def start(self) -> None:
        """Bring everything up. Raises HubError or StopRequested; call `stop` then."""
        self._tell()
        production = self.production
        self._listener = open_listener(production.host, production.port, production.server_processes)
        with self.progress.step("tables"):
            self._run("tables", "migrate", "--check", otherwise="run './run.sh prod migrate' first")
        with self.progress.step("chain, tokens and terms"):
            self._run("after_restore", "after_restore", "--detect")
            self._run("prepare", "prepare_hub")
        with self.progress.step("processes"):
            self.supervisor.limit = START_DEATHS
            for name in self._names():
                self.supervisor.start(self._program(name))
            for name in self._servers():
                self._await_server(name)
            self.supervisor.limit = PATIENT
        self._record.ready = True
        self._tell()

    def _run(self, name: str, *arguments: str, otherwise: str = "") -> None:
        try:
            self.supervisor.run_to_end([manage_program(self.production, name, *arguments)], STEP_SECONDS)
        except HubError as error:
            raise HubError(f"{error}\n{otherwise}".strip()) from None

    def _servers(self) -> list[str]:
        count = self.production.server_processes
        return ["server", *(f"server-{number}" for number in range(2, count + 1))]

    def _names(self) -> list[str]:
        return [*self._servers(), *(name for name in SCRIPTS if name != "server")]

    def _program(self, name: str) -> Program:
        if not name.startswith("server"):
            return worker_program(self.production, name)
        assert self._listener is not None
        return server_program(self.production, name, self._listener, self._servers().index(name))

    def _await_server(self, name: str) -> None:
        def serves() -> bool:
            slot = self.supervisor.slots[name]
            return slot.child is not None and slot.program.ready(slot.child.pid)

        log = self.supervisor.log(name)
        self.supervisor.wait_until(serves, READY_SECONDS, f"{name} does not serve (log: {log})")

    def watch(self) -> None:
        """Keep everything running until a stop is requested, and restart what `restart` asks for."""
        while not self.supervisor.stop_requested:
            time.sleep(POLL)
            self.supervisor.check()
            if self.restart_requested:
                self.restart_requested = False
                self._serve_restart()

    def _serve_restart(self) -> None:
        """Read the request, do it, and leave what came of it for the process that asked."""
        request = take_request(self.production.run)
        if request is None:
            return
        number, names = request
        try:
            self.production = self._settings_of_now()
            for name in self._chosen(names):
                self.progress.say(f"restarting {name}")
                if name.startswith("server"):
                    self.supervisor.replace(self._program(name), READY_SECONDS)
                else:
                    self.supervisor.restart(self._program(name))
            outcome = ""
        except (HubError, OSError) as error:
            outcome = str(error)
            self.progress.say(f"the restart failed: {outcome}")
        with suppress(OSError):  # who asked gives up waiting
            _write(self.production.run / "restarted.json", {"number": number, "error": outcome})

    def _settings_of_now(self) -> Production:
        """The settings. Raises HubError where they differ in what this process opened when it began."""
        found, used = environment.load(live=False), self.production
        fixed = {
            "HUB_DATA": found.folder == used.folder,
            "HUB_HOST": found.host == used.host,
            "HUB_PORT": found.port == used.port,
            "HUB_SERVER_PROCESSES": found.server_processes == used.server_processes,
        }
        if changed := [name for name, same in fixed.items() if not same]:
            raise HubError(
                f"{', '.join(changed)} changed: that takes effect when the hub is ended and started anew."
            )
        return found

    def _chosen(self, names: list[str]) -> list[str]:
        running = list(self.supervisor.slots)
        if not names:
            return running
        chosen = [
            running_name
            for running_name in running
            if running_name in names or (running_name.startswith("server-") and "server" in names)
        ]
        if unknown := set(names) - set(running):
            raise HubError(
                f"There is no process {', '.join(sorted(unknown))}; there are: {', '.join(running)}."
            )
        return chosen

    def stop(self) -> None:
        """End everything in order: what brings work first, then the workers."""
        self._record.ready = False
        workers = [name for name in SCRIPTS if name not in {"server", "scheduler"}]
        self.supervisor.stop([[*reversed(self._servers()), "scheduler"], workers])
        if self._listener is not None:
            self._listener.close()


def server_program(production: Production, name: str, listener: Listener, number: int) -> Program:
    """A server process on its sockets, the first of which has the number 0."""
    ready_file = production.run / f"{name}.ready"
    command = ["bash", str(ROOT / "scripts" / SCRIPTS["server"]), "--ready-file", str(ready_file)]
    command += listener.arguments(number)

    def ready(pid: int) -> bool:
        try:
            return ready_file.read_text(encoding="ascii") == str(pid)
        except OSError:
            return False

    return Program(
        name,
        command,
        production.environment,
        stop_seconds=production.drain_seconds + 35.0,
        ready=ready,
        inherit=listener.all_numbers,
    )


def worker_program(production: Production, name: str) -> Program:
    """A worker or the scheduler."""
    command = ["bash", str(ROOT / "scripts" / SCRIPTS[name])]
    return Program(name, command, production.environment, stop_seconds=WORKER_SECONDS)


def manage_program(production: Production, name: str, *arguments: str) -> Program:
    """A Django command that ends by itself."""
    return Program(name, [sys.executable, str(ROOT / "manage.py"), *arguments], production.environment)


def take_request(folder: Path) -> tuple[str, list[str]] | None:
    """The number of the restart that was asked for, and the names; None if there is none. It is taken once: a
    terminal that closes sends the same signal."""
    path = folder / "restart.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return str(raw["number"]), [str(name) for name in raw["names"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, content: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


# ---- commands ----------------------------------------------------------------------------------------------------


def start_all(_arguments: list[str]) -> int:
    """Start everything and keep it running until SIGTERM or Ctrl-C."""
    progress = Progress(sys.stdout)
    with progress.step("environment and servers"):
        production = environment.load(live=True)
    with instance.hold(production.folder, "./run.sh prod stop"):
        hub = ProductionHub(production, progress)

        def request_stop(_number: int, _frame: object) -> None:
            hub.supervisor.stop_requested = True

        def request_restart(_number: int, _frame: object) -> None:
            hub.restart_requested = True

        signal.signal(signal.SIGINT, request_stop)
        signal.signal(signal.SIGTERM, request_stop)
        signal.signal(signal.SIGHUP, request_restart)
        try:
            hub.start()
            progress.say(f"the hub serves {production.hub_url}; logs are in {production.logs}")
            hub.watch()
        except StopRequested:
            progress.say("stopped on request")
        finally:
            with progress.step("ending"):
                hub.stop()
    return 0


def run_one(name: str) -> int:
    """Become one process of the hub; returns only if that fails."""
    production = environment.load(live=False)
    instance.make_folders(production.folder)
    become(["bash", str(ROOT / "scripts" / SCRIPTS[name])], production.environment, ROOT)


def check(_arguments: list[str]) -> int:
    """Check environment and servers."""
    environment.load(live=True)
    print("The environment is right, and the servers it names answer.")
    return 0


def migrate(arguments: list[str]) -> int:
    """Migrate the database."""
    return manage(["migrate", "--no-input", *arguments])


def prepare(arguments: list[str]) -> int:
    """Look whether the database was restored, then prepare tokens and terms."""
    production = environment.load(live=False)
    detect = [sys.executable, str(ROOT / "manage.py"), "after_restore", "--detect"]
    code = subprocess.run(tied(detect), cwd=ROOT, env=production.environment, check=False).returncode
    return code or become_manage(["prepare_hub", *arguments], production.environment)


def manage(arguments: list[str]) -> int:
    """Become manage.py."""
    become_manage(arguments, environment.load(live=False).environment)


def restart(arguments: list[str]) -> int:
    """Ask the running hub to restart processes, and wait until it has. Restarts follow one another."""
    production = environment.load(live=False)
    record = instance.running(production.folder)
    if record is None:
        raise HubError("The hub is not running on this host: './run.sh prod' starts it.")
    number = str(time.time_ns())
    try:
        with (production.run / "restart.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write(production.run / "restart.json", {"number": number, "names": arguments})
            os.kill(record.pid, signal.SIGHUP)
            failure = _await_restart(production, record, number)
    except OSError as error:
        raise HubError(f"The running hub cannot be asked: {error}") from None
    if failure:
        raise HubError(f"The restart failed, and what was running goes on: {failure}")
    print("Restarted.")
    return 0


def _await_restart(production: Production, record: Record, number: str) -> str:
    """What failed in the restart of that number, once it was tried; empty if nothing. Raises HubError."""
    deadline = time.monotonic() + RESTART_SECONDS
    while record.alive and time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            answer = json.loads((production.run / "restarted.json").read_text(encoding="utf-8"))
            if answer["number"] == number:
                return str(answer["error"])
        time.sleep(0.1)
    raise HubError(f"The hub has not restarted its processes; see {production.logs}.")


def stop(_arguments: list[str]) -> int:
    """End the hub of this host."""
    found = environment.gather()[0]
    drain = found["HUB_DRAIN_SECONDS"]  # nothing is checked: a hub with a spoilt .env can be ended, too
    seconds = STOP_SECONDS + (int(drain) if drain.isdecimal() else 0)
    ended = instance.stop(environment.data_folder(found), seconds)
    print("The hub was ended." if ended else "The hub is not running.")
    return 0


def status(_arguments: list[str]) -> int:
    """Print the state of each process; 0 if all is well."""
    text, healthy = report.status(environment.data_folder(environment.gather()[0]))
    print(text)
    return 0 if healthy else 1


def after_restore(arguments: list[str]) -> int:
    """Report on a restored database, and decide."""
    return manage(["after_restore", *arguments])


ALONE = {"check", "stop", "status"}
"""Commands that take no arguments."""
OWN_HELP = {"migrate", "prepare", "after-restore", "manage"}
"""Commands of Django, which say themselves what they take."""
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "check": check,
    "migrate": migrate,
    "prepare": prepare,
    "restart": restart,
    "stop": stop,
    "status": status,
    "backup": backup.backup,
    "restore": backup.restore,
    "after-restore": after_restore,
    "manage": manage,
}


def run(arguments: list[str]) -> int:
    """One command of `./run.sh prod`; its exit code. Raises HubError."""
    if not arguments:
        return start_all([])
    name, rest = arguments[0], arguments[1:]
    usage = USAGE.format(processes=", ".join(SCRIPTS))
    if is_help(arguments) or (name in {*COMMANDS, *SCRIPTS} - OWN_HELP and is_help(rest)):
        print(usage)
        return 0
    if name in {*ALONE, *SCRIPTS}:
        refuse_arguments(f"prod {name}", rest)
    if name in SCRIPTS:
        return run_one(name)
    if name not in COMMANDS:
        raise HubError(f"There is no command {name!r}.\n\n{usage}")
    return COMMANDS[name](rest)
