"""What the supervisor says: one line a step, with the time it took, on standard error or another stream."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

WIDTH = 34  # columns of a step's name


class Progress:
    """Prints steps as they begin and end. Quiet streams get the same lines, whole."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._open = False
        self._began = time.time()

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that was closed, a full disk: no reason to end what runs
            print(text, end="", file=self._stream, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step: its name at once, `done in n.n s` or `failed` when it ends."""
        began = time.monotonic()
        self._write(f"  {name} ".ljust(WIDTH, ".") + " ")
        self._open = True
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            took = time.monotonic() - began
            self._write(
                f"{outcome} in {took:.1f} s\n" if self._open else f"  {name}: {outcome} in {took:.1f} s\n"
            )
            self._open = False

    def say(self, text: str) -> None:
        """One line about something that happened, with the time of day."""
        if self._open:
            self._write("\n")
            self._open = False
        self._write(f"  {time.strftime('%H:%M:%S')} {text}\n")

    def seconds(self) -> float:
        """Since run.sh began (it tells when, in seconds of the epoch), or since this object was made."""
        began = os.environ.get("HUB_RUN_BEGAN", "").replace(",", ".")
        return max(0.0, time.time() - (float(began) if began else self._began))
