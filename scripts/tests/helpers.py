"""Small programs for the supervisor to keep, and waiting for things to become true."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.hub.child import Program

SLEEPER = "import time; time.sleep(600)"


def python(name: str, code: str, **options: object) -> Program:
    """A program of a few lines of Python."""
    return Program(name, [sys.executable, "-c", code], dict(os.environ), **options)  # type: ignore[arg-type]


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def write_script(path: Path, text: str) -> None:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
