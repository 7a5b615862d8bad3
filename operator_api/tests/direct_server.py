"""A server with both ways, the direct and the general one, and wallets that pay through it."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings as django_settings
from django.db import connections

from ledger.group_commit import GroupCommitter
from ledger.tests.test_store import funded
from operator_api.bridge import Bridge
from operator_api.direct import Direct
from operator_api.middleware_limits import RateLimits
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet, transfer_body
from operator_api.tests.server import request, talk
from operator_api.wsgi import application

Answer = tuple[int, dict[str, str], Any]
OWN = {"date", "x-request-id", "content-length", "x-ratelimit-remaining", "x-ratelimit-reset"}


def closing(environ: dict[str, Any], start_response: Any) -> Any:
    """The hub, leaving no database connection behind in the thread."""
    try:
        return application(environ, start_response)
    finally:
        connections.close_all()


class Counting:
    """The general way, and how many requests it answered."""

    def __init__(self) -> None:
        self.bridge = Bridge(closing, 4, django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        self.asked = 0

    async def __call__(self, *arguments: Any) -> None:
        self.asked += 1
        await self.bridge(*arguments)


class Server:
    """A server with both ways."""

    def __init__(
        self, port: int, general: Counting, committer: GroupCommitter, direct_way: Direct, limits: RateLimits
    ) -> None:
        self.port = port
        self.direct_way = direct_way
        self.limits = limits
        self.general = general
        self.committer = committer

    def post(self, path: str, body: Any, *headers: str) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = ("Content-Type: application/json", f"Content-Length: {len(content)}", *headers)
        status, found, text = talk(self.port, request(f"POST {path}", *lines, body=content))
        return status, found, json.loads(text)

    def direct(self, path: str, body: Any, *headers: str) -> Answer:
        """The answer to a request that must not go the general way."""
        before = self.general.asked
        answer = self.post(path, body, *headers)
        assert self.general.asked == before, answer
        return answer


class Payer:
    """Somebody whose transfers follow on one another."""

    def __init__(self, server: Server, sender: SimulatedWallet, recipient: SimulatedWallet) -> None:
        self.server = server
        self.sender, self.recipient = sender, recipient
        self.received = 0

    def body(self, amount: int = 1) -> Any:
        self.command = self.sender.transfer(self.recipient.owner, amount)
        return transfer_body(self.command)

    def accepted(self) -> None:
        self.sender.accepted(self.command, self.received)
        self.received += self.command.amount

    def pay(self, *headers: str, path: str = "/transfer/", directly: bool = True) -> Answer:
        answer = (self.server.direct if directly else self.server.post)(path, self.body(), *headers)
        assert answer[0] == 201, answer
        self.accepted()
        return answer


def payer(server: Server, play: Play, *headers: str) -> Payer:
    """One whose requests with these headers are answered directly."""
    made = Payer(server, *funded(play, 2, 10**24))
    made.pay(*headers, directly=False)
    return made


def same(one: Answer, other: Answer) -> None:
    """Both answers differ in what is an answer's own alone."""
    assert one[0] == other[0]
    first, second = (
        {key: text for key, text in answer[1].items() if key not in OWN} for answer in (one, other)
    )
    assert first == second
    assert list(one[2]) == list(other[2])
    assert {key for key in one[2] if type(one[2][key]) is not type(other[2][key])} == set()
