"""The documentation of the websocket over HTTP."""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from synchronizer import protocol

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{description}</p>
<p>{url}; the same for programs: <a href="/websocket/asyncapi.json">AsyncAPI</a>. Objects of events are those of the
<a href="/swagger/">REST interface</a>.</p>
<h2>Requests</h2>{requests}<h2>What the hub sends</h2>{frames}<h2>Close codes</h2>{codes}</body></html>"""


@require_safe
def asyncapi(request: HttpRequest) -> HttpResponse:
    """The protocol as an AsyncAPI document."""
    return HttpResponse(orjson.dumps(protocol.document()), content_type="application/json")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The protocol as a page to read."""
    document = protocol.document()
    messages = document["components"]["messages"]
    info = document["info"]
    text = format_html(
        PAGE,
        title=info["title"],
        description=info["description"],
        url=document["channels"]["/ws/"]["description"],
        requests=_messages({name: of for name, of in messages.items() if name.startswith("request.")}),
        frames=_messages({name: of for name, of in messages.items() if not name.startswith("request.")}),
        codes=_list(document["x-close-codes"]),
    )
    return HttpResponse(text)


def _messages(messages: dict[str, protocol.Object]) -> SafeString:
    rows = (
        (name, message["summary"], orjson.dumps(message["payload"], option=orjson.OPT_INDENT_2).decode())
        for name, message in messages.items()
    )
    row = "<details><summary><b>{}</b>: {}</summary><pre>{}</pre></details>"
    return format_html_join("\n", row, rows)


def _list(items: dict[str, str]) -> SafeString:
    return format_html_join("\n", "<p><b>{}</b>: {}</p>", items.items())
