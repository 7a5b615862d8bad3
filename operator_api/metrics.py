"""Metrics for Prometheus.

Requests and tasks are counted where they happen. The processes of a host keep their counts in files of one folder
(HUB_METRICS_DIR), and whichever of them is asked adds them up. What the hub as a whole is like comes from
PostgreSQL, from one place (`operator_api.status`), whoever is asked.
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.signals import task_postrun, task_prerun
from django.conf import settings

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

REQUEST_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
TASK_BUCKETS = (0.01, 0.05, 0.2, 1.0, 5.0, 6.0, 15.0, 60.0, 300.0)


def enabled() -> bool:
    """Whether anything is counted."""
    return bool(settings.HUB_METRICS != "off")


class Metrics:
    """What the process counts. Its first use makes the folder."""

    def __init__(self) -> None:
        _prepare(Path(settings.HUB_METRICS_DIR))
        from prometheus_client import CollectorRegistry, Counter, Histogram

        registry = CollectorRegistry()
        self.requests: Counter = Counter(
            "hub_http_requests",
            "Answers, by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.request_seconds: Histogram = Histogram(
            "hub_http_request_seconds",
            "Time to make an answer, in seconds.",
            ["route"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.tasks: Counter = Counter(
            "hub_tasks", "Tasks that ended, by name and state.", ["task", "state"], registry=registry
        )
        self.task_seconds: Histogram = Histogram(
            "hub_task_seconds", "Time that tasks took.", ["task"], buckets=TASK_BUCKETS, registry=registry
        )
        self._answers: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def answered(self, method: str, route: str, status: int, *seconds: float) -> None:
        """Count answers that took so many seconds each. Looking the labels up each time would cost as much as
        counting."""
        found = self._answers.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, str(status)), self.request_seconds.labels(route)
            self._answers[method, route, status] = found
        found[0].inc(len(seconds))
        observe_all(found[1], seconds)

    def ended(self, task: str, state: str, seconds: float) -> None:
        """Count a task."""
        self.tasks.labels(task, state).inc()
        self.task_seconds.labels(task).observe(seconds)


def observe_all(histogram: Histogram, amounts: Sequence[float]) -> None:
    """Observe each of the amounts. The library writes to a file, after a system call, for each of them; here each
    value that changes is written once."""
    inside: Any = histogram
    buckets = Tally(bisect_left(inside._upper_bounds, amount) for amount in amounts)
    inside._sum.inc(sum(amounts))
    for bucket, count in buckets.items():
        inside._buckets[bucket].inc(count)


@cache
def metrics() -> Metrics:
    """Those of this process."""
    return Metrics()


def render() -> tuple[bytes, str]:
    """The text for Prometheus and its content type: counts of all processes of the host, and the hub's gauges."""
    metrics()
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, settings.HUB_METRICS_DIR)  # type: ignore[no-untyped-call]
    registry.register(_Hub())
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Hub:
    """The gauges of the hub as a whole."""

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        from operator_api.status import figures

        for figure in figures():
            family = CounterMetricFamily if figure.name.endswith("_total") else GaugeMetricFamily
            metric = family(figure.name, figure.help, labels=figure.labels)
            for labels, value in figure.values:
                metric.add_metric(list(labels), value)
            yield metric


def _prepare(folder: Path) -> None:
    """Make the folder and let the client library know it, which reads the variable as it is imported. Counts of
    dead processes stay, since totals may not fall, until no process is left that has counted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"HUB_METRICS_DIR {folder} belongs to somebody else")
    files = {path: path.stem.rpartition("_")[2] for path in folder.glob("*.db")}
    if not any(pid.isdigit() and _alive(int(pid)) for pid in files.values()):
        for path in files:
            path.unlink(missing_ok=True)
    os.environ.update(PROMETHEUS_MULTIPROC_DIR=str(folder))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ---- tasks ------------------------------------------------------------------------------------------------------

_began: dict[str, float] = {}


@task_prerun.connect
def _begin(task_id: str = "", **_: object) -> None:
    if enabled():
        _began[task_id] = time.monotonic()


@task_postrun.connect
def _end(task_id: str = "", task: Any = None, state: str | None = None, **_: object) -> None:
    began = _began.pop(task_id, None)
    if began is not None:
        metrics().ended(str(task.name), str(state), time.monotonic() - began)
