"""What the production hub runs with: `.env` and the process's environment, checked as a whole."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.hub import dotenv
from scripts.hub.config import HUB_FOLDER, ROOT
from scripts.hub.errors import HubError

NAMES = (
    "HUB_ENV_FILE",
    "HUB_DATA",
    "HUB_HOST",
    "HUB_PORT",
    "HUB_SERVER_PROCESSES",
    "HUB_DRAIN_SECONDS",
    "HUB_POSTGRES_BIN",
    "HUB_PYTHON",
)
"""What `./run.sh prod` reads beside the hub's settings."""
OWN_PREFIXES = ("HUB_", "SLA_", "TOS_", "CELERY_", "SWAPS_")
"""A name of a file that begins like this is the hub's, or a mistake."""
CHECK_SECONDS = 120.0


@dataclass(frozen=True)
class Production:
    """One production instance on this host.

    `environment` is that of its processes. `drain_seconds` is how long a server that ends waits for idle clients to
    leave by themselves.
    """

    environment: dict[str, str]
    folder: Path
    host: str
    port: int
    server_processes: int
    drain_seconds: float

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def hub_url(self) -> str:
        return f"http://{self.host}:{self.port}/"


class BadEnvironmentError(HubError):
    """Everything that is wrong with the environment."""

    def __init__(self, problems: list[str]) -> None:
        lines = "\n  ".join(problems)
        super().__init__(f"The environment is not right ({len(problems)} found):\n  {lines}")


def file_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file that is read: HUB_ENV_FILE, or `.env` beside run.sh."""
    return Path(environ.get("HUB_ENV_FILE") or ROOT / ".env")


def data_folder(environ: Mapping[str, str]) -> Path:
    """Logs, sockets and state of this host's instance."""
    return Path(environ.get("HUB_DATA") or HUB_FOLDER / "prod").resolve()


def gather(environ: Mapping[str, str] = os.environ) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """The variables of the hub's processes, those of them that came from the file, and what is wrong with it.

    A variable of the process wins over the file's, even an empty one. There need be no file unless HUB_ENV_FILE
    names it.
    """
    path = file_path(environ)
    found: dict[str, str] = {}
    problems: list[str] = []
    if path.exists() or environ.get("HUB_ENV_FILE"):
        found, problems = dotenv.read(path)
    merged = {**found, **environ}
    if merged.get("RUNNING_IN_PRODUCTION", "true").lower() not in {"", "1", "true", "yes", "on"}:
        problems.append(
            "RUNNING_IN_PRODUCTION: ./run.sh prod is for production; ./run.sh is the development hub"
        )
    merged["RUNNING_IN_PRODUCTION"] = "true"
    merged["HUB_DRAIN_SECONDS"] = merged.get("HUB_DRAIN_SECONDS") or "5"
    merged.setdefault("HUB_BEAT_SCHEDULE_FILE", str(data_folder(merged) / "run" / "beat-schedule"))
    programs = str(Path(sys.executable).parent)
    merged["PATH"] = os.pathsep.join([programs, merged.get("PATH", os.defpath)])
    return merged, found, problems


def load(live: bool, environ: Mapping[str, str] = os.environ) -> Production:
    """The instance that file and environment describe. `live` asks the servers that it names, too.

    Raises BadEnvironmentError with all that is wrong.
    """
    merged, found, problems = gather(environ)
    answer = _preflight(merged, live)
    problems += answer["problems"]
    problems += _misspelt(found, {*answer["names"], *NAMES}) if answer["names"] else []
    numbers = {
        name: _number(merged, name, *limits, problems)
        for name, limits in {
            "HUB_PORT": (8123, 1, 65535),
            "HUB_SERVER_PROCESSES": (2, 1, 64),
            "HUB_DRAIN_SECONDS": (5, 0, 600),
        }.items()
    }
    if problems:
        raise BadEnvironmentError(problems)
    return Production(
        merged,
        data_folder(merged),
        merged.get("HUB_HOST") or "127.0.0.1",
        numbers["HUB_PORT"],
        numbers["HUB_SERVER_PROCESSES"],
        numbers["HUB_DRAIN_SECONDS"],
    )


def _preflight(environment: dict[str, str], live: bool) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "scripts.hub.preflight", *(["--live"] if live else [])]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"problems": [f"the settings were not read in {CHECK_SECONDS:.0f} s"], "names": []}
    try:
        answer: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"problems": [f"the settings cannot be read: {last}"], "names": []}
    return answer


def _misspelt(found: Mapping[str, str], known: set[str]) -> list[str]:
    """Names of the file that are nearly a setting's, or begin like one."""
    problems = []
    for name in found:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if near or name.startswith(OWN_PREFIXES):
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name}: is not a setting{hint}")
    return problems


def _number(
    environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int, problems: list[str]
) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or not lowest <= int(text) <= highest:
        problems.append(f"{name}: must be a whole number from {lowest} to {highest}, is {text!r}")
        return default
    return int(text)
