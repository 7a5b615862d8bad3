"""One process under the supervisor: in a session of its own, and never outliving the supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.hub import proc
from scripts.hub.config import ROOT
from scripts.hub.errors import HubError

LAST_LINES = 15
KEEP_LOG = 20 * 1024 * 1024  # bytes of a log after which it is set aside


@dataclass(frozen=True)
class Account:
    """The operating-system user that a program runs as."""

    name: str
    uid: int
    gid: int


def _always(_pid: int) -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Program:
    """What to run, how to know that it serves, and how to end it.

    `stop_signal` asks it to end; `death_signal` is what the kernel sends it if the supervisor dies.
    `before` runs before each start. `ready(pid)` says whether it serves, and raises HubError if something else
    answers in its place. `inherit` are open files that it gets under the same numbers.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path = ROOT
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    before: Callable[[], None] = _nothing
    ready: Callable[[int], bool] = _always
    inherit: tuple[int, ...] = ()


@dataclass
class Child:
    """A running program. `began` is the kernel's start time, which with the pid names the process."""

    program: Program
    log: Path
    process: subprocess.Popen[bytes]
    began: int
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended; its pid cannot have been reused before it is reaped here."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def ask_to_end(self) -> None:
        """Send its stop signal; one that is stopped (SIGSTOP) goes on, so that it ends in order, too."""
        self.signal(self.program.stop_signal)
        self.signal(signal.SIGCONT)


def tied(command: list[str], death_signal: signal.Signals = signal.SIGTERM) -> list[str]:
    """The command as one that gets this signal when the process that starts it ends. Raises HubError."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise HubError("The program 'setpriv' (Debian package util-linux) is missing.")
    return [setpriv, "--pdeathsig", death_signal.name, "--", *command]


def spawn(program: Program, log: Path) -> Child:
    """Start the program with its output appended to the log. Call from a thread that lives on: the kernel's
    parent-death signal follows the thread that forked. Raises HubError."""
    program.before()
    account = program.account
    command = tied(program.command, program.death_signal)
    set_aside(log)
    try:
        log.parent.mkdir(exist_ok=True, mode=0o700)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=program.environment,
                cwd=program.folder,
                start_new_session=True,
                pass_fds=program.inherit,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
    except OSError as error:
        raise HubError(f"{program.name} cannot be started ({program.command[0]}): {error}") from error
    return Child(program, log, process, proc.start_time(process.pid))


def set_aside(log: Path) -> None:
    """Keep a large log as `NAME.log.1` and empty it; writers append, so they go on in the emptied file. Where there
    is no room for the copy it is left as it is."""
    copy = log.with_name(log.name + ".new")
    try:
        if log.stat().st_size <= KEEP_LOG:
            return
        shutil.copyfile(log, copy)
        copy.replace(log.with_name(log.name + ".1"))
        os.truncate(log, 0)
    except OSError:
        with suppress(OSError):
            copy.unlink()


def last_lines(log: Path, count: int = LAST_LINES) -> str:
    """The end of a log, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"    | {line}" for line in text.splitlines()[-count:])


def describe_end(code: int) -> str:
    """`ended with code 3` or `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
