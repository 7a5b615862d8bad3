"""Gives each request its id, counts it, and notes it in the log where that is wanted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from operator_api.logs import WELL_FORMED, request_id
from operator_api.metrics import enabled, metrics

logger = logging.getLogger("operator_api.requests")

SLOW_SECONDS = 5.0
"""An answer that takes longer is noted."""

Handler = Callable[[HttpRequest], HttpResponseBase]


def observe(get_response: Handler) -> Handler:
    """Django middleware, the outermost."""
    counted = metrics() if enabled() else None
    every = settings.LOG_REQUESTS

    def handle(request: HttpRequest) -> HttpResponseBase:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        name = given if given and WELL_FORMED.match(given) else uuid4().hex
        request_id.set(name)  # until the next one: Django logs errors after the middleware, too
        began = time.perf_counter()
        response = get_response(request)
        seconds = time.perf_counter() - began
        match = request.resolver_match
        route = match.route if match is not None else "none"
        if counted is not None:
            counted.answered(request.method or "", route, response.status_code, seconds)
        if every or seconds > SLOW_SECONDS:
            logger.info("%s %s %d %.1f ms", request.method, route, response.status_code, 1000 * seconds)
        response["X-Request-ID"] = name
        return response

    return handle
