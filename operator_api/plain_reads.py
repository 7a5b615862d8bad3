"""Reads that come often, without the REST framework's request, negotiation and response around them; most of them
without Django's, too (`direct_reads.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

ORDINARY = frozenset({"*/*", "application/json", "application/json, text/plain, */*"})
"""What clients accept, as programs, browsers and the stock client's library write it."""

Found = tuple[Any, dict[str, str]]
"""A document and the headers of its own."""
Names = Mapping[str, str]
"""What the names in a path stand for."""
FindAll = Callable[[Sequence[Names]], list[Found | None]]

together: dict[Callable[..., Any], FindAll] = {}
"""By the views that `plainly` made, what answers several requests together."""


def plainly(
    view: Callable[..., Any], find: Callable[..., Found | None], find_all: FindAll | None = None
) -> Callable[..., HttpResponseBase]:
    """The REST framework's `view`, in front of which `find` serves GET requests without parameters of clients that
    take JSON. It gets the names in the path, and gives None where the framework is to say what is wrong. `find_all`
    answers several requests together, and may leave more of them to the view."""

    allowed = ", ".join(view.cls().allowed_methods)  # type: ignore[attr-defined]  # the framework adds it

    @wraps(view)
    def read(request: HttpRequest, **names: str) -> HttpResponseBase:
        meta = request.META
        if (
            request.method == "GET"
            and not meta.get("QUERY_STRING")
            and meta.get("HTTP_ACCEPT", "*/*") in ORDINARY
        ):
            found = find(**names)
            if found is not None:
                document, headers = found
                response = HttpResponse(orjson.dumps(document), content_type="application/json")
                for name, value in headers.items():
                    response[name] = value
                response["Allow"] = allowed
                return response
        answer: HttpResponseBase = view(request, **names)
        return answer

    together[read] = find_all or (lambda asked: [find(**names) for names in asked])
    return read
