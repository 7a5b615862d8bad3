"""Gives each request its id, counts it, and notes it in the log where that is wanted."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from operator_api.logs import WELL_FORMED, request_id
from operator_api.metrics import Metrics, enabled, metrics

logger = logging.getLogger("operator_api.requests")

SLOW_SECONDS = 5.0
"""An answer that takes longer is noted."""

Handler = Callable[[HttpRequest], HttpResponseBase]


def observe(get_response: Handler) -> Handler:
    """Django middleware, the outermost."""
    note = observer()

    def handle(request: HttpRequest) -> HttpResponseBase:
        name = name_request(request.META.get("HTTP_X_REQUEST_ID", ""))
        began = time.perf_counter()
        response = get_response(request)
        match = request.resolver_match
        route = match.route if match is not None else "none"
        note(request.method or "", route, response.status_code, time.perf_counter() - began)
        response["X-Request-ID"] = name
        return response

    return handle


def name_request(given: str) -> str:
    """The id of a request whose X-Request-ID is `given`. It is that of this context until the next one: Django logs
    errors after the middleware, too."""
    # Ids need not be secret, and to ask the system for random bytes costs more than the rest of an answer.
    name = given if given and WELL_FORMED.match(given) else f"{random.getrandbits(128):032x}"
    request_id.set(name)
    return name


Note = Callable[[str, str, int, float], None]
"""What counts an answer and notes it: method, route, status, seconds."""


def observer() -> Note:
    """What counts and notes each answer at once."""
    counted = metrics() if enabled() else None
    log = _log()

    def note(method: str, route: str, status: int, seconds: float) -> None:
        if counted is not None:
            counted.answered(method, route, status, seconds)
        log(method, route, status, seconds)

    return note


def observer_in_loop() -> Note:
    """What notes each answer at once, and counts those of a turn of the event loop together after it: to count one
    alone takes system calls and writes to files."""
    counted = metrics() if enabled() else None
    log = _log()
    uncounted: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)

    def count(counted: Metrics) -> None:
        answers = dict(uncounted)
        uncounted.clear()
        for answer, seconds in answers.items():
            counted.answered(*answer, *seconds)

    def note(method: str, route: str, status: int, seconds: float) -> None:
        if counted is not None:
            if not uncounted:
                asyncio.get_running_loop().call_soon(count, counted)
            uncounted[method, route, status].append(seconds)
        log(method, route, status, seconds)

    return note


def _log() -> Note:
    every = settings.LOG_REQUESTS

    def log(method: str, route: str, status: int, seconds: float) -> None:
        if every or seconds > SLOW_SECONDS:
            logger.info("%s %s %d %.1f ms", method, route, status, 1000 * seconds)

    return log
