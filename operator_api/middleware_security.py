"""Headers that tell browsers what no page may do with an answer, beside those of SecurityMiddleware."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The policy of data: a browser that is made to show it runs and loads nothing."""
PAGE = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
"""The policy of pages: nothing comes from anywhere else, not even the picture that ReDoc asks its makers for, so
nobody else learns who looks. The documentation has scripts and styles inside its pages, and makes a worker."""


def security_headers(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: no answer is shown in a frame, and data is never taken for a page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        html = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("Content-Security-Policy", PAGE if html else NOTHING)
        return response

    return middleware
