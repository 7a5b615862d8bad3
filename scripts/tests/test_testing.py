"""`./run.sh test` gives tests their own services and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.hub import proc
from scripts.hub.config import ROOT, base_environment
from scripts.tests.helpers import eventually

CRASHING = """
import os, subprocess, sys
import psycopg2, redis

def test_crash():
    assert os.environ["HUB_TEST"] == "1"
    psycopg2.connect(os.environ["DATABASE_URL"]).close()
    redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with open(os.environ["NOTE"], "w") as note:
        note.write(f"{left.pid} {os.environ['DATABASE_URL']} {os.environ['HUB_BEAT_SCHEDULE_FILE']}")
    os.abort()
"""


@pytest.mark.parametrize("text", [CRASHING, CRASHING.replace("os.abort()", "assert False")])
def test_a_crashed_run_leaves_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_crash.py").write_text(text, encoding="utf-8")
    note = tmp_path / "note"
    arguments = ["-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:django", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.hub", "test", *arguments, str(tmp_path / "test_crash.py")],
        cwd=ROOT,
        env=base_environment() | {"NOTE": str(note)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "PostgreSQL and Redis for tests . done in" in done.stderr
    pid, url, schedule = note.read_text(encoding="utf-8").split()
    assert "failed with code" in done.stderr
    assert eventually(lambda: proc.start_time(int(pid)) == 0, 5)
    port = int(url.rpartition(":")[2].partition("/")[0])
    assert proc.listener(port) == ""
    assert not Path(schedule).parent.parent.exists()


def test_linters_run_before_the_tests_and_their_failure_counts() -> None:
    from scripts.hub import testing

    assert [check[0] for check in testing.CHECKS] == ["ruff", "ruff", "mypy"]
