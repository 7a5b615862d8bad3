"""What the API's documentation and the page of error codes say."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.core.management import CommandError, call_command
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from operator_api import bridge, direct_protocol
from operator_api.error_advice import ADVICE
from operator_api.error_codes import ErrorCode
from operator_api.error_pages import document, page, places
from operator_api.tests.server import request, serving

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_THE_API = {"swagger", "redoc", "websocket", "asyncapi"}
"""Names of the pages that document the API."""


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All paths, as swagger writes them, and their views."""
    for item in resolver.url_patterns:
        if isinstance(item, URLResolver):
            yield from patterns(item, prefix + str(item.pattern))
        elif isinstance(item, URLPattern) and item.name not in NOT_THE_API:
            path = simplify_regex(prefix + str(item.pattern)).replace("<", "{").replace(">", "}")
            yield path.rstrip("/").removesuffix("/?") + "/", item.callback


ENDPOINTS = [
    (path, method)
    for path, view in patterns(get_resolver())
    if (view_class := getattr(view, "cls", None)) is not None
    for method in ("get", "post", "put", "patch", "delete")
    if hasattr(view_class, method)
]


@pytest.fixture(scope="module")
def swagger() -> Any:
    return document()


def test_only_views_of_the_framework_are_served() -> None:
    others = [path for path, view in patterns(get_resolver()) if not hasattr(view, "cls")]
    assert not [path for path in others if not re.match("/(metrics|health|status|admin)", path)]
    assert len(ENDPOINTS) >= 26


@pytest.mark.parametrize(("path", "method"), ENDPOINTS)
def test_every_endpoint_is_documented_with_its_answers(swagger: Any, path: str, method: str) -> None:
    operation = dict(swagger.paths[path].operations)[method]
    assert operation.description
    responses = operation.responses
    assert {"406", "408", "413", "429"} <= set(responses)
    good = [status for status in responses if status.startswith("2")]
    assert len(good) == 1
    for status, response in responses.items():
        assert getattr(response, "schema", None), f"{status} has no shape"
        assert response.description or not status.startswith("4")
    if method != "get":
        assert {"400", "415"} <= set(responses)
        assert ErrorCode.__members__.keys() & set(re.findall("`([A-Z_]+)`", responses["400"].description))
        body = [parameter for parameter in operation.parameters if parameter.in_ == "body"]
        assert len(body) == 1
    if "{" in path and not (path.startswith("/sla/") and method == "post"):
        assert {"404", "400"} & set(responses)


def status_of(port: int, method: str, path: str, length: int) -> int:
    """That of the answer to a request with a body of a length, none of which is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request(f"{method.upper()} {path}", f"Content-Length: {length}"))
        return int(connection.recv(65_536).split()[1])


def test_every_endpoint_refuses_bodies_as_documented(swagger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads, too: nobody expects a body there, but the server takes one."""
    from operator_api import asgi  # which is the hub's server, with all of its ways

    monkeypatch.setattr(bridge, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(bridge, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(direct_protocol, "PIECES_SECONDS", 0.05)
    with serving(asgi.application, asgi.HubProtocol) as port:
        for path, method in ENDPOINTS:
            responses = dict(swagger.paths[path].operations)[method].responses
            for length, status in ((settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1, 413), (1, 408)):
                assert status_of(port, method, re.sub("{[^}]*}", "1", path), length) == status, (method, path)
                assert str(status) in responses


def test_every_code_is_an_endpoint_s_and_has_advice(swagger: Any) -> None:
    assert set(places(swagger)) == set(ErrorCode)
    assert set(ADVICE) == set(ErrorCode)


def test_every_code_is_raised_somewhere() -> None:
    sources = [
        path.read_text()
        for path in ROOT.rglob("*.py")
        if not {".hub", "tests"} & set(path.relative_to(ROOT).parts)
        and path.name not in {"error_codes.py", "error_advice.py", "views.py", "swagger.py"}
    ]
    text = "\n".join(sources)
    views = "\n".join(path.read_text() for path in ROOT.glob("*/views.py"))
    raised = re.compile(r"raise refuse\(ErrorCode\.([A-Z_]+)|code = ErrorCode\.([A-Z_]+)")
    in_views = {name for found in raised.findall(views) for name in found}
    missing = [code.code for code in ErrorCode if code.code not in text and code.code not in in_views]
    assert not missing


def test_the_page_of_error_codes_is_up_to_date(tmp_path: Path, settings: Settings) -> None:
    call_command("errors", check=True)
    (tmp_path / "docs").mkdir()
    settings.BASE_DIR = tmp_path
    with pytest.raises(CommandError, match="not up to date"):
        call_command("errors", check=True)
    call_command("errors", stdout=StringIO())
    assert (tmp_path / "docs" / "errors.md").read_text() == page()
    call_command("errors", check=True)
