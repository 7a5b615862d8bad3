"""Keeps a set of programs running: starts them in order, starts again what dies, ends all in reverse order.

Nothing here knows what the programs are. All methods belong to one thread, which must live as long as the
programs shall (see `child.spawn`).
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.hub.child import Child, Program, describe_end, last_lines, set_aside, spawn
from scripts.hub.errors import HubError, StopRequested
from scripts.hub.instance import ProcessRecord

POLL = 0.1  # seconds between two looks at the children
DELAYS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before the first, second, ... restart
WINDOW = 120.0  # seconds within which deaths count as repeated
LOG_CHECK = 60.0  # seconds


@dataclass
class Slot:
    """A program and what has happened to it. `deaths` are times (monotonic seconds) of unexpected ends."""

    program: Program
    child: Child | None = None
    restarts: int = 0
    next_start: float = 0.0
    deaths: deque[float] = field(default_factory=deque)

    @property
    def state(self) -> str:
        return "running" if self.child is not None else "starting again"

    @property
    def record(self) -> ProcessRecord:
        pid, began = (self.child.pid, self.child.began) if self.child else (0, 0)
        return ProcessRecord(pid, began, self.state, self.restarts)


class Supervisor:
    """Runs programs whose logs go to `logs/NAME.log`.

    `say` gets a line for each event, `changed` is called after each change of a pid and may raise HubError; `limit`
    is how many unexpected ends of one program within WINDOW are too many.
    """

    def __init__(
        self,
        logs: Path,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        limit: int = len(DELAYS),
    ) -> None:
        self.logs = logs
        self.slots: dict[str, Slot] = {}
        self.limit = limit
        self.stop_requested = False
        self._say = say
        self._changed = changed
        self._leaving: list[Child] = []  # replaced, and not ended yet
        self._untold = False
        self._next_log_check = time.monotonic() + LOG_CHECK

    def log(self, name: str) -> Path:
        """Where the program's output goes."""
        return self.logs / f"{name}.log"

    def records(self) -> dict[str, ProcessRecord]:
        """The programs as others may see them."""
        return {name: slot.record for name, slot in self.slots.items()}

    def start(self, program: Program, seconds: float = 0.0) -> Child:
        """Start a program; with `seconds`, wait that long for it to be ready.

        Raises HubError with the end of its log if it ends or is not ready in time.
        """
        child = spawn(program, self.log(program.name))
        self.slots[program.name] = Slot(program, child)
        self._tell()
        self._await_ready(child, seconds)
        return child

    def _await_ready(self, child: Child, seconds: float) -> None:
        program = child.program
        deadline = time.monotonic() + seconds
        while seconds:
            code = child.ended()
            if code is not None:
                raise HubError(self._failure(program.name, describe_end(code)))
            if program.ready(child.pid):
                break
            if time.monotonic() > deadline:
                raise HubError(self._failure(program.name, f"does not answer after {seconds:.0f} s"))
            self._pause(program.name)

    def replace(self, program: Program, seconds: float) -> None:
        """Start a program beside the running one of its name and, once it is ready, end that one.

        Raises HubError if the new one is not ready in `seconds`; the old one goes on then.
        """
        slot = self.slots[program.name]
        child = spawn(program, self.log(program.name))
        try:
            self._await_ready(child, seconds)
        except BaseException:
            _end([child])
            raise
        old, slot.child, slot.program = slot.child, child, program
        slot.restarts += 1
        self._tell()
        if old is not None:
            self._see_off(old)

    def restart(self, program: Program) -> None:
        """End the running program of that name in order, then start this one in its place."""
        slot = self.slots[program.name]
        old, slot.child, slot.program, slot.next_start = slot.child, None, program, float("inf")
        if old is not None:
            self._see_off(old)
        slot.next_start = 0.0
        self.check()

    def _see_off(self, child: Child) -> None:
        """Ask a program that has been replaced to end, and watch the others until it has."""
        self._leaving.append(child)
        child.ask_to_end()
        deadline = time.monotonic() + child.program.stop_seconds
        while child.ended() is None:
            if time.monotonic() > deadline:
                child.signal(signal.SIGKILL)
                self._say(f"{child.program.name} did not end in time and was killed")
                deadline = float("inf")
            self._pause()
        self._leaving.remove(child)

    def _failure(self, name: str, what: str) -> str:
        lines = last_lines(self.log(name))
        return f"{name} {what}; its log {self.log(name)} ends with\n{lines}"

    def _pause(self, apart_from: str = "") -> None:
        if self.stop_requested:
            raise StopRequested
        time.sleep(POLL)
        self.check(apart_from)

    def wait_until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Watch the programs until the condition holds. Raises HubError after `seconds`, StopRequested."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise HubError(f"{what} after {seconds:.0f} s.")
            self._pause()

    def run_to_end(self, programs: list[Program], seconds: float) -> None:
        """Run programs that end by themselves, side by side, while watching the others. Raises HubError."""
        children: list[Child] = []
        try:
            for program in programs:
                children.append(spawn(program, self.log(program.name)))
            names = " and ".join(program.name for program in programs)
            self.wait_until(lambda: _finished(children), seconds, f"{names} has not ended")
        finally:
            _end(children)
        for child in sorted(
            children, key=lambda child: child.process.returncode < 0
        ):  # first what failed itself
            if child.process.returncode != 0:
                raise HubError(self._failure(child.program.name, describe_end(child.process.returncode)))

    def watch(self) -> None:
        """Keep the programs running until a stop is requested. Raises HubError when it gives one up."""
        while not self.stop_requested:
            time.sleep(POLL)
            self.check()

    def check(self, apart_from: str = "") -> None:
        """Note which programs died and start those whose time has come. Raises HubError when one is given up."""
        now = time.monotonic()
        for slot in self.slots.values():
            if slot.program.name == apart_from:
                continue
            code = slot.child.ended() if slot.child else None
            if code is not None:
                self._died(slot, code, now)
            elif slot.child is None and now >= slot.next_start:
                self._start_again(slot, now)
        if now > self._next_log_check:
            self._next_log_check = now + LOG_CHECK
            for name in self.slots:
                set_aside(self.log(name))
            if self._untold:
                self._tell()

    def _tell(self) -> None:
        """Tell of a change; what cannot be told, on a full disk perhaps, is tried again with the next look at the
        logs: the programs matter more."""
        try:
            self._changed()
            self._untold = False
        except HubError as error:
            if not self._untold:
                self._say(str(error))
            self._untold = True

    def _start_again(self, slot: Slot, now: float) -> None:
        try:
            slot.child = spawn(slot.program, self.log(slot.program.name))
        except HubError as error:  # no more processes, no room for its log: that may pass, too
            self._failed(slot, f"was not started: {error}", now)
            return
        slot.restarts += 1
        self._tell()

    def _died(self, slot: Slot, code: int, now: float) -> None:
        slot.child = None
        self._failed(slot, describe_end(code), now)

    def _failed(self, slot: Slot, what: str, now: float) -> None:
        """Have it started again later, or give up. Raises HubError."""
        name = slot.program.name
        slot.deaths.append(now)
        while slot.deaths[0] < now - WINDOW:
            slot.deaths.popleft()
        if len(slot.deaths) > self.limit:
            times = len(slot.deaths)
            raise HubError(f"Gave up: {self._failure(name, f'{what}, {times} times in {WINDOW:.0f} s')}")
        delay = DELAYS[min(len(slot.deaths), len(DELAYS)) - 1]
        slot.next_start = now + delay
        self._tell()
        self._say(f"{name} {what}; starting it again in {delay:g} s (log: {self.log(name)})")

    def stop(self, groups: list[list[str]] | None = None) -> None:
        """End every program: groups of names one after the other, or all in reverse order of their start."""
        _end(self._leaving)
        ordered = groups if groups is not None else [[name] for name in reversed(self.slots)]
        for names in ordered:
            slots = [self.slots.pop(name) for name in names if name in self.slots]
            for name in _end([slot.child for slot in slots if slot.child is not None]):
                self._say(f"{name} did not end in time and was killed")
        self._tell()


def _finished(children: list[Child]) -> bool:
    """Whether all ended, or one failed."""
    codes = [child.ended() for child in children]
    return all(code is not None for code in codes) or any(codes)


def _end(children: list[Child]) -> list[str]:
    """Ask all to end, kill those that do not; the names of the killed."""
    for child in children:
        child.ask_to_end()
    killed = []
    began = time.monotonic()
    for child in children:
        while child.ended() is None:
            if time.monotonic() - began > child.program.stop_seconds:
                child.signal(signal.SIGKILL)
                child.process.wait()
                killed.append(child.program.name)
            time.sleep(0.02)
    return killed
