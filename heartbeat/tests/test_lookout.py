"""Who watches the watch: any worker, when nobody else does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from contractor.models import Alarm
from heartbeat import lookout, tasks, watch
from heartbeat.checks import expected_beats
from heartbeat.guard import single_run
from heartbeat.models import Heartbeat, Progress
from heartbeat.tests.consumer import Consumer

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0


def past(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def ended(seconds: float, *names: str) -> None:
    """The beats ended so long ago."""
    for name in names:
        Heartbeat.objects.update_or_create(name=name, defaults={"ended": past(seconds)})


def others_run() -> None:
    ended(0, *(expected_beats() - {watch.WATCH}))


@pytest.fixture(autouse=True)
def _no_node(settings: Any) -> None:
    settings.HUB_NO_BLOCK_SECONDS = 0  # never
    others_run()


def test_a_watch_that_is_dead_is_told_at_once_and_resolved(consumer: Consumer) -> None:
    tasks.heartbeat_watch()
    Progress.objects.update(since=past(1000))
    ended(61, watch.WATCH)
    watch.forget()
    assert lookout.look(past(61)) == 2  # raised and told
    (text,) = consumer.take()
    assert "CRITICAL: queue lag" in text
    assert "the periodic task watch has not ended for 61 s" in text
    for _ in range(3):
        watch.forget()
        tasks.heartbeat_watch()
    (text,) = consumer.take()
    assert "RESOLVED: queue lag" in text


def test_it_watches_for_the_dead_one(consumer: Consumer) -> None:
    """Everything but this process's thread is dead: each beat is told as late, some time after it ended."""
    ended(61, watch.WATCH)
    lookout.look(past(61))
    ended(100, *expected_beats())
    watch.forget()
    lookout.look(past(90))
    lookout.look(past(90))
    assert set(Alarm.objects.values_list("key", flat=True)) == {f"task {name}" for name in expected_beats()}
    assert any(f"({len(expected_beats()) - 1} cases)" in text for text in consumer.take())


def test_a_watch_that_hangs_does_not_keep_it_back(consumer: Consumer) -> None:
    ended(61, watch.WATCH)
    release, holding = Event(), Event()

    def hang() -> None:
        with single_run(watch.WATCH) as mine:
            assert mine
            holding.set()
            release.wait(PATIENCE)
        connection.close()

    thread = Thread(target=hang)
    thread.start()
    try:
        assert holding.wait(PATIENCE)
        lookout.look(past(61))
    finally:
        release.set()
        thread.join()
    assert "CRITICAL: queue lag" in consumer.take()[0]


@pytest.mark.parametrize("since", [0.0, 59.0])
def test_nothing_is_late_when_the_hub_was_off(consumer: Consumer, since: float) -> None:
    ended(30_000, *expected_beats())
    assert lookout.look(past(since)) == 0
    assert not Alarm.objects.exists()


def test_a_run_of_the_watch_that_takes_long_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is late is late by as much however long the run's other checks take."""
    tasks.heartbeat_watch()
    Progress.objects.update(since=past(1000))
    ended(80, "chain")
    ended(75, watch.WATCH)
    watch.forget()
    began = past(70)
    with monkeypatch.context() as then:
        then.setattr(timezone, "now", lambda: began)
        parts = watch.parts()
    assert parts["check for 'queue lag'"]() == 2
    assert set(Alarm.objects.values_list("key", flat=True)) == {"task chain", "task watch"}


def test_it_leaves_a_living_watch_alone(consumer: Consumer) -> None:
    ended(30, watch.WATCH)
    assert lookout.look(past(1000)) == 0
    assert not consumer.take()


def test_one_process_of_many_stands_in(consumer: Consumer) -> None:
    ended(61, watch.WATCH)
    with single_run("lookout") as mine:
        assert mine
        found: list[int] = []

        def look() -> None:
            found.append(lookout.look(past(61)))
            connection.close()

        thread = Thread(target=look)
        thread.start()
        thread.join(PATIENCE)
    assert found == [0]


def test_the_thread_survives_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def fail(since: object) -> int:
        calls.append(since)
        if len(calls) == 1:
            raise RuntimeError("broken")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return 0

    monkeypatch.setattr(lookout, "look", fail)
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.01)
    ending = Event()
    thread = Thread(target=lookout.run, args=[ending])
    thread.start()
    until(lambda: len(calls) > 3)
    ending.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert len(set(calls)) == 1  # it counts from its start


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
