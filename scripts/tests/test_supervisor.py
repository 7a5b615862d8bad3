"""Programs are kept running, and nothing outlives its supervisor."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scripts.hub import child as children
from scripts.hub import proc, supervisor
from scripts.hub.child import Program
from scripts.hub.config import ROOT
from scripts.hub.errors import HubError, StopRequested
from scripts.hub.progress import Progress
from scripts.hub.supervisor import Supervisor
from scripts.tests.helpers import SLEEPER, eventually, python


def says(log: Path, text: str) -> bool:
    return text in log.read_text()


class Watched:
    """A supervisor with what it said."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.supervisor = Supervisor(folder, self.said.append)

    def check_until(self, restarts: int, name: str) -> None:
        slot = self.supervisor.slots[name]
        self.supervisor.wait_until(
            lambda: slot.restarts >= restarts and slot.child is not None, 20, "no restart"
        )


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    result = Watched(tmp_path)
    yield result
    result.supervisor.stop()


def test_a_killed_program_is_started_again(watched: Watched) -> None:
    first = watched.supervisor.start(python("worker", SLEEPER))
    os.kill(first.pid, signal.SIGKILL)
    watched.check_until(1, "worker")
    second = watched.supervisor.slots["worker"].child
    assert second is not None
    assert second.pid != first.pid
    assert proc.is_alive(second.pid, second.began)
    assert not proc.is_alive(first.pid, first.began)
    assert "worker was killed by SIGKILL; starting it again in 0.1 s" in watched.said[0]


def test_restarts_wait_longer_each_time_and_end_with_the_log(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "DELAYS", (0.05, 0.2, 0.4))
    watched.supervisor.limit = 3
    watched.supervisor.start(python("broken", "import sys; print('no such table'); sys.exit(3)"))
    began = time.monotonic()
    with pytest.raises(HubError, match=r"broken ended with code 3, 4 times in 120 s(.|\n)*no such table"):
        watched.supervisor.watch()
    assert time.monotonic() - began >= 0.05 + 0.2 + 0.4
    assert [line.split("again in ")[1].split(" ")[0] for line in watched.said] == ["0.05", "0.2", "0.4"]


def test_old_deaths_are_forgotten(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "WINDOW", 0.0)
    watched.supervisor.limit = 1
    watched.supervisor.start(python("worker", "import time; time.sleep(0.2)"))
    watched.check_until(3, "worker")


def test_the_first_start_must_succeed(watched: Watched) -> None:
    failing = python("service", "raise SystemExit('port is taken')", ready=lambda _pid: False)
    with pytest.raises(HubError, match=r"service ended with code 1(.|\n)*port is taken"):
        watched.supervisor.start(failing, seconds=10)


def test_a_program_that_never_answers_is_reported(watched: Watched) -> None:
    with pytest.raises(HubError, match="service does not answer after"):
        watched.supervisor.start(python("service", SLEEPER, ready=lambda _pid: False), seconds=0.3)


def test_waiting_ends_when_a_stop_is_requested(watched: Watched) -> None:
    watched.supervisor.stop_requested = True
    with pytest.raises(StopRequested):
        watched.supervisor.wait_until(lambda: False, 10, "never")


def test_programs_end_in_reverse_order_and_groups_together(watched: Watched, tmp_path: Path) -> None:
    record = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(record)!r}, 'a').write(NAME + '\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('listening', flush=True); time.sleep(600)"
    )
    for name in ("first", "second", "third"):
        watched.supervisor.start(python(name, f"NAME = {name!r}\n{code}"))
        assert eventually(partial(says, watched.supervisor.log(name), "listening"))
    watched.supervisor.stop()
    assert record.read_text().split() == ["third", "second", "first"]
    assert watched.supervisor.slots == {}
    assert watched.said == []


def test_a_program_that_ignores_the_request_is_killed(watched: Watched) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    child = watched.supervisor.start(python("deaf", f"{code}; time.sleep(600)", stop_seconds=0.3))
    assert eventually(lambda: "deaf" in child.log.read_text())
    watched.supervisor.stop()
    assert child.ended() == -signal.SIGKILL
    assert watched.said == ["deaf did not end in time and was killed"]


def test_steps_run_side_by_side_and_the_failing_one_is_named(watched: Watched, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    watched.supervisor.run_to_end(
        [python("one", f"open({str(mark)!r}, 'w')"), python("two", "print('done')")], seconds=10
    )
    assert mark.exists()
    assert "done" in watched.supervisor.log("two").read_text()
    with pytest.raises(HubError, match=r"bad ended with code 1(.|\n)*broken migration"):
        watched.supervisor.run_to_end(
            [python("slow", SLEEPER), python("bad", "exit('broken migration')")], 10
        )


def test_children_have_sessions_of_their_own_and_no_input(watched: Watched) -> None:
    child = watched.supervisor.start(
        python("worker", f"import sys; print(repr(sys.stdin.read()), flush=True); {SLEEPER}")
    )
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    assert eventually(lambda: child.log.read_text() == "''\n")


@pytest.mark.parametrize("how", ["stop", "restart"])
def test_a_program_that_is_stopped_ends_in_order(watched: Watched, how: str) -> None:
    polite = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print(1, flush=True)"
    program = python("worker", f"{polite}; time.sleep(600)", stop_seconds=30.0)
    child = watched.supervisor.start(program)
    assert eventually(lambda: child.log.read_text() == "1\n")
    child.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    if how == "stop":
        watched.supervisor.stop()
    else:
        watched.supervisor.restart(python("worker", SLEEPER))
    assert child.ended() == 7
    assert not watched.said


def test_a_program_that_cannot_be_started_is_named(watched: Watched, tmp_path: Path) -> None:
    missing = Program("ghost", [str(tmp_path / "ghost")], dict(os.environ), ready=lambda _pid: False)
    with pytest.raises(HubError, match="ghost ended with code 127"):
        watched.supervisor.start(missing, seconds=5)


def test_large_logs_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "KEEP_LOG", 10)
    log = tmp_path / "server.log"
    log.write_text("a" * 20)
    with log.open("a") as writer:
        children.set_aside(log)
        writer.write("after")
    assert log.read_text() == "after"
    assert (tmp_path / "server.log.1").read_text() == "a" * 20


@pytest.mark.parametrize("what", ["no_log", "no_folder"])
def test_a_program_whose_log_cannot_be_written_is_started_when_it_can(
    watched: Watched, tmp_path: Path, what: str
) -> None:
    first = watched.supervisor.start(python("worker", SLEEPER))
    log = watched.supervisor.log("worker")
    log.unlink()
    if what == "no_log":
        log.mkdir()
        os.kill(first.pid, signal.SIGKILL)
        slot = watched.supervisor.slots["worker"]
        watched.supervisor.wait_until(lambda: len(slot.deaths) >= 3, 20, "no attempts")
        assert "worker cannot be started" in watched.said[-1]
        log.rmdir()
    else:
        for path in tmp_path.iterdir():
            path.unlink()
        tmp_path.rmdir()
        os.kill(first.pid, signal.SIGKILL)
    watched.check_until(1, "worker")


def test_what_cannot_be_told_ends_nothing_and_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    told: list[bool] = []
    said: list[str] = []

    def tell() -> None:
        if full:
            raise HubError("no space left on device")
        told.append(True)

    monkeypatch.setattr(supervisor, "LOG_CHECK", 0.2)
    keeper = Supervisor(tmp_path, said.append, tell)
    try:
        first = keeper.start(python("worker", SLEEPER))
        os.kill(first.pid, signal.SIGKILL)
        keeper.wait_until(lambda: keeper.slots["worker"].restarts == 1, 20, "no restart")
        assert said.count("no space left on device") == 1
        full = False
        keeper.wait_until(lambda: bool(told), 20, "nothing told")
    finally:
        keeper.stop()


def test_a_log_for_whose_copy_there_is_no_room_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "KEEP_LOG", 10)
    log, copy = tmp_path / "server.log", tmp_path / "server.log.new"
    log.write_text("a" * 20)
    (tmp_path / "server.log.1").write_text("before")
    copy.symlink_to("/dev/full")
    children.set_aside(log)
    assert log.read_text() == "a" * 20
    assert (tmp_path / "server.log.1").read_text() == "before"
    assert not copy.is_symlink()
    children.set_aside(log)
    assert log.read_text() == ""


class Closed(io.StringIO):
    """The terminal of a session that has ended."""

    def write(self, _text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_is_said_to_a_terminal_that_was_closed_is_no_end() -> None:
    progress = Progress(Closed())
    progress.say("lost")
    with progress.step("lost, too"):
        pass


KEEPER = """
import signal, sys
from pathlib import Path
from scripts.hub.supervisor import Supervisor
from scripts.tests.helpers import eventually, python
supervisor = Supervisor(Path(sys.argv[1]), print)
begin = "import signal, time; print(1, flush=True); "
deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
polite = supervisor.start(python("polite", begin + "time.sleep(600)"))
stubborn = supervisor.start(python("stubborn", begin + deaf, death_signal=signal.SIGKILL))
eventually(lambda: polite.log.read_text() and stubborn.log.read_text())
print(polite.pid, stubborn.pid, flush=True)
supervisor.watch()
"""


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    pids = [int(text) for text in keeper.stdout.readline().split()]
    began = {pid: proc.start_time(pid) for pid in pids}
    assert len(pids) == 2
    assert all(began.values())
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()
    assert eventually(lambda: not any(proc.is_alive(pid, began[pid]) for pid in pids))
