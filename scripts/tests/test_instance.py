"""One hub a folder; other shells see it and end exactly that."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.hub import instance, proc
from scripts.hub.config import ROOT
from scripts.hub.errors import HubError
from scripts.hub.instance import ProcessRecord, Record
from scripts.tests.helpers import SLEEPER, eventually


def record_of(pid: int, processes: dict[str, ProcessRecord] | None = None) -> Record:
    return Record(pid, proc.start_time(pid), "http://localhost:1/", ready=True, processes=processes or {})


def test_a_second_hub_in_the_folder_is_refused(tmp_path: Path) -> None:
    with instance.hold(tmp_path):
        instance.write(tmp_path, record_of(os.getpid()))
        with (
            pytest.raises(
                HubError, match=rf"already running at http://localhost:1/ \(process {os.getpid()}\)"
            ),
            instance.hold(tmp_path),
        ):
            pass
    with instance.hold(tmp_path):
        pass


def test_the_record_is_for_its_owner_alone(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    instance.write(tmp_path, Record(1, 2, "url", environment={"DATABASE_URL": "secret"}))
    assert stat.S_IMODE((tmp_path / "run" / "instance.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    read = instance.read(tmp_path)
    assert read is not None
    assert read.environment == {"DATABASE_URL": "secret"}


NOBODY = 65534


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Not be root, whom no permission stops, inside the block."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_hub_of_another_user_is_not_said_to_be_none(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    instance.write(tmp_path, record_of(os.getpid()))
    (tmp_path / "run").chmod(0)
    try:
        for look in (instance.running, instance.stop):
            with ordinary_user(), pytest.raises(HubError, match="belongs to another user"):
                look(tmp_path)
    finally:
        (tmp_path / "run").chmod(0o700)


def test_a_lock_that_another_user_left_is_a_sentence() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        instance.make_folders(folder)
        (folder / "run" / "lock").touch(mode=0)
        if os.geteuid() == 0:
            for path in (folder, folder / "run"):
                os.chown(path, NOBODY, NOBODY)
        with (
            ordinary_user(),
            pytest.raises(HubError, match=r"lock.*made by another user"),
            instance.hold(folder),
        ):
            pass


def test_a_reused_pid_is_not_the_hub(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    record = record_of(os.getpid())
    record.began += 1
    instance.write(tmp_path, record)
    assert instance.running(tmp_path) is None
    assert not instance.stop(tmp_path)  # and this process lives on


def test_stop_ends_the_supervisor_and_waits_for_it(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    slow = "import signal, sys, time\n"
    slow += "signal.signal(15, lambda *_: time.sleep(0.4) or sys.exit())\nprint(flush=True)"
    process = subprocess.Popen([sys.executable, "-c", f"{slow}\n{SLEEPER}"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    instance.write(tmp_path, record_of(process.pid))
    began = time.monotonic()
    assert instance.stop(tmp_path)
    assert time.monotonic() - began > 0.3
    assert process.wait(5) == 0
    process.stdout.close()
    assert not instance.stop(tmp_path)


def test_leftovers_of_a_killed_supervisor_are_ended(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    left = subprocess.Popen([sys.executable, "-c", SLEEPER])
    processes = {"server": ProcessRecord(left.pid, proc.start_time(left.pid), "running")}
    instance.write(tmp_path, Record(left.pid, 1, "url", processes=processes))
    instance.end_leftovers(tmp_path, seconds=0.2)
    assert left.wait(5) == -signal.SIGKILL


def test_reset_deletes_data_and_nothing_else(tmp_path: Path) -> None:
    instance.make_folders(tmp_path)
    for name in ("postgres/data", "chain", "redis", "venv"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "postgres.password").write_text("x")
    instance.reset(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from scripts.hub import instance\n"
        "with instance.hold(Path(sys.argv[1])):\n    print(1, flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(HubError, match="already running"), instance.hold(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()

    def can_hold() -> bool:
        try:
            with instance.hold(tmp_path):
                return True
        except HubError:
            return False

    assert eventually(can_hold)
