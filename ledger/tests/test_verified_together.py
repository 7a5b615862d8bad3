"""Batches whose signatures are verified together: one that is not valid spoils no other command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger import directory, store
from ledger.engine import Refusal, Transfer
from ledger.models import Wallet
from ledger.store import StoredTransfer
from ledger.tests.checks import check_ledger
from ledger.tests.test_orders import LQD, trader
from ledger.tests.test_store import available, funded
from nocust import batch as batches
from nocust.batch import Batch, KnownKeys
from nocust.signatures import key_address
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db

PLAYERS = 6


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What came of each batch that was verified together."""
    if not batches.is_available():
        pytest.skip("the library is not built: see .hub/install.log")
    found: list[bool] = []
    real = Batch.holds

    def holds(batch: Batch) -> bool:
        found.append(real(batch))
        return found[-1]

    monkeypatch.setattr(Batch, "holds", holds)
    return found


def known(play: Play) -> list[SimulatedWallet]:
    """Wallets that have paid each other before, so that their keys are known."""
    players = funded(play, PLAYERS)
    for number, player in enumerate(players):
        assert isinstance(play.pay(player, players[number - 1], 10), StoredTransfer)
    return players


def payments(players: list[SimulatedWallet]) -> list[Transfer]:
    return [player.transfer(players[number - 1].owner, 5) for number, player in enumerate(players)]


def spoiled(command: Transfer, name: str) -> Transfer:
    """With another well-formed signature of its sender's."""
    changes: dict[str, Any] = {"signature": command.marker_signature, "marker_signature": command.signature}
    return replace(command, **{name: changes[name]})


def test_good_ones_are_verified_once(play: Play, held: list[bool]) -> None:
    players = known(play)
    held.clear()
    outcomes = store.execute(payments(players))
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes)
    assert held == [True]
    check_ledger()


@pytest.mark.parametrize(
    ("name", "code"),
    [("signature", "INVALID_DEBIT_SIGNATURE"), ("marker_signature", "INVALID_DEBIT_BALANCE_SIGNATURE")],
)
@pytest.mark.parametrize("place", [0, 2, PLAYERS - 1])
def test_a_bad_one_is_refused_and_the_others_are_written(
    play: Play, held: list[bool], place: int, name: str, code: str
) -> None:
    players = known(play)
    held.clear()
    commands = payments(players)
    commands[place] = spoiled(commands[place], name)
    outcomes = store.execute(commands)
    assert held == [False]
    refused = outcomes.pop(place)
    assert isinstance(refused, Refusal)
    assert refused.code == code
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes)
    for number, player in enumerate(players):
        expected = 100 + 5 * (number == place) - 5 * (number == (place - 1) % PLAYERS)
        assert available(play, player) == expected
    check_ledger()


def test_a_bad_one_that_comes_again_spoils_no_other_batch(play: Play, held: list[bool]) -> None:
    """As a refused request does, which goes the general way afterwards."""
    alice, bob, carol = known(play)[:3]
    bad = spoiled(alice.transfer(bob.owner, 5), "signature")
    held.clear()
    for _ in range(3):
        payment = carol.transfer(bob.owner, 5)
        refused, done = store.execute([bad, payment])
        assert isinstance(refused, Refusal)
        assert refused.code == "INVALID_DEBIT_SIGNATURE"
        assert isinstance(done, StoredTransfer)
        carol.accepted(payment, done.event.position)
    assert held == [False, True, True]
    assert all(isinstance(done, StoredTransfer) for done in store.execute([alice.transfer(bob.owner, 5)]))
    check_ledger()


def test_what_counts_on_a_bad_one_is_refused_with_it(play: Play, held: list[bool]) -> None:
    """Bob pays on what Alice would have paid him."""
    alice, bob, carol = known(play)[:3]
    held.clear()
    bad = spoiled(alice.transfer(bob.owner, 50), "signature")
    outcomes = store.execute([bad, bob.transfer(carol.owner, 150)])
    assert [outcome.code for outcome in outcomes if isinstance(outcome, Refusal)] == [
        "INVALID_DEBIT_SIGNATURE",
        "DEBIT_WALLET_OVERSPENDING",
    ]
    assert held == [False]
    assert [available(play, player) for player in (alice, bob, carol)] == [100, 100, 100]
    check_ledger()


def test_an_order_s_five_signatures(play: Play, held: list[bool]) -> None:
    play.add_token(LQD, "Liquid", "LQD")
    one = trader(play, 100)
    fresh = one.place(100, 200)
    for name in (
        "debit_marker_signatures",
        "credit_marker_signatures",
        "debit_signatures",
        "credit_signatures",
        "fulfillment_signatures",
    ):
        others = fresh.debit_signatures if name != "debit_signatures" else fresh.credit_signatures
        changes: dict[str, Any] = {name: others}
        (outcome,) = store.execute([replace(fresh, **changes)])
        assert isinstance(outcome, Refusal)
        side = name.removesuffix("_signatures").replace("marker", "balance")
        side = side.replace("fulfillment", "credit_fulfillment")
        assert outcome.code == f"INVALID_{side.upper()}_SIGNATURE"
    held.clear()
    (outcome,) = store.execute([fresh])
    assert not isinstance(outcome, Refusal)
    assert held == [True]


def test_the_keys_of_registered_wallets_are_known_after_a_restart(play: Play, held: list[bool]) -> None:
    players = funded(play, PLAYERS)
    for row in Wallet.objects.filter(pk__in=[player.wallet_id for player in players]):
        assert row.public_key is not None
        assert key_address(row.public_key) == row.address
    keys = forgotten()
    directory.meet([(player.token, player.address) for player in players])
    assert all(keys.get(player.address) is not None for player in players)
    held.clear()
    commands = payments(players)
    commands[1] = spoiled(commands[1], "marker_signature")
    outcomes = store.execute(commands)
    assert [isinstance(outcome, StoredTransfer) for outcome in outcomes] == [True, False, *[True] * 4]
    assert held == [False]


def test_a_wallet_without_a_key_and_one_with_another_s(play: Play) -> None:
    """The column is only to save time: a wrong key is not believed, and a missing one is found."""
    alice, bob, carol = funded(play, 3)
    keys = forgotten()
    Wallet.objects.filter(pk=alice.wallet_id).update(public_key=None)
    other = Wallet.objects.get(pk=carol.wallet_id).public_key
    Wallet.objects.filter(pk=bob.wallet_id).update(public_key=other)
    directory.meet([(player.token, player.address) for player in (alice, bob)])
    assert keys.get(alice.address) is None
    assert keys.get(bob.address) is None
    forged = replace(bob.transfer(carol.owner, 5), signature=carol.signer.sign(bytes(32)))
    refused, *done = store.execute([forged, bob.transfer(carol.owner, 5), alice.transfer(carol.owner, 5)])
    assert isinstance(refused, Refusal)
    assert all(isinstance(outcome, StoredTransfer) for outcome in done)
    assert keys.get(alice.address) is not None or not batches.is_available()


def forgotten() -> KnownKeys:
    """What this process knows, empty as after a start."""
    directory.clear()
    batches.known_keys.clear()
    return batches.known_keys
