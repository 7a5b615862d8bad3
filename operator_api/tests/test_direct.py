"""Transfers and orders are answered alike on both ways, and all that stands before them applies to both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from admission.services import RegistrationCommitter
from ledger import store
from ledger.engine import PlaceOrder, Transfer
from ledger.group_commit import GroupCommitter
from ledger.models import ChainStatus
from ledger.models import Transfer as TransferRow
from ledger.tests import http
from ledger.tests.checks import check_ledger
from ledger.tests.racing import race
from ledger.tests.test_store import funded
from operator_api import limits, pipeline
from operator_api.bridge import Bridge
from operator_api.direct import Direct
from operator_api.direct_protocol import DirectProtocol
from operator_api.error_codes import NO_DATABASE_DETAIL
from operator_api.metrics import metrics
from operator_api.pipeline import Pipeline
from operator_api.plain_input import meet
from operator_api.simulation.play import Play
from operator_api.simulation.traders import order_body
from operator_api.simulation.wallets import SimulatedWallet, transfer_body
from operator_api.tests.server import request, serving, talk
from operator_api.wsgi import application
from restoration import middleware as restoration
from restoration.models import Hold
from swapper.tests.market import market, trader
from tos import services as tos

pytestmark = pytest.mark.django_db(transaction=True)
Answer = tuple[int, dict[str, str], Any]
OWN = {"date", "x-request-id", "content-length"}


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

    def __init__(self, port: int, general: Counting, committer: GroupCommitter) -> None:
        self.port = port
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


@pytest.fixture
def server() -> Iterator[Server]:
    restoration.forget()
    general, committer = Counting(), GroupCommitter()
    lines = Pipeline(committer, meet), Pipeline(RegistrationCommitter())
    direct = Direct(general, *lines)
    with serving(direct, http=type("Protocol", (DirectProtocol,), {"direct": direct})) as port:
        yield Server(port, general, committer)
    for line in lines:
        line.close()
    restoration.forget()


@pytest.fixture
def play() -> Play:
    return Play()


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


@pytest.mark.parametrize("path", ["/transfer/", "/transfer"])
@pytest.mark.parametrize(
    "headers", [(), ("Origin: http://localhost:3000",), ("Origin: http://elsewhere",), ("Accept: */*",)]
)
def test_transfers_are_answered_alike(
    server: Server, play: Play, path: str, headers: tuple[str, ...]
) -> None:
    one = Payer(server, *funded(play, 2, 1000))
    general = one.pay(*headers, path=path, directly=False)
    direct = one.pay(*headers, path=path)
    same(general, direct)
    assert ("access-control-allow-origin" in direct[1]) == ("Origin: http://localhost:3000" in headers)
    assert direct[2]["position"] == "1"
    row = TransferRow.objects.get(pk=direct[2]["id"])
    assert direct[2]["tx_id"] == str(row.tx_id)
    check_ledger()


def test_orders_are_answered_alike(server: Server, play: Play) -> None:
    market(play)
    bodies = [order_body(trader(play, 100).place(100, 7, eons)) for eons in (1, 1, 3)]
    general, *direct = [
        server.post("/swap/", bodies[0]),
        *(server.direct("/swap/", body) for body in bodies[1:]),
    ]
    for answer in direct:
        same(general, answer)
        assert TransferRow.objects.filter(tx_id=answer[2]["tx_id"]).exists()
    assert general[2]["matched_amounts"] == direct[0][2]["matched_amounts"]


def test_what_is_refused_is_refused_alike(server: Server, play: Play) -> None:
    """Each bad body, and then on the way without the direct one."""
    one = payer(server, play)
    good = one.body()
    for body in (*http.hostile(good), {**good, "amount": "9" * 70}, {**good, "eon_number": 7}):
        if body == good:
            continue
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = server.post("/transfer/", content)
        assert (answer[0], answer[2]) == http.post("/transfer/", content)
        assert 400 <= answer[0] < 500
    assert server.direct("/transfer/", good)[0] == 201
    assert TransferRow.objects.count() == 2


def test_a_request_has_its_id_and_is_counted(server: Server, play: Play) -> None:
    one = payer(server, play)
    counter = metrics().requests.labels("POST", "^transfer/?$", "201")
    before = counter._value.get()
    assert one.pay("X-Request-ID: my-own.id")[1]["x-request-id"] == "my-own.id"
    made = one.pay("X-Request-ID: not well-formed")[1]["x-request-id"]
    assert len(made) == 32
    assert made != one.pay()[1]["x-request-id"]
    assert counter._value.get() == before + 3


def test_other_headers_are_learned_anew(server: Server, play: Play) -> None:
    one = payer(server, play)
    one.pay("User-Agent: any", "X-Forwarded-For: 192.0.2.1")
    status, _, _ = server.post("/transfer/", one.body(), "X-Forwarded-Host: elsewhere")
    assert (status, server.general.asked) == (201, 2)


def test_requests_in_pieces_and_with_a_query_go_the_general_way(server: Server, play: Play) -> None:
    one = payer(server, play)
    content = json.dumps(one.body()).encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(content)}")
    whole = request("POST /transfer/", *lines, body=content)
    status, _, _ = talk(server.port, whole[:-10], whole[-10:], pause=0.1)
    one.accepted()
    assert status == 201
    assert server.post("/transfer/?a=b", one.body())[0] == 201
    assert server.general.asked == 3


def test_the_hold_and_the_maintenance_apply(server: Server, play: Play) -> None:
    one = payer(server, play)
    ChainStatus.objects.update(maintenance=True)
    body = one.body()
    answer = server.post("/transfer/", body)
    assert (answer[0], answer[2][0]["code"]) == (400, "HUB_MAINTENANCE")
    ChainStatus.objects.update(maintenance=False)
    hold = Hold.objects.create(reason="a test", noticed=timezone.now())
    restoration.forget()
    answer = server.post("/transfer/", body)
    assert (answer[0], answer[2]) == (503, {"detail": restoration.DETAIL})
    hold.delete()
    restoration.forget()
    assert server.direct("/transfer/", body)[0] == 201


def test_the_terms_apply(server: Server, play: Play, settings: Settings) -> None:
    settings.TOS_UPDATE_WINDOW_DAYS = 0
    one = payer(server, play)
    tos.publish("ab" * 32, "cd" * 32)
    answer = server.post("/transfer/", one.body())
    assert (answer[0], answer[2]["code"]) == (403, "INVALID_TOS_SIGNATURE")


def test_the_limit_of_an_address_applies(server: Server, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    one = payer(server, play)
    found = limits.Buckets(0.001, 3)
    monkeypatch.setattr(limits, "_address_buckets", lambda: found)
    for _ in range(3):
        one.pay()
    status, headers, body = server.post("/transfer/", one.body())
    assert (status, headers["x-ratelimit-remaining"]) == (429, "0")
    assert body["detail"].startswith("Too many requests of this address.")


def test_a_failing_ledger_is_told_without_a_word_on_what_failed(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = payer(server, play)
    monkeypatch.setattr("ledger.group_commit.execute", fail)
    status, headers, body = server.direct("/transfer/", one.body())
    assert (status, body) == (500, {"detail": "Internal error."})
    assert headers["x-content-type-options"] == "nosniff"
    monkeypatch.setattr("ledger.group_commit.execute", store.execute)
    assert server.direct("/transfer/", transfer_body(one.command))[0] == 201


def test_a_database_that_does_not_answer_is_no_mistake_of_the_hub(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = payer(server, play)
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        patch.setattr("ledger.group_commit.execute", lambda commands: connection.copy().ensure_connection())
        answers = [server.direct("/transfer/", one.body()), server.post("/transfer/", one.body(), "X-Odd: 1")]
    assert [(status, body) for status, _, body in answers] == [(503, {"detail": NO_DATABASE_DETAIL})] * 2
    assert server.direct("/transfer/", transfer_body(one.command))[0] == 201


def test_a_thread_survives_what_it_did_not_expect(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = payer(server, play)
    body = one.body()
    for step in ("close_old_connections", "command_of"):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, step, fail)
            assert server.direct("/transfer/", body)[0] == 500
    assert server.direct("/transfer/", body)[0] == 201


def fail(*_: Any) -> Any:
    raise RuntimeError("the disk is full")


def test_before_the_first_block_the_hub_is_not_ready(server: Server, play: Play) -> None:
    one = payer(server, play)
    ChainStatus.objects.all().delete()
    answer = server.post("/transfer/", one.body())
    assert answer[0] == 503


def test_many_at_once_share_transactions_and_none_is_lost(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    payers = [payer(server, play) for _ in range(8)]
    batches: list[int] = []

    def execute(commands: list[Transfer | PlaceOrder]) -> Any:
        batches.append(len(commands))
        return store.execute(commands)

    monkeypatch.setattr("ledger.group_commit.execute", execute)

    def pay_ten(one: Payer) -> Callable[[], int]:
        return lambda: sum(one.pay()[0] for _ in range(10))

    assert race([pay_ten(one) for one in payers]) == [2010] * 8
    assert TransferRow.objects.count() == 88
    assert sum(batches) == 80
    assert len(batches) < 80
    check_ledger()
