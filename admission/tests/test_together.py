"""Registrations that arrive at the same time share a transaction, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from admission.services import (
    Admission,
    AdmissionError,
    Outcome,
    Request,
    StoppedError,
    admit,
    admit_all,
)
from admission.tests.applications import application
from ledger.models import Account, Blacklist, ChainStatus, Deposit, Event, Outbox, Token, Wallet
from ledger.tests.checks import row_counts
from ledger.tests.racing import race
from nocust.messages import admission_hash
from nocust.signatures import is_valid
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from tos.models import TOSConfig, TOSSignature

EON = 1


def admission(play: Play, player: SimulatedWallet, token: Token | None = None) -> Admission:
    token = token or play.tokens[0]
    player = SimulatedWallet(player.signer, play.contract, token.address)
    return application(play, player, token, EON)


def fresh(play: Play, count: int) -> list[Admission]:
    players = [SimulatedWallet.create(play.contract, play.contract) for _ in range(count)]
    return [admission(play, player) for player in players]


def addresses(outcome: Outcome) -> list[bytes]:
    assert isinstance(outcome, list), outcome
    return [one.address for one in outcome]


def codes(outcomes: list[Outcome]) -> list[str]:
    return [outcome.code.code for outcome in outcomes if isinstance(outcome, AdmissionError)]


@pytest.mark.django_db
def test_a_request_that_is_refused_spoils_no_other() -> None:
    play = Play()
    known, first, second, third, fourth, late, unwanted = fresh(play, 7)
    Blacklist.objects.create(address=unwanted.address)
    old = TOSConfig.objects.create(
        privacy_policy_digest="ee" * 32,
        terms_of_service_digest="ff" * 32,
        time=play.config.time - timedelta(1),
    )
    admit([known], EON, play.config)
    Outbox.objects.all().delete()
    requests = [
        Request([first, second], EON, play.config),
        Request([third, known], EON, play.config),
        Request([], EON, play.config),
        Request([second], EON, play.config),
        Request([late], EON + 1, play.config),
        Request([third, third], EON, play.config),
        Request([late], EON, old),
        Request([third, unwanted], EON, play.config),
        Request([fourth, third], EON, play.config),
    ]
    outcomes = admit_all(requests)
    assert codes(outcomes) == [
        *["WALLET_ALREADY_ADMITTED"] * 2,
        "INVALID_ADMISSION_SIGNATURE",
        "WALLET_ALREADY_ADMITTED",
        "INVALID_TOS_SIGNATURE",
        "WALLET_BLACKLISTED",
    ]
    accepted = [addresses(outcome) for outcome in outcomes if isinstance(outcome, list)]
    assert accepted == [[first.address, second.address], [], [fourth.address, third.address]]
    rows = list(Wallet.objects.order_by("trail_identifier"))[1:]
    assert [row.address for row in rows] == [one.address for one in (known, first, second, fourth, third)]
    assert [row.trail_identifier for row in rows] == [1, 2, 3, 4, 5]
    assert Token.objects.get().wallet_count == 6
    told = Outbox.objects.order_by("id").values_list("event", "object_id")
    assert list(told) == [(Event.REGISTERED_WALLET, row.pk) for row in rows[1:]]
    for row in rows:
        message = admission_hash(play.contract, play.contract, row.address, row.trail_identifier, EON)
        operator = Wallet.objects.get(trail_identifier=0).address
        assert is_valid(message, row.registration_operator_authorization, operator)


@pytest.mark.django_db
def test_an_address_in_two_tokens_signs_the_terms_once() -> None:
    play = Play()
    other = play.add_token(b"\x11" * 20, "Token", "TOK")
    player = SimulatedWallet.create(play.contract, play.contract)
    requests = [
        Request([admission(play, player, token)], EON, play.config) for token in (other, play.tokens[0])
    ]
    assert [addresses(outcome) for outcome in admit_all(requests)] == [[player.address]] * 2
    assert TOSSignature.objects.filter(address=player.address, tos_config=play.config).count() == 1
    assert list(Token.objects.values_list("wallet_count", flat=True)) == [2, 2]


@pytest.mark.django_db
def test_deposits_that_waited_are_credited_to_each() -> None:
    play = Play()
    waiting = fresh(play, 3)
    for number, one in enumerate(waiting, 1):
        Deposit.objects.create(**play._event(EON), token_id=one.token_id, address=one.address, amount=number)
    admit_all([Request([one], EON, play.config) for one in waiting])
    credited = Account.objects.order_by("wallet__trail_identifier").values_list("deposited", flat=True)
    assert list(credited) == [1, 2, 3]


@pytest.mark.django_db
def test_nobody_is_admitted_while_the_hub_takes_nothing() -> None:
    play = Play()
    requests = [Request([one], EON, play.config) for one in fresh(play, 2)]
    ChainStatus.objects.update(halted=True)
    before = row_counts()
    outcomes = admit_all(requests)
    assert [type(outcome) for outcome in outcomes] == [StoppedError, StoppedError]
    assert codes(outcomes) == ["CHAIN_HALTED"] * 2
    assert row_counts() == before


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_trails_without_gaps() -> None:
    play = Play()
    requests = [fresh(play, 3) for _ in range(12)]
    outcomes = race([partial(admit, request, EON, play.config) for request in requests])
    for request, outcome in zip(requests, outcomes, strict=True):
        assert addresses(outcome) == [one.address for one in request]
        trails = [Wallet.objects.get(address=one.address).trail_identifier for one in request]
        assert trails == list(range(trails[0], trails[0] + 3))
    rows = Wallet.objects.order_by("trail_identifier").values_list("trail_identifier", flat=True)
    assert list(rows) == list(range(37))
