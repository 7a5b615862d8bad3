"""The documents describe the protocol that is spoken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
from django.test import Client as Browser

from ledger.models import Event
from operator_api.simulation.play import Play
from synchronizer import consumers, protocol, status
from synchronizer.database import in_database
from synchronizer.events import KINDS
from synchronizer.orders import ORDER_EVENTS
from synchronizer.replay import Refusal
from synchronizer.tests.conftest import Connect, stream, tell

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "websocket.md").read_text()
ON_HUB = {"EON_STARTED", "CHECKPOINT_CREATED", "CHECKPOINT_SUBMITTED", "REORGANISATION", "STATUS"}


def rows(heading: str) -> set[str]:
    """The first code in each row of the table under a heading of the page."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


def test_operations() -> None:
    assert set(protocol.ARGUMENTS) == set(consumers.OPERATIONS) == rows("Requests")


def test_events() -> None:
    assert set(KINDS) == {str(event) for event in Event}
    assert set(protocol.HUB_EVENTS) == ON_HUB
    assert set(protocol.WALLET_EVENTS) == set(KINDS) - ON_HUB - {"SWAP_FREEZING"} | {"CHECKPOINT_CREATED"}
    assert set(protocol.PAIR_EVENTS) == {kind.on_pair for kind in ORDER_EVENTS.values()} - {None}
    for heading, events in (
        ("Events of wallets", protocol.WALLET_EVENTS),
        ("Events of pairs", protocol.PAIR_EVENTS),
        ("Events of everybody", protocol.HUB_EVENTS),
    ):
        assert rows(heading) == set(events)


def test_codes_and_limits() -> None:
    assert set(protocol.CLOSE_CODES) == set(consumers.Close)
    assert set(protocol.REFUSALS) == set(Refusal)
    assert rows("Codes") == {*map(str, Refusal), *(str(int(code)) for code in consumers.Close)}
    for number in (consumers.MAX_FRAME, consumers.MAX_WAITING, consumers.MAX_STREAMS, consumers.HEARTBEAT[1]):
        assert f"{number:,}" in PAGE


def test_the_documents_are_served() -> None:
    document = Browser().get("/websocket/asyncapi.json").json()
    assert document == protocol.document()
    assert document["asyncapi"] == "2.6.0"
    names = document["components"]["messages"]
    for direction in ("publish", "subscribe"):
        for reference in document["channels"]["/ws/"][direction]["message"]["oneOf"]:
            assert reference["$ref"].rpartition("/")[2] in names
    for path in ("/websocket", "/websocket/"):
        page = Browser().get(path)
        assert page.status_code == 200
        assert all(name in page.content.decode() for name in names)


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


def test_objects_are_defined_by_the_rest_interface() -> None:
    definitions = Browser().get("/swagger/?format=openapi").json()["definitions"]
    wanted = {
        name.rpartition("/")[2]
        for name in references(protocol.document())
        if name.startswith(protocol.DEFINITIONS)
    }
    assert wanted
    assert wanted <= set(definitions)


def check(frame: Any, name: str) -> None:
    """Whether a frame is as its message says, apart from objects of the REST interface."""

    def local(part: Any) -> Any:
        if isinstance(part, dict):
            return (
                {key: local(value) for key, value in part.items()}
                if "$ref" not in part
                else {"type": "object"}
            )
        return [local(value) for value in part] if isinstance(part, list) else part

    jsonschema.validate(frame, local(protocol.document()["components"]["messages"][name]["payload"]))


async def test_what_is_spoken_is_what_is_written(
    play: Play, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await in_database(play.register, 2)
    await in_database(play.deposit, alice, 10)
    await in_database(play.pay, alice, bob, 1)
    await in_database(play.next_eon)
    monkeypatch.setattr(status, "current", lambda: status.Flag.HALTED)
    await tell()
    client = await connect()
    params = {"token_address": bob.token.hex(), "wallet_address": bob.address.hex(), "eon_number": None}
    requests: dict[str, Any] = {
        "response.ping": ("ping", {}),
        "response.heartbeat": ("heartbeat", {"seconds": 0}),
        "response.wallet": ("get", {"resource": "wallet", "params": params}),
        "response.orders": (
            "get",
            {
                "resource": "orders",
                "params": {"sold_token": bob.token.hex(), "bought_token": bob.token.hex()},
            },
        ),
        "response.operator": ("get", {"resource": "operator", "params": {}}),
        "response.unsubscribe": ("unsubscribe", {"streams": ["hub"]}),
        "response.subscribe": ("subscribe", {"streams": [stream(bob), "hub"], "since": 0}),
        "error": ("subscribe", {"streams": ["hub"], "since": {"hub": 2**62}}),
    }
    for name, (op, args) in requests.items():
        check({"op": op, "args": args}, f"request.{op}")
        check(await client.ask(op, **args), name)
        if name == "response.subscribe":
            for _ in range(6):
                frame = await client.read()
                kind = frame["data"]["type"].partition("/")[0]
                check(frame, f"{kind}.{frame['data']['data']['type']}")
    with pytest.raises(jsonschema.ValidationError):
        check({"type": "heartbeat", "data": {}}, "heartbeat")
