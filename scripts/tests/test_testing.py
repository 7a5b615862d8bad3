"""`./run.sh test` gives tests their own services and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.hub import proc, testing
from scripts.hub.config import ROOT, base_environment
from scripts.hub.lane import Lane, side_by_side
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


SHARED = """
import json, os, pathlib, time
import psycopg2, redis, pytest

{mark}
def test_settled():
    name = os.environ["PYTEST_XDIST_WORKER"]
    psycopg2.connect(os.environ["DATABASE_URL"]).close()
    redis.Redis.from_url(os.environ["REDIS_URL"]).incr("seen")
    said = {{variable: os.environ[variable] for variable in ("REDIS_URL", "HUB_BEAT_SCHEDULE_FILE")}}
    said["began"] = time.monotonic()
    place = pathlib.Path(os.environ["NOTE"])
    (place / "{name}.{name}").write_text(json.dumps(said | {{"worker": name}}))
    deadline = time.monotonic() + 120
    while len(list(place.glob("*.*"))) < 2:  # so that one worker cannot play both
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""

ENDING = """
import os, pathlib, subprocess, sys, time
import pytest

@pytest.fixture
def service():
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    pathlib.Path(os.environ["NOTE"]).write_text(str(left.pid))
    yield
    time.sleep(6)  # longer than pytest-xdist waits until it interrupts once more
    left.kill()
    left.wait()
    pathlib.Path(os.environ["NOTE"]).write_text(f"{left.pid} ended")

def test_wait(service):
    time.sleep(600)
"""

BARE = ("-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:django", "-c", os.devnull)
SECONDS = 240.0  # on a machine with much other work
RUN = (sys.executable, "-m", "scripts.hub", "test", *BARE)


def started(folder: Path, note: Path, workers: int) -> subprocess.Popen[str]:
    """`./run.sh test` of the folder, by so many workers."""
    return subprocess.Popen(
        [*RUN, str(folder)],
        cwd=ROOT,
        env=base_environment() | {"NOTE": str(note), "HUB_TEST_WORKERS": str(workers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("text", "workers"), [(CRASHING, 0), (CRASHING.replace("os.abort()", "assert False"), 0), (CRASHING, 2)]
)
def test_a_crashed_run_leaves_nothing(tmp_path: Path, text: str, workers: int) -> None:
    (tmp_path / "test_crash.py").write_text(text, encoding="utf-8")
    note = tmp_path / "note"
    running = started(tmp_path, note, workers)
    said, errors = running.communicate(timeout=SECONDS)
    assert running.returncode != 0, said
    assert "PostgreSQL and Redis for tests . done in" in errors
    pid, url, schedule = note.read_text(encoding="utf-8").split()
    assert "failed with code" in errors
    assert eventually(lambda: proc.start_time(int(pid)) == 0, 5)
    port = int(url.rpartition(":")[2].partition("/")[0])
    assert proc.listener(port) == ""
    assert not Path(schedule).parent.parent.exists()


def test_each_worker_has_services_of_its_own_and_slow_files_begin_first(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    marks = {"a": "", "b": "", "c": "@pytest.mark.slow", "d": "@pytest.mark.stack"}
    for name, mark in marks.items():
        text = SHARED.format(name=name, mark=mark)
        (tmp_path / f"test_{name}.py").write_text(text, encoding="utf-8")
    running = started(tmp_path, notes, 2)
    said, errors = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, said + errors
    assert said.splitlines()[-1].startswith("4 passed"), said
    found = {path.stem: json.loads(path.read_text()) for path in notes.iterdir()}
    assert {found[name]["worker"] for name in "cd"} == {"gw0", "gw1"}
    for variable in ("REDIS_URL", "HUB_BEAT_SCHEDULE_FILE"):
        assert len({one[variable] for one in found.values()}) == 2
    assert max(found[name]["began"] for name in "cd") < min(found[name]["began"] for name in "ab")


def test_an_interrupted_run_ends_what_its_tests_started(tmp_path: Path) -> None:
    (tmp_path / "test_wait.py").write_text(ENDING, encoding="utf-8")
    note = tmp_path / "note"
    running = started(tmp_path, note, 2)
    assert eventually(lambda: note.exists() and note.read_text() != "", SECONDS)
    pid = int(note.read_text())
    time.sleep(0.5)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, errors = running.communicate(timeout=SECONDS)
    assert running.returncode == 130, errors
    assert note.read_text() == f"{pid} ended"
    assert proc.start_time(pid) == 0


def test_linters_run_beside_the_tests_and_their_failure_counts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [check[0] for check in testing.CHECKS] == ["ruff", "ruff", "mypy"]

    def python(code: str) -> list[str]:
        return [sys.executable, "-c", code]

    tests = Lane([python("import time; time.sleep(1); print('3 passed')")], dict(os.environ))
    wrong = [python("print('wrong'); raise SystemExit(3)"), python("print('right')")]
    checks = Lane(wrong, dict(os.environ), tmp_path / "output")
    assert side_by_side([tests, checks], lambda: None) == 3
    said = capfd.readouterr()
    lines = [line for line in said.out.splitlines() if line in {"wrong", "right", "3 passed"}]
    assert lines == ["wrong", "right", "3 passed"]
    assert said.err.startswith("failed with code 3: print('wrong')")
