"""What all benchmarks share: the conditions a figure was measured under, and how it is printed."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.database import database

ROOT = Path(__file__).resolve().parent.parent
POSTGRES_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "commit_delay",
    "jit",
)


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values, given in ascending order, do not exceed."""
    index = min(int(share * len(sorted_values)), len(sorted_values) - 1)
    return sorted_values[index]


def conditions() -> dict[str, Any]:
    """Where and on what a figure was measured."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {
        "commit": commit + ("+changes" if changed else ""),
        "cores": psutil.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def postgres_conditions() -> dict[str, str]:
    """The settings of PostgreSQL that decide what a commit costs."""
    from ledger.sql import fetch

    rows = fetch("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(POSTGRES_SETTINGS)])
    return dict(sorted(rows))


@contextmanager
def ledger_database() -> Iterator[str]:
    """The URL of an empty ledger that this process, too, is connected to."""
    with database() as url:
        os.environ["DATABASE_URL"] = url
        start_django()
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        try:
            yield url
        finally:
            connections.close_all()


@contextmanager
def filled_database(url: str) -> Iterator[str]:
    """The URL of a database that is filled already, which this process, too, is connected to."""
    os.environ["DATABASE_URL"] = url
    start_django()
    from django.db import connections

    try:
        yield url
    finally:
        connections.close_all()


def start_django() -> None:
    """Make Django ready in this process; DATABASE_URL says where its database is."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    import django

    django.setup()
    logging.getLogger().setLevel(logging.WARNING)


def report(name: str, start: dict[str, Any], results: dict[str, Any]) -> None:
    """Print a benchmark's outcome as JSON."""
    end = {"load_average_at_end": round(os.getloadavg()[0], 2)}
    json.dump({"benchmark": name, "conditions": {**start, **end}, "results": results}, sys.stdout, indent=2)
    sys.stdout.write("\n")
