"""Requests as clients send them, and the shapes that answers have (`spec/http-api.md` §2.1)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from django.test import Client

Body = Any
Path = tuple[str | int, ...]

HOSTILE: list[Body] = [
    None,
    "",
    " ",
    "0x",
    "zz",
    "-1",
    "1.5",
    "1e400",
    "1e999999999",
    "NaN",
    "Infinity",
    "0x10",
    "\u0000",
    "\u0661\u0662",
    "9" * 5000,
    "ab" * 200,
    "11" * 20,
    "11" * 65,
    "ff" * 65,
    -1,
    1.5,
    2**63,
    2**64,
    2**256,
    10**90,
    True,
    [],
    [None],
    [["a"]],
    {},
    {"value": None},
    {"value": {"value": "00"}},
    {"address": None, "token": None},
]
"""What no field of a request takes."""

BROKEN = [
    b"",
    b"{",
    b"{'a': 1}",
    b"\xff\xfe",
    b'{"a": NaN}',
    b'{"a": "\\ud800"}',
    b"[" * 5000,
    b'{"a": 1e999}',
]
"""Bodies that are not JSON, or hardly."""


def client() -> Client:
    """A client that sees a crash as the status 500, as the outside does."""
    return Client(raise_request_exception=False)


def get(path: str) -> tuple[int, Body]:
    response = client().get(path)
    return response.status_code, json.loads(response.content)


def post(path: str, body: Body) -> tuple[int, Body]:
    """Post JSON; bytes are posted as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client().post(path, data=data, content_type="application/json")
    assert response["Content-Type"] == "application/json", (response.status_code, response.content[:200])
    return response.status_code, json.loads(response.content)


def put(body: Body, path: Path, value: Body) -> Body:
    """A copy of the body with another value at the path."""
    if not path:
        return value
    changed = copy.deepcopy(body)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def drop(body: Body, path: Path) -> Body:
    """A copy of the body without the key or item at the path."""
    changed = copy.deepcopy(body)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed


def paths(body: Body, prefix: Path = ()) -> Iterator[Path]:
    """Every place in the body, itself included."""
    yield prefix
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield from paths(value, (*prefix, key))


def hostile(body: Body) -> Iterator[Body]:
    """The body with each hostile value at each place, with each key missing, and bodies that are no JSON."""
    for path in paths(body):
        yield from (put(body, path, value) for value in HOSTILE)
        if path:
            yield drop(body, path)
    yield from BROKEN


def code(found: tuple[int, Body]) -> str:
    """The code of a business error, shape A."""
    status, body = found
    assert status == 400, found
    assert isinstance(body, list), found
    assert len(body) == 1
    return _code(body[0])


def object_code(found: tuple[int, Body]) -> str:
    """The code of an error across fields, shape B."""
    status, body = found
    assert status == 400, found
    assert isinstance(body, dict), found
    assert list(body) == ["non_field_errors"], found
    return _code(body["non_field_errors"][0])


def field_code(found: tuple[int, Body], *path: str) -> str:
    """The code of a field's error, shape C, and of no other field."""
    status, body = found
    assert status == 400, found
    for step in path:
        assert isinstance(body, dict), found
        assert list(body) == [step], found
        body = body[step]
    assert isinstance(body, list), found
    return _code(body[0])


def _code(error: Body) -> str:
    assert set(error) == {"message", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["code"], str)
    return error["code"]


def check_refusal(found: tuple[int, Body]) -> None:
    """A refusal in one of the documented shapes, and never a crash."""
    status, body = found
    assert 400 <= status < 500, found
    if status == 400 and not (isinstance(body, dict) and set(body) == {"detail"}):
        _check_errors(body)
    elif status == 403 and set(body) == {"code", "message"}:
        assert body["code"] == "INVALID_TOS_SIGNATURE"
    else:
        assert set(body) == {"detail"}, found
        assert isinstance(body["detail"], str)


def _check_errors(body: Body) -> None:
    assert body, "an error says which"
    if isinstance(body, list):
        for item in body:
            if item == {}:
                continue
            if isinstance(item, dict) and set(item) == {"message", "code"} and isinstance(item["code"], str):
                _code(item)
            else:
                _check_errors(item)
        return
    for value in body.values():
        _check_errors(value)
