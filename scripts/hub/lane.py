"""Commands of a test run that follow each other, beside those of another lane."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.hub.config import ROOT
from scripts.hub.workers import END_SECONDS


class Lane:
    """Commands that run one after the other; `failed` is the exit code of the first that failed.

    They run in the terminal's session, so that Ctrl-C reaches them too. With a file for their output, each one's is
    printed when it has ended, so that it does not mix with that of another lane.
    """

    def __init__(
        self, commands: list[list[str]], environment: dict[str, str], output: Path | None = None
    ) -> None:
        self.failed = 0
        self._waiting = list(commands)
        self._environment = environment
        self._output = output
        self._complaints: list[str] = []
        self._name = ""
        self._process: subprocess.Popen[bytes] | None = None

    def step(self) -> bool:
        """Start the next command if none runs; whether there is more to do."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._ended(code)
            self._process = None
        if self._process is None and self._waiting:
            self._start(self._waiting.pop(0))
        return self._process is not None

    def _start(self, command: list[str]) -> None:
        self._name = " ".join(command[2:])
        if self._output is None:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment)
            return
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )

    def _ended(self, code: int) -> None:
        if self._output is not None:
            text = self._output.read_text(encoding="utf-8", errors="replace")
            print(f"\n{self._name}:\n{text}", end="", flush=True)
        if code != 0:
            self._complaints.append(f"failed with code {code}: {self._name}")
            self.failed = self.failed or code

    def complain(self) -> None:
        """Say what failed."""
        for complaint in self._complaints:
            print(complaint, file=sys.stderr, flush=True)

    def interrupt(self) -> None:
        """End what runs, as Ctrl-C does, and start nothing more."""
        self._waiting.clear()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_SECONDS + 10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def side_by_side(lanes: list[Lane], watch: Callable[[], None]) -> int:
    """Run the lanes to their ends; the exit code of the first that failed. What `watch` raises, now and then called
    meanwhile, ends them."""
    try:
        while [lane for lane in lanes if lane.step()]:
            watch()
            time.sleep(0.1)
    finally:
        for lane in lanes:
            lane.interrupt()
    for lane in lanes:
        lane.complain()
    return next((lane.failed for lane in lanes if lane.failed), 0)
