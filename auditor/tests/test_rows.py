"""What the prepared statements read, against what the ORM composes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Model, Q

from auditor import render, selectors
from ledger.deliveries import Trees
from ledger.models import Transfer, Wallet, Withdrawal
from ledger.prepared import PreparedRead
from ledger.sql import fetch
from ledger.transfer_rows import ORDER_STATES, add_order_states, transfers_of
from operator_api.simulation.play import Play
from swapper.tests.market import fill, market, place, trader

pytestmark = pytest.mark.django_db
RELATED = ["wallet__token", "recipient__token", "sender_active_state", *ORDER_STATES]


def history() -> Play:
    """Payments and orders of two eons, the first of them closed."""
    play = Play()
    market(play)
    players = play.register(3)
    for player in players:
        play.deposit(player, 1000)
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=3)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    for _ in range(2):
        for number, player in enumerate(players):
            play.pay(player, players[number - 1], 7)
        play.pay(players[0], players[1], 1)
        request = play.request_withdrawal(players[2], 5)
        Withdrawal.objects.create(
            **play._event(play.eon), wallet_id=players[2].wallet_id, request=request, amount=5
        )
        play.next_eon()
    return play


def values(row: Model | None) -> Any:
    """All that a row and those read along with it hold."""
    if row is None:
        return None
    own = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    names = {path.partition("__")[0] for path in RELATED} if isinstance(row, Transfer) else set()
    names |= {"token"} if isinstance(row, Wallet) else set()
    return own | {name: values(getattr(row, name)) for name in names}


def test_rows_are_those_of_the_orm(django_assert_num_queries: Any) -> None:
    history()
    wallets = list(Wallet.objects.values_list("id", flat=True))
    transfers_of([(0, 0)])  # the connection prepares the statement
    every = Transfer.objects.select_related(*RELATED).filter(appended=True)
    assert {row.swap for row in every} == {True, False}
    middle = sorted(row.pk for row in every)[len(every) // 2]
    for some in ([wallet] for wallet in wallets), [wallets]:
        for keys in some:
            for eon in (1, 2, 3):
                for first, received in ((0, True), (middle, True), (0, False)):
                    with django_assert_num_queries(1):
                        found = transfers_of([(wallet, eon) for wallet in keys], first, received)
                    add_order_states(found)
                    with django_assert_num_queries(0):
                        shown = [values(row) for row in found]
                    theirs = Q(recipient__in=keys) if received else Q(recipient__in=keys, swap=True)
                    expected = every.filter(Q(wallet__in=keys) | theirs, eon_number=eon, pk__gte=first)
                    assert shown == [values(row) for row in expected.order_by("id")]


def test_states_of_many_wallets_are_those_of_each() -> None:
    """Those that do not exist are left out, and those of too many transfers if that is asked for."""
    history()
    wallets = list(Wallet.objects.select_related("token"))
    keys = [(wallet.token.address, wallet.address) for wallet in wallets]
    for eon in (0, 1, 2, 3, 10**30):
        strangers = [(keys[0][0], bytes(20)), (bytes(20), keys[0][1])]
        found = selectors.wallet_states([*keys, *strangers, keys[0]], eon)
        few = selectors.wallet_states(keys, eon, most=1)
        assert sorted(found) == sorted(keys)
        for wallet, key in zip(wallets, keys, strict=True):
            expected = selectors.wallet_history(wallet, eon)
            assert render.wallet_state(found[key][1]) == render.wallet_state(expected)
            rows = Transfer.objects.filter(Q(wallet=wallet) | Q(recipient=wallet), eon_number=min(eon, 10**9))
            assert (key in few) == (rows.count() <= 1)
            assert key not in few or render.wallet_state(few[key][1]) == render.wallet_state(expected)
    assert selectors.wallet_states([], 1) == {}


def test_plans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement's plan is made some times and then used for all arrays."""
    history()
    monkeypatch.setattr("ledger.deliveries.remembered", Trees(leaves=0))
    wallets = list(Wallet.objects.select_related("token"))
    for _ in range(10):
        selectors.wallet_states([(row.token.address, row.address) for row in wallets], 1)
    plans: dict[str, int] = dict(fetch("SELECT name, generic_plans FROM pg_prepared_statements"))
    expected = {"wallet_states", "transfers", "active_states", "received", "proofs", "set_openings"}
    expected |= {"deposits", "withdrawal_requests", "withdrawals"}
    assert min(plans[name] for name in expected) > 0, plans


def test_no_two_statements_have_a_name() -> None:
    with pytest.raises(ValueError, match="proofs"):
        PreparedRead("proofs", [], "SELECT 1")
