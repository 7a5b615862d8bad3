"""What it costs a request to be counted and to have an id: python -m benchmarks.observing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

REQUESTS = 100_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")
    import django

    django.setup()
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse

    from operator_api.middleware_observing import observe

    request = HttpRequest()
    request.method = "POST"
    request.META = {"REMOTE_ADDR": "127.0.0.1"}
    request.resolver_match = SimpleNamespace(route="^transfer/?$")  # type: ignore[assignment]  # all that is read

    def answer(_: HttpRequest) -> HttpResponseBase:
        return HttpResponse(b"{}")

    bare = _microseconds(answer, request)
    settings.HUB_METRICS = "off"
    named = _microseconds(observe(answer), request)
    settings.HUB_METRICS = "local"
    counted = _microseconds(observe(answer), request)
    print(f"an id for a request: {named - bare:.1f} µs; counting it, too: {counted - bare:.1f} µs")


def _microseconds(handle: Callable[[HttpRequest], HttpResponseBase], request: HttpRequest) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(REQUESTS // 5):
            handle(request)
        best = min(best, (time.perf_counter() - began) / (REQUESTS // 5))
    return best * 1e6


if __name__ == "__main__":
    main()
