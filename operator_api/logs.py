"""Log lines: one an event, as text or as JSON, with the id of the request that caused it, and nothing private.

A request's id comes from its `X-Request-ID` or is made (`operator_api.middleware_observing`). Tasks that it
starts carry it on; other tasks have their own.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from celery.signals import before_task_publish, task_postrun, task_prerun

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request, or task, that this context works for; "" if there is none."""

HEADER = "hub_request_id"
"""The task header that carries a request's id."""
WELL_FORMED = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}\Z")
"""What ids from outside may look like: they go into log lines and headers."""

_SIGNATURE = re.compile(r"[0-9a-fA-F]{128,}")
_CREDENTIALS = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


class Redactor:
    """Takes out of texts what must not be read in logs: signatures, passwords in URLs, and the `secrets`."""

    def __init__(self, secrets: list[str]) -> None:
        long = sorted({text for text in secrets if len(text) >= 8}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, long)), re.IGNORECASE) if long else None

    def __call__(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub("[secret]", text)
        return _CREDENTIALS.sub(r"\1[secret]@", _SIGNATURE.sub("[signature]", text))


class LineFormatter(logging.Formatter):
    """A line of text; a traceback follows on further lines."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self._redact = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        text = self._redact(super().format(record))
        found = request_id.get()
        return f"{text} [{found}]" if found else text


class JSONFormatter(logging.Formatter):
    """A JSON object on one line, tracebacks included. `time` is UTC."""

    def __init__(self, secrets: list[str], server: str) -> None:
        super().__init__()
        self._redact = Redactor(secrets)
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redact(record.getMessage()),
            "server": self._server,
            "process": os.getpid(),
            "thread": record.threadName,
        }
        if found := request_id.get():
            line["request_id"] = found
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


# ---- tasks ------------------------------------------------------------------------------------------------------

_outer = threading.local()


@before_task_publish.connect
def _carry(headers: dict[str, Any] | None = None, **_: object) -> None:
    """Give the request's id to a task that it starts."""
    found = request_id.get()
    if found and headers is not None:
        headers[HEADER] = found


@task_prerun.connect
def _begin(task_id: str = "", task: Any = None, **_: object) -> None:
    carried = getattr(task.request, HEADER, None) if task is not None else None
    _outer.id = request_id.get()
    request_id.set(str(carried or task_id))


@task_postrun.connect
def _end(**_: object) -> None:
    request_id.set(getattr(_outer, "id", ""))
