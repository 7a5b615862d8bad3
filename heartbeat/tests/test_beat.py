"""A beat's parts do not stop each other, and a task runs once at a time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest
from django.conf import settings
from django.db import connection

from contractor import alarms
from contractor.errors import ForkTooDeepError, NodeError
from heartbeat import beat, tasks
from heartbeat.guard import single_run
from heartbeat.tests.drill import Drill


@pytest.fixture(autouse=True)
def _quiet() -> None:
    alarms.forget()
    beat._problems.clear()


def failing(error: Exception) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def test_a_failing_part_stops_no_other(db: None, caplog: pytest.LogCaptureFixture) -> None:
    parts = {
        "a": failing(RuntimeError("broken")),
        "b": lambda: 2,
        "c": failing(ForkTooDeepError("deep")),
        "d": lambda: 3,
    }
    assert beat.run("test", parts) == 5
    assert "ALARM task failed: test: a: RuntimeError: broken" in caplog.text
    assert "ALARM chain: test: c: deep" in caplog.text
    assert "Traceback" in caplog.text


def test_a_recoverable_problem_is_told_now_and_then(db: None, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(beat.TOLD_EVERY + 1):
        assert beat.run("test", {"a": failing(NodeError("the node is gone"))}) == 0
    assert caplog.text.count("the node is gone") == 2
    assert "ALARM" not in caplog.text
    caplog.set_level("INFO")
    assert beat.run("test", {"a": lambda: 1}) == 1
    assert "test: a works again" in caplog.text


@pytest.mark.alarm("task failed")
def test_a_part_that_fails_is_told(db: None, drill: Drill) -> None:
    def run(work: Callable[[], int]) -> Callable[[], object]:
        return lambda: beat.run("test", {"a": work})

    broken = run(failing(RuntimeError("broken")))
    broken()
    assert "test: a: RuntimeError: broken" in drill.raised("task failed")
    drill.lasts("task failed", broken)
    drill.ends("task failed", run(lambda: 1))


def elsewhere(work: Callable[[], None]) -> None:
    """Run in another thread, and so in another database session."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_task_runs_once_at_a_time() -> None:
    seen: dict[str, bool] = {}

    def try_both() -> None:
        with single_run("same") as mine:
            seen["same"] = mine
        with single_run("other") as mine:
            seen["other"] = mine

    with single_run("same") as mine:
        assert mine
        elsewhere(try_both)
    assert seen == {"same": False, "other": True}
    elsewhere(try_both)
    assert seen == {"same": True, "other": True}


@pytest.mark.django_db(transaction=True)
def test_a_dead_session_frees_its_task() -> None:
    with single_run("same") as mine:
        assert mine
        connection.close()
        seen: list[bool] = []

        def look() -> None:
            with single_run("same") as free:
                seen.append(free)

        elsewhere(look)
        assert seen == [True]


@pytest.mark.django_db(transaction=True)
def test_a_lost_database_session_is_recoverable(caplog: pytest.LogCaptureFixture) -> None:
    def kill() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 1

    assert beat.run("test", {"a": kill}) == 0
    assert "the database does not answer" in caplog.text or "ALARM task failed" in caplog.text
    assert beat.run("test", {"a": lambda: 1}) == 1


def test_the_schedule_names_tasks_that_exist() -> None:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        module, name = str(entry["task"]).rsplit(".", 1)
        assert module == tasks.__name__
        assert getattr(tasks, name).name == entry["task"]
