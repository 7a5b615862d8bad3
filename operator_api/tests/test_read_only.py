"""PostgreSQL takes no writes: an operator switched it to read only, or it was failed over to a standby."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from django.db import connection
from django.test import Client

from ledger.group_commit import GroupCommitter
from ledger.models import Transfer
from ledger.tests import http
from ledger.tests.checks import check_ledger
from ledger.tests.test_store import funded
from nocust.addresses import to_checksum
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet, transfer_body
from operator_api.tests.direct_server import Server, payer
from tos import services as tos

pytestmark = pytest.mark.django_db(transaction=True)

CODE = ErrorCode.DATABASE_READ_ONLY
ANSWER = {"code": CODE.code, "detail": CODE.value}


@contextmanager
def read_only() -> Iterator[None]:
    """Inside, all sessions are of a database that takes no writes."""
    name = connection.settings_dict["NAME"]
    reached = connection.get_connection_params()
    _anew(reached, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    try:
        yield
    finally:
        _anew(reached, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


def _anew(reached: dict[str, Any], statement: str) -> None:
    """Have the sessions that begin after a statement have its setting, and end those of before."""
    connection.close()
    with psycopg2.connect(**reached) as other, other.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ WRITE")
        cursor.execute(statement)
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("directly", [False, True])
def test_a_transfer(server: Server, play: Play, directly: bool) -> None:
    one = payer(server, play)
    headers = () if directly else ("X-Forwarded-Host: elsewhere",)
    body = one.body()
    with read_only():
        for _ in range(2):
            status, _, found = server.post("/transfer/", body, *headers)
            assert (status, found) == (503, ANSWER)
        assert Client().get("/audit/").status_code == 200
    assert server.post("/transfer/", transfer_body(one.command), *headers)[0] == 201
    check_ledger()


def test_a_batch_is_not_tried_one_by_one(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    players, asked = funded(play, 3), list[int]()

    class Counting(GroupCommitter):
        def execute(self, commands: Any) -> Any:
            asked.append(len(commands))
            return super().execute(commands)

    with read_only():
        outcomes = Counting().submit_all([player.transfer(players[2].owner, 1) for player in players[:2]])
    assert asked == [2]
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert not Transfer.objects.exists()


def test_registrations_and_signatures_of_terms(play: Play) -> None:
    new = SimulatedWallet.create(play.contract, play.tokens[0].address)
    (known,) = funded(play, 1)
    terms = tos.digest(tos.publish("cc" * 32, "dd" * 32))
    signature = {"address": to_checksum(known.address), "tos_signature": known.signer.sign(terms).hex()}
    registration = new.registration(play.eon, terms)
    requests = (("/admission/", registration), ("/tos/", signature))
    with read_only():
        for path, body in requests:
            assert http.post(path, body) == (503, ANSWER)
    for path, body in requests:
        assert http.post(path, body)[0] == 201
    check_ledger()
