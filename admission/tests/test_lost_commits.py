"""Registrations whose connection is lost before or after COMMIT: who sent one once never hears that it is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from admission import services as admission
from admission.services import AdmissionError, RegistrationCommitter, Request
from admission.tests.applications import application
from ledger.models import Wallet
from ledger.tests.checks import check_ledger
from ledger.tests.racing import Running
from ledger.tests.test_own_transaction import lose_connection
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db(transaction=True)


def lose(
    monkeypatch: pytest.MonkeyPatch, committed: bool, after: Callable[[], None] | None = None
) -> list[bool]:
    """Has the connection lost once at a COMMIT, before or after it is done; the list says that it was."""
    commit, lost = connection._commit, list[bool]()  # type: ignore[attr-defined]

    def losing() -> None:
        if lost:
            commit()
            return
        lost.append(committed)
        if committed:
            commit()
        lose_connection()
        if after is not None:
            after()
        with connection.cursor() as cursor:
            cursor.execute("COMMIT")

    monkeypatch.setattr(connection, "_commit", losing)
    return lost


def requests(play: Play, count: int) -> list[Request]:
    made = [SimulatedWallet.create(play.contract, play.tokens[0].address) for _ in range(count)]
    return [
        Request([application(play, player, play.tokens[0], play.eon)], play.eon, play.config)
        for player in made
    ]


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_registrations(monkeypatch: pytest.MonkeyPatch, committed: bool, count: int) -> None:
    play = Play()
    asked = requests(play, count)
    lost = lose(monkeypatch, committed)
    outcomes = RegistrationCommitter().submit_all(asked)
    assert lost
    assert outcomes == [request.admissions for request in asked]
    registered = Wallet.objects.filter(address__in=[request.admissions[0].address for request in asked])
    assert registered.count() == count
    check_ledger()


@pytest.mark.parametrize("times", [1, 2])
def test_a_registration_before_its_commit(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Known not to be written: it is decided again, once."""
    play = Play()
    (asked,) = requests(play, 1)
    register, lost = admission._register, list[bool]()

    def losing(*given: Any) -> None:
        if len(lost) < times:
            lost.append(True)
            lose_connection()
        register(*given)

    monkeypatch.setattr(admission, "_register", losing)
    (outcome,) = RegistrationCommitter().submit_all([asked])
    assert len(lost) == times
    if times > 1:
        assert isinstance(outcome, OperationalError)
        (outcome,) = RegistrationCommitter().submit_all([asked])
    assert outcome == asked.admissions
    check_ledger()


def test_another_server_registers_one_of_those_that_were_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play()
    asked = requests(play, 2)
    lose(monkeypatch, False, lambda: other(asked[0]))
    refused, accepted = RegistrationCommitter().submit_all(asked)
    assert isinstance(refused, AdmissionError)
    assert refused.code is ErrorCode.WALLET_ALREADY_ADMITTED
    assert accepted == asked[1].admissions
    check_ledger()


def other(request: Request) -> None:
    running = Running(lambda: admission.admit_all([request]))
    assert running.outcome() == [request.admissions]
