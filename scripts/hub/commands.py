"""What the commands of `./run.sh` have in common."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from scripts.hub.config import ROOT
from scripts.hub.errors import HubError


def is_help(arguments: list[str]) -> bool:
    """Whether the reader asks what a command does."""
    return arguments[:1] in (["help"], ["-h"], ["--help"])


def refuse_arguments(command: str, arguments: list[str]) -> None:
    """Raise HubError if there are any: who gives some expects something else of a command that takes none."""
    if arguments:
        raise HubError(
            f"'{command}' takes no arguments, and was given {' '.join(arguments)!r}: nothing was done."
        )


def become(command: list[str], environment: dict[str, str], folder: Path | None = None) -> NoReturn:
    """Become another program in this process, so that signals and Ctrl-C reach it. Raises HubError."""
    sys.stdout.flush()
    try:
        if folder is not None:
            os.chdir(folder)
        os.execvpe(command[0], command, environment)  # noqa: S606  (to become that process, no shell)
    except OSError as error:
        raise HubError(f"{command[0]} cannot be started: {error}") from None


def become_manage(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Become one of Django's commands, in the checkout. Raises HubError."""
    become([sys.executable, str(ROOT / "manage.py"), *arguments], environment, ROOT)
