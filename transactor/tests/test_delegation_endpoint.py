"""POST /transfer/delegated_withdrawal as the outside sees it."""

from __future__ import annotations

from typing import Any

import pytest

from contractor.models import EthereumTransaction
from ledger.models import ChainStatus, DelegatedWithdrawal
from ledger.tests import http
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db
URL = "/transfer/delegated_withdrawal"


@pytest.fixture
def play() -> Play:
    return Play()


def body(player: SimulatedWallet, amount: int = 60, expiry: int = 59) -> dict[str, Any]:
    return {
        "signature": player.delegation(amount, expiry).hex(),
        "wallet": player.address.hex(),
        "token": player.token.hex(),
        "amount": str(amount),
        "expiry": expiry,
    }


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_form_or_json_is_answered_with_ok(play: Play, form: bool, slash: str) -> None:
    (alice,) = funded(play, 1)
    if form:
        response = http.client().post(URL + slash, body(alice))
        found = response.status_code, response.json()
    else:
        found = http.post(URL + slash, body(alice) | {"wallet": "0x" + alice.address.hex().upper()})
    assert found == (200, "Ok")
    withdrawal = DelegatedWithdrawal.objects.get()
    assert (withdrawal.wallet_id, withdrawal.amount, withdrawal.expiry_block) == (alice.wallet_id, 60, 59)
    assert EthereumTransaction.objects.count() == 1


def test_each_refusal_has_its_code(play: Play) -> None:
    alice, bob = funded(play, 2)
    stranger = SimulatedWallet.create(play.contract, play.contract)
    cases = {
        "WALLET_NOT_ADMITTED": body(stranger),
        "INVALID_EXPIRY": body(alice, expiry=3),
        "DEBIT_WALLET_OVERSPENDING": body(alice, amount=101),
        "INVALID_WITHDRAWAL_SIGNATURE": body(alice) | {"signature": body(bob)["signature"]},
    }
    for code, request in cases.items():
        assert http.code(http.post(URL, request)) == code
    for text in ("zz", "00", "00" * 65, "é"):
        found = http.post(URL, body(alice) | {"signature": text})
        assert http.code(found) == "INVALID_WITHDRAWAL_SIGNATURE"
    assert not DelegatedWithdrawal.objects.exists()
    assert http.post(URL, body(alice)) == (200, "Ok")
    assert http.code(http.post(URL, body(alice))) == "WITHDRAWAL_ALREADY_REQUESTED"
    ChainStatus.objects.update(node_block=10**6)
    assert http.code(http.post(URL, body(bob))) == "CHAIN_BEHIND"
    ChainStatus.objects.update(forked=True)
    assert http.code(http.post(URL, body(bob))) == "CHAIN_FORKED"
    ChainStatus.objects.update(halted=True)
    assert http.code(http.post(URL, body(bob))) == "CHAIN_HALTED"
    ChainStatus.objects.all().delete()
    assert http.post(URL, body(bob))[0] == 503


@pytest.mark.parametrize("field", ["signature", "wallet", "token", "amount", "expiry"])
def test_every_field_is_needed(play: Play, field: str) -> None:
    (alice,) = funded(play, 1)
    assert http.field_code(http.post(URL, http.drop(body(alice), (field,))), field) == "required"
    assert http.field_code(http.post(URL, body(alice) | {field: None}), field) == "null"


def test_hostile_bodies_are_refused_in_a_documented_shape(play: Play) -> None:
    (alice,) = funded(play, 1)
    for request in http.hostile(body(alice)):
        http.check_refusal(http.post(URL, request))
    for name in body(alice):
        for value in ("", "\x00", "-1", "9" * 500, "[]"):
            response = http.client().post(URL, body(alice) | {name: value})
            http.check_refusal((response.status_code, response.json()))
    assert not DelegatedWithdrawal.objects.exists()
    assert not EthereumTransaction.objects.exists()
