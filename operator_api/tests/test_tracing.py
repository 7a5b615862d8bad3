"""Errors and traces leave the hub for those who ask for them, with nothing private in them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from ledger.sql import write
from operator_api import tracing

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "the packages of requirements-tracing.txt are not installed"


@pytest.fixture
def spans(settings: Any) -> Iterator[Any]:
    """Where spans go, kept in memory."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter", reason=PACKAGES)
    pytest.importorskip("opentelemetry.instrumentation.django", reason=PACKAGES)
    settings.TRACES_SHARE = 1.0
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    exporter = memory.InMemorySpanExporter()
    tracing.trace(exporter, at_once=True)
    yield exporter
    tracing.stop()


def test_a_request_and_its_statements_are_one_trace(transactional_db: None, spans: Any) -> None:
    from django.db import connection

    connection.close()  # what is connected from now on is traced
    headers = {"X-Request-ID": "r-9", "X-Secret": "body-of-a-request"}
    assert Client().get("/analytics/wallets?signature=abc", headers=headers).status_code == 200
    found = spans.get_finished_spans()
    (request,) = [span for span in found if span.kind.name == "SERVER"]
    statements = [span for span in found if span.name == "SELECT"]
    assert statements
    assert {span.context.trace_id for span in found} == {request.context.trace_id}
    assert request.attributes["hub.request_id"] == "r-9"
    assert "body-of-a-request" not in str([span.attributes for span in found])
    connection.close()


def test_traced_connections_do_what_the_ledger_needs(transactional_db: None, spans: Any) -> None:
    from django.db import connection, transaction

    connection.close()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE thing (id int) ON COMMIT DROP")
        write("INSERT INTO thing (id) VALUES %s", [(1,), (2,), (3,)])
        with connection.connection.cursor(name="stream") as stream:
            stream.execute("SELECT id FROM thing ORDER BY id")
            assert [row[0] for row in stream] == [1, 2, 3]
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'private-value', %s", ["private-parameter"])
    assert connection.connection.notifies is not None
    assert "private-parameter" not in str([span.attributes for span in spans.get_finished_spans()])
    connection.close()


def test_a_task_belongs_to_the_trace_that_started_it(spans: Any) -> None:
    from opentelemetry import trace

    app = Celery("traced", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="traced.add")
    def add(a: int, b: int) -> int:
        return a + b

    with start_worker(app, pool="solo", perform_ping_check=False):
        tracer = tracing._provider.get_tracer("test")
        with tracer.start_as_current_span("outside") as outside:
            assert trace.get_current_span() is outside
            assert add.delay(1, 2).get(timeout=20) == 3
    names = {span.name: span for span in spans.get_finished_spans()}
    assert names["run/traced.add"].context.trace_id == outside.get_span_context().trace_id
    assert names["run/traced.add"].parent.span_id == names["apply_async/traced.add"].context.span_id


def test_nothing_is_loaded_unless_asked_for() -> None:
    code = (
        "import django, sys; django.setup(); import operator_api.wsgi;"
        "sys.exit(any(name.startswith(('sentry_sdk', 'opentelemetry')) for name in sys.modules))"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "operator_api.settings"}
    environment.pop("SENTRY_DSN", None)
    environment.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False).returncode == 0
    )


@pytest.mark.parametrize("name", ["SENTRY_DSN", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_missing_packages_are_told_at_start(
    name: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sentry_sdk", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        monkeypatch.setitem(sys.modules, module, None)
    setattr(settings, name, "http://key@127.0.0.1:9/1")
    with pytest.raises(ImproperlyConfigured, match=f"{name} needs the packages"):
        tracing.start()


class Collector:
    """Takes what is POSTed to it."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size + 2)[:-2]
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.bodies.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def run(code: str, **variables: str) -> None:
    """In a process of its own, whose hooks into Django nobody takes out again."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "operator_api.settings"} | variables
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)


def test_errors_go_to_sentry_without_anything_private(collector: Collector) -> None:
    pytest.importorskip("sentry_sdk", reason=PACKAGES)
    run(
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "from operator_api import health\n"
        "def broken():\n"
        "    secret = 'in-a-local' + '-variable'\n"
        "    raise RuntimeError('it broke')\n"
        "health.problems = broken\n"
        "client = Client(raise_request_exception=False)\n"
        "headers = {'X-Request-ID': 'r-5', 'Authorization': 'private-header'}\n"
        "assert client.get('/health/ready', headers=headers).status_code == 500\n"
        "import sentry_sdk; sentry_sdk.flush(10)\n",
        SENTRY_DSN=f"http://key@{collector.address}/1",
        SERVER_NAME="hub-1",
    )
    text = b"".join(body for _, body in collector.bodies).decode()
    assert "it broke" in text
    assert "r-5" in text
    assert "hub-1" in text
    for private in ("private-header", "in-a-local-variable"):
        assert private not in text


def test_traces_go_where_the_environment_says(collector: Collector) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=PACKAGES)
    run(
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "assert Client().get('/health/live').status_code == 200\n"
        "from operator_api import tracing; tracing.stop()\n",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{collector.address}",
        HUB_TRACES_PERCENT="100",
    )
    ((path, body),) = collector.bodies
    assert path == "/v1/traces"
    assert b"nocust-hub" in body
    assert b"health/live" in body
