"""Transfers and orders are answered alike on both ways, and all that stands before them applies to both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from ledger import store
from ledger.engine import PlaceOrder, Transfer
from ledger.models import ChainStatus
from ledger.models import Transfer as TransferRow
from ledger.tests import http
from ledger.tests.checks import check_ledger
from ledger.tests.racing import race
from ledger.tests.test_lost_commits import Lose, lose
from ledger.tests.test_store import funded
from operator_api import limits, pipeline
from operator_api.error_codes import NO_DATABASE_DETAIL
from operator_api.metrics import metrics
from operator_api.simulation.play import Play
from operator_api.simulation.traders import order_body
from operator_api.simulation.wallets import transfer_body
from operator_api.tests.direct_server import Payer, Server, payer, same
from restoration import middleware as restoration
from restoration.models import Hold
from swapper.tests.market import market, trader
from tos import services as tos

__all__ = ["lose"]  # fixture
pytestmark = pytest.mark.django_db(transaction=True)


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
    deadline = time.monotonic() + 10
    while counter._value.get() < before + 3:  # they are counted after they are sent
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert counter._value.get() == before + 3


def test_other_headers_are_learned_anew(server: Server, play: Play) -> None:
    one = payer(server, play)
    one.pay("User-Agent: any", "X-Forwarded-For: 192.0.2.1", "CF-Ray: 8f1", "Traceparent: 00-ab-cd-01")
    status, _, _ = server.post("/transfer/", one.body(), "X-Forwarded-Host: elsewhere")
    assert (status, server.general.asked) == (201, 2)


def test_requests_with_a_query_go_the_general_way(server: Server, play: Play) -> None:
    one = payer(server, play)
    assert server.post("/transfer/?a=b", one.body())[0] == 201
    assert server.general.asked == 2


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
        answers = [
            server.direct("/transfer/", one.body()),
            server.post("/transfer/", one.body(), "X-Forwarded-Host: elsewhere"),
        ]
    assert [(status, body) for status, _, body in answers] == [(503, {"detail": NO_DATABASE_DETAIL})] * 2
    assert server.direct("/transfer/", transfer_body(one.command))[0] == 201


@pytest.mark.parametrize("directly", [False, True])
def test_a_transfer_whose_commit_was_not_heard_of_is_answered(
    server: Server, play: Play, lose: Lose, directly: bool
) -> None:
    one = payer(server, play)
    lost = lose(True)
    headers = () if directly else ("X-Forwarded-Host: elsewhere",)
    answer = one.pay(*headers, directly=directly)
    assert lost
    assert answer[2]["tx_id"] == str(TransferRow.objects.latest("id").tx_id)
    one.pay()
    check_ledger()


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
