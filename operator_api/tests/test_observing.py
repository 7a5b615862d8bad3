"""Request ids, log lines, health, status and metrics."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from contractor.alarms import settle
from heartbeat import tasks
from heartbeat.models import Heartbeat
from ledger.models import ChainStatus, Event, Outbox
from operator_api import health, metrics, status
from operator_api.logs import JSONFormatter, LineFormatter, request_id
from operator_api.middleware_observing import SLOW_SECONDS, observer_in_loop
from operator_api.simulation.play import Play
from operator_api.tests.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = "ab" * 65


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    status.forget()
    health.forget()
    token = request_id.set("")
    yield
    request_id.reset(token)
    status.forget()
    health.forget()


@pytest.fixture
def play(db: None) -> Play:
    """A hub in eon 1."""
    return Play()


def get(path: str, **headers: Any) -> Any:
    return Client(raise_request_exception=False).get(path, **headers)


# ---- request ids and log lines ----------------------------------------------------------------------------------


def test_an_answer_has_the_requests_id(db: None) -> None:
    given = get("/health/live", headers={"X-Request-ID": "wallet-7/42"})
    assert given["X-Request-ID"] == "wallet-7/42"
    made = [get("/health/live")["X-Request-ID"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(name) == 32 for name in made)


@pytest.mark.parametrize("bad", ["a b", "x" * 65, "new\r\nline", 'quote"', "ä"])
def test_an_odd_id_is_replaced(db: None, bad: str) -> None:
    assert get("/health/live", HTTP_X_REQUEST_ID=bad)["X-Request-ID"] != bad


def test_errors_have_an_id_too_and_mistakes_of_clients_are_not_logged(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(status, "document", fail)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter([]))
    logging.getLogger("django.request").addHandler(handler)
    answer = get("/nothing/here", headers={"X-Request-ID": "lost"})
    assert (answer.status_code, answer["X-Request-ID"]) == (404, "lost")
    assert get("/status/", headers={"X-Request-ID": "broken"}).status_code == 500
    logging.getLogger("django.request").removeHandler(handler)
    assert "ERROR django.request Internal Server Error: /status/" in written.getvalue()
    assert "[broken]" in written.getvalue()
    assert "[lost]" not in written.getvalue()


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("hub", logging.INFO, __file__, 1, message, arguments, None)


def test_a_json_line_says_who_where_and_why() -> None:
    formatter = JSONFormatter([], "hub-1")
    token = request_id.set("r-1")
    try:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            entry = record("it is %s", "broken")
            entry.exc_info = sys.exc_info()
        text = formatter.format(entry)
    finally:
        request_id.reset(token)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["message"], line["level"], line["server"]) == ("it is broken", "INFO", "hub-1")
    assert (line["request_id"], line["process"]) == ("r-1", os.getpid())
    assert "ValueError" in line["exception"]
    assert "request_id" not in json.loads(formatter.format(record("x")))


@pytest.mark.parametrize(
    "formatter", [LineFormatter(["0123456789abcdef"]), JSONFormatter(["0123456789abcdef"], "h")]
)
def test_nothing_private_is_logged(formatter: logging.Formatter) -> None:
    text = formatter.format(
        record("%s %s %s", SIGNATURE, "postgresql://hub:pass@db/hub", "key 0x0123456789ABCDEF!")
    )
    assert SIGNATURE not in text
    assert "pass" not in text
    assert "0123456789" not in text
    assert "postgresql://hub:[secret]@db/hub" in text


def test_a_transaction_hash_stays_readable() -> None:
    assert "ab" * 32 in LineFormatter([]).format(record("mined %s", "ab" * 32))


def test_the_hubs_own_secrets_are_known(tmp_path: Path) -> None:
    """In a process of its own, as its environment says."""
    code = (
        "import django; django.setup(); from django.conf import settings as s; import logging;"
        "logging.getLogger('x').error('%s %s', s.HUB_OWNER_ACCOUNT_KEY.hex(), s.NOTIFICATION_HOOK_URL)"
    )
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "operator_api.settings",
        "NOTIFICATION_HOOK_URL": "https://hooks.example/services/T000/B000/XXXX",
        "LOG_FORMAT": "json",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stderr)["message"] == "[secret] https://hooks.example[secret]"


def test_requests_are_logged_where_that_is_wanted(
    db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "operator_api.requests")
    get("/health/live")
    assert not caplog.records
    settings.LOG_REQUESTS = True
    get("/health/live?signature=secret")
    assert "GET ^health/live/?$ 200" in caplog.text
    assert "secret" not in caplog.text


def test_a_task_carries_the_id_of_its_request() -> None:
    """Through a broker and a worker, in another thread."""
    app = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task
    def whose() -> str:
        return request_id.get()

    with start_worker(app, pool="solo", perform_ping_check=False):
        token = request_id.set("r-77")
        try:
            assert whose.delay().get(timeout=20) == "r-77"
        finally:
            request_id.reset(token)
        alone = whose.delay()
        assert alone.get(timeout=20) == alone.id


# ---- health -----------------------------------------------------------------------------------------------------


def ready() -> tuple[int, dict[str, str]]:
    answer = get("/health/ready")
    return answer.status_code, answer.json()["problems"]


@pytest.fixture
def redis(settings: Any) -> Iterator[RedisServer]:
    with RedisServer() as server:
        settings.REDIS_URL = server.url
        yield server


def test_live_needs_nobody(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    break_database(monkeypatch)
    answer = get("/health/live/")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "problems": {}})


def break_database(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("connection refused at 10.0.0.7")

    for module in (health, status):
        patch.setattr(module, "fetch", fail)


def test_ready(play: Play, redis: RedisServer, settings: Any) -> None:
    assert ready() == (200, {})
    ChainStatus.objects.update(node_block=10**6)
    assert ready()[1].keys() == {"chain"}
    ChainStatus.objects.update(node_block=None, progressed=timezone.now() - timedelta(days=1))
    assert ready()[0] == 503
    ChainStatus.objects.update(progressed=timezone.now(), maintenance=True)
    assert ready() == (200, {})
    ChainStatus.objects.update(halted=True)
    assert ready()[0] == 503
    ChainStatus.objects.all().delete()
    assert ready() == (503, {"chain": "the chain has not been read yet"})


def test_not_ready_without_redis(play: Play, redis: RedisServer) -> None:
    redis.stop()
    assert ready() == (503, {"redis": "Redis does not answer"})


def test_not_ready_without_postgresql(
    play: Play, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_database(monkeypatch)
    found, problems = ready()
    assert found == 503
    assert problems == {"database": "PostgreSQL does not answer"}


def test_not_ready_before_the_migrations(play: Play, redis: RedisServer) -> None:
    from django.db.migrations.recorder import MigrationRecorder

    MigrationRecorder.Migration.objects.filter(app="heartbeat").delete()
    assert ready()[1] == {"migrations": "1 migrations are not applied"}


# ---- status -----------------------------------------------------------------------------------------------------


def test_status(play: Play, settings: Any) -> None:
    settings.SERVER_NAME = "hub-1"
    Outbox.objects.all().delete()
    Outbox.objects.create(
        event=Event.CHECKPOINT_CREATED, object_id=1, created=timezone.now() - timedelta(seconds=40)
    )
    Heartbeat.objects.create(name="chain", ended=timezone.now() - timedelta(seconds=7))
    settle("low balance", {"": "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1 holds 1 wei"}, 0)
    settle("node failed", {"a": "a.example does not answer", "b": "b.example does not answer"}, 0)
    body = get("/status/").json()
    assert (body["server"], body["state"], body["eon"]) == ("hub-1", "running", 1)
    assert [body[name] for name in ("halted", "forked", "behind", "maintenance")] == [False] * 4
    assert body["blocks"]["head"] == ChainStatus.objects.get().head_block
    assert body["heartbeats"]["chain"] == pytest.approx(7, abs=1)
    assert body["queues"]["events"] == 1
    assert body["queues"]["oldest_event_seconds"] == pytest.approx(40, abs=1)
    found = [(alarm["subject"], alarm["severity"], alarm["cases"]) for alarm in body["alarms"]]
    assert found == [("low balance", "critical", 1), ("node failed", "warning", 2)]
    assert body["alarms"][0]["runbook"].endswith("/low-balance.md")
    text = json.dumps(body)
    assert "0x90F8" not in text
    assert "example" not in text
    assert get("/status").json().keys() == body.keys()


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"halted": True}, "halted"),
        ({"forked": True}, "forked"),
        ({"node_block": 10**6}, "behind"),
        ({"maintenance": True}, "maintenance"),
        ({"maintenance": True, "halted": True}, "halted"),
    ],
)
def test_status_says_what_is_wrong(play: Play, change: dict[str, Any], state: str) -> None:
    ChainStatus.objects.update(**change)
    body = get("/status/").json()
    assert (body["state"], body[state]) == (state, True)


def test_status_of_a_hub_that_starts(db: None) -> None:
    body = get("/status/").json()
    assert (body["state"], body["eon"], body["blocks"], body["alarms"]) == ("starting", None, None, [])


def test_status_without_postgresql(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    break_database(monkeypatch)
    answer = get("/status/")
    assert (answer.status_code, answer.json()) == (503, {"detail": "PostgreSQL does not answer."})


def test_swagger_lists_the_endpoints(db: None) -> None:
    document = get("/swagger/?format=openapi").json()
    assert {"/status/", "/health/live", "/health/ready"} <= {
        path if path == "/status/" else path.rstrip("/") for path in document["paths"]
    }


# ---- metrics ----------------------------------------------------------------------------------------------------


def scrape(**headers: Any) -> dict[str, float]:
    """Values by name with labels."""
    answer = get("/metrics", **headers)
    assert answer.status_code == 200
    lines = answer.content.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def requests(route: str, code: int) -> str:
    return f'hub_http_requests_total{{method="GET",route="{route}",status="{code}"}}'


def test_requests_are_counted(db: None) -> None:
    name = requests("^health/live/?$", 200)
    before = scrape().get(name, 0.0)
    for _ in range(3):
        get("/health/live")
    get("/unknown/" + "x" * 50)
    after = scrape()
    assert after[name] == before + 3
    assert after['hub_http_request_seconds_count{route="^health/live/?$"}'] >= 3
    assert after[requests("none", 404)] >= 1
    assert not any("xxxx" in name for name in after)


def test_the_counts_of_several_processes_are_added(db: None) -> None:
    name = requests("^elsewhere$", 200)
    before = scrape().get(name, 0.0)
    code = (
        "import django; django.setup(); from operator_api.metrics import metrics;"
        "[metrics().answered('GET', '^elsewhere$', 200, 0.01) for _ in range(5)];"
        "metrics().ended('some.task', 'SUCCESS', 0.5)"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "operator_api.settings"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    after = scrape()
    assert after[name] == before + 10
    assert after['hub_tasks_total{state="SUCCESS",task="some.task"}'] >= 2


def test_answers_counted_together_are_counted_as_one_by_one(db: None) -> None:
    """In the files, too, from which /metrics has them: the bounds of buckets, below, between and above them."""
    seconds = (0.0, 0.003, *metrics.REQUEST_BUCKETS, 0.0051, 0.3, 0.3, 99.0)
    for _ in range(2):
        metrics.metrics().answered("GET", "^together$", 200, *seconds)
        for each in seconds:
            metrics.metrics().requests.labels("GET", "^alone$", "200").inc()
            metrics.metrics().request_seconds.labels("^alone$").observe(each)
    found = scrape()
    alone, together = (
        {name.replace(route, ""): value for name, value in found.items() if route in name}
        for route in ("^alone$", "^together$")
    )
    assert len(together) == len(metrics.REQUEST_BUCKETS) + 4
    assert together == pytest.approx(alone)


async def test_answers_in_an_event_loop_are_counted_after_its_turn_and_noted_at_once(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LOG_REQUESTS = False
    note = observer_in_loop()
    counter = metrics.metrics().requests.labels("GET", "^in-loop$", "200")
    note("GET", "^in-loop$", 200, 0.01)
    with caplog.at_level(logging.INFO, "operator_api.requests"):
        note("GET", "^in-loop$", 200, SLOW_SECONDS + 1)
    note("GET", "^in-loop$", 503, 0.01)
    assert caplog.messages == ["GET ^in-loop$ 200 6000.0 ms"]
    assert counter._value.get() == 0
    await asyncio.sleep(0)
    assert counter._value.get() == 2
    assert metrics.metrics().requests.labels("GET", "^in-loop$", "503")._value.get() == 1
    note("GET", "^in-loop$", 200, 0.01)
    await asyncio.sleep(0)
    assert counter._value.get() == 3
    settings.LOG_REQUESTS = True
    with caplog.at_level(logging.INFO, "operator_api.requests"):
        observer_in_loop()("GET", "^in-loop$", 200, 0.01)
    assert caplog.messages[1:] == ["GET ^in-loop$ 200 10.0 ms"]


def test_counts_end_with_the_last_process(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = tmp_path / f"counter_{ended.pid}.db", tmp_path / f"counter_{os.getpid()}.db"
    dead.touch()
    alive.touch()
    metrics._prepare(tmp_path)
    assert dead.exists()  # totals may not fall while somebody counts on
    alive.unlink()
    metrics._prepare(tmp_path)
    assert not dead.exists()


def test_the_hubs_gauges(play: Play) -> None:
    Heartbeat.objects.create(name="chain", runs=7, failures=2, seconds=3.5)
    settle("node failed", {"a": "a", "b": "b"}, 0)
    found = scrape()
    assert (found["hub_database_up"], found["hub_eon"], found["hub_accepting"]) == (1, 1, 1)
    assert found['hub_block{which="head"}'] == ChainStatus.objects.get().head_block
    assert found['hub_alarms{severity="warning"}'] == 2
    assert found['hub_alarm{severity="warning",subject="node failed"}'] == 2
    assert found['hub_heartbeat_runs_total{beat="chain"}'] == 7
    assert found['hub_heartbeat_failures_total{beat="chain"}'] == 2
    assert found['hub_queue_size{queue="events"}'] == Outbox.objects.count()


def test_tasks_are_timed(play: Play) -> None:
    name = 'hub_task_seconds_count{task="heartbeat.tasks.heartbeat_orders"}'
    before = scrape().get(name, 0.0)
    tasks.heartbeat_orders.apply()
    assert scrape()[name] == before + 1


def test_metrics_without_postgresql(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    break_database(monkeypatch)
    found = scrape()
    assert found["hub_database_up"] == 0
    assert "hub_eon" not in found


def test_metrics_are_for_those_whom_the_setting_names(db: None, settings: Any) -> None:
    assert get("/metrics").status_code == 200
    assert get("/metrics", REMOTE_ADDR="10.0.0.9").status_code == 404
    assert get("/metrics", HTTP_X_FORWARDED_FOR="127.0.0.1").status_code == 404
    settings.HUB_METRICS = "on"
    assert get("/metrics", REMOTE_ADDR="10.0.0.9").status_code == 200
    assert Client().post("/metrics").status_code == 405
    settings.HUB_METRICS = "off"
    assert get("/metrics").status_code == 404


def test_the_snapshot_is_kept_for_a_moment(
    play: Play, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    status.snapshot()
    with django_assert_num_queries(0):
        status.document()
        status.figures()
    monkeypatch.setattr(status, "CACHE_SECONDS", 0.0)
    time.sleep(0.01)
    ChainStatus.objects.update(halted=True)
    assert status.document()["halted"]
