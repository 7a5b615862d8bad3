"""Races of registrations, with real threads and connections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from threading import Event as Flag

import pytest
from django.db import transaction

from admission import services as admission
from admission.services import Admission, AdmissionError
from admission.tests.applications import application
from ledger import store
from ledger.models import Deposit, Token, Wallet
from ledger.tests.checks import balance, check_checkpoint, check_ledger
from ledger.tests.racing import Running, race, until, waiting_for_a_lock
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from tos.models import TOSConfig

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 25


@pytest.fixture
def play() -> Play:
    return Play()


def _admit(admissions: Sequence[Admission], eon: int, config: TOSConfig) -> Sequence[Admission]:
    """As another server does, which shares no transaction with this one."""
    (outcome,) = admission.admit_all([admission.Request(admissions, eon, config)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


OVER = ErrorCode.INVALID_ADMISSION_SIGNATURE
"""Why a registration that was signed for an eon that is over is refused."""


def register(play: Play, player: SimulatedWallet, token: Token) -> None:
    """Register in the latest eon, again when the eon changed meanwhile."""
    while True:
        eon = store.chain_status().eon
        try:
            _admit([application(play, player, token, eon)], eon, play.config)
        except AdmissionError as error:
            if error.code is not OVER:
                raise
            continue
        return


def refusals(outcomes: Sequence[object]) -> list[ErrorCode]:
    return [outcome.code for outcome in outcomes if isinstance(outcome, AdmissionError)]


def check_trails(token: Token) -> None:
    """No gap in the trails, and nobody registered before somebody with a smaller one."""
    wallets = list(Wallet.objects.filter(token=token).order_by("trail_identifier"))
    assert [wallet.trail_identifier for wallet in wallets] == list(range(len(wallets)))
    eons = [wallet.registration_eon_number for wallet in wallets]
    assert eons == sorted(eons)
    token.refresh_from_db()
    assert token.wallet_count == len(wallets)


def test_registrations_racing_for_a_token_leave_no_gap(play: Play) -> None:
    token = play.tokens[0]
    players = [SimulatedWallet.create(play.contract, token.address) for _ in range(32)]

    def register_all(mine: list[SimulatedWallet]) -> None:
        for player in mine:
            register(play, player, token)

    running = [Running(partial(register_all, players[start::4])) for start in range(4)]
    for eon in (2, 3, 4):
        time.sleep(0.03)
        play.enter_next_eon()
        time.sleep(0.01)
        play.close_eon()
        check_checkpoint(eon)
    assert [call.outcome() for call in running] == [None] * 4
    check_trails(token)
    play.next_eon()
    assert check_checkpoint(5) == 33


def test_a_registration_that_waited_while_the_eon_changed_is_refused(play: Play) -> None:
    """Its trail would come after that of a wallet of the new eon, and the checkpoint would have a gap."""
    token = play.tokens[0]
    early, late = (SimulatedWallet.create(play.contract, token.address) for _ in range(2))
    locked, go = Flag(), Flag()

    def holding_the_token() -> None:
        with transaction.atomic():
            Token.objects.select_for_update(no_key=True).get(pk=token.pk)
            locked.set()
            assert go.wait(30)
            _admit([application(play, late, token, 2)], 2, play.config)

    holder = Running(holding_the_token)
    assert locked.wait(10)
    waiting = Running(partial(_admit, [application(play, early, token, 1)], 1, play.config))
    until(waiting_for_a_lock)
    play.enter_next_eon()
    go.set()
    assert holder.outcome() is None
    assert refusals([waiting.outcome()]) == [OVER]
    check_trails(token)
    play.close_eon()
    check_checkpoint(2)


def test_of_equal_registrations_racing_exactly_one_wins(play: Play) -> None:
    token = play.tokens[0]
    for _ in range(ROUNDS):
        player = SimulatedWallet.create(play.contract, token.address)
        request = application(play, player, token, 1)
        outcomes = race([partial(_admit, [request], 1, play.config)] * 3)
        assert refusals(outcomes) == [ErrorCode.WALLET_ALREADY_ADMITTED] * 2, outcomes
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
    check_trails(token)


def test_bulk_registrations_in_different_orders_do_not_block_each_other(play: Play) -> None:
    play.add_token(b"\x11" * 20, "Token", "TOK")
    for _ in range(10):
        players = [
            (SimulatedWallet.create(play.contract, token.address), token)
            for token in play.tokens
            for _ in range(3)
        ]
        requests = [application(play, player, token, 1) for player, token in players]
        outcomes = race(
            [
                partial(_admit, requests[:4], 1, play.config),
                partial(_admit, requests[:3:-1], 1, play.config),
            ]
        )
        assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    for token in play.tokens:
        check_trails(token)


def test_a_deposit_racing_with_its_registration_is_credited_once(play: Play) -> None:
    """Applied as the follower of the chain does."""
    from contractor import effects, events
    from contractor.models import ContractParameters

    token = play.tokens[0]
    parameters = ContractParameters()
    for number in range(ROUNDS):
        player = SimulatedWallet.create(play.contract, token.address)
        place = events.Place(txid=number.to_bytes(32, "big"), log_index=0, block=1, time=1)
        deposit = events.Deposit(place, token.address, player.address, 9)

        def arrive(deposit: events.Deposit = deposit) -> None:
            with transaction.atomic():
                effects.apply_events([deposit], store.chain_status(), parameters)

        request = application(play, player, token, 1)
        outcomes = race([arrive, partial(_admit, [request], 1, play.config), arrive])
        assert refusals(outcomes) == []
        wallet = Wallet.objects.get(address=player.address)
        assert balance(wallet) == 9
        assert Deposit.objects.get(address=player.address).wallet_id == wallet.pk
    check_ledger()
