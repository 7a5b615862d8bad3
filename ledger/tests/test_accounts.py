"""The store: accounts that are there and such that are not, read and written together."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DataError, transaction

from ledger import engine, store
from ledger.accounts_sql import load_accounts, saving
from ledger.kept_plans import kept_plans, run
from ledger.models import Account, RootCommitment
from ledger.store import StoredTransfer
from ledger.tests.checks import account_rows, check_ledger, row_counts
from ledger.tests.test_store import available, funded
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


def row_of(play: Play, player: SimulatedWallet) -> dict[str, Any]:
    return dict(Account.objects.values().get(wallet=player.wallet_id, eon_number=play.eon))


def pay_all(*commands: engine.Command) -> None:
    outcomes = store.execute(commands)
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes), outcomes


def test_a_batch_changes_accounts_and_adds_those_that_are_not_there(play: Play) -> None:
    alice, bob, carol, dora = funded(play, 4)
    play.next_eon()
    for player in (alice, bob, carol, dora):
        player.enter(2)
    assert isinstance(play.pay(alice, bob, 1), StoredTransfer)
    assert Account.objects.filter(eon_number=2).count() == 2
    pay_all(alice.transfer(carol.owner, 10), bob.transfer(alice.owner, 5), dora.transfer(bob.owner, 7))
    assert [available(play, player) for player in (alice, bob, carol, dora)] == [94, 103, 110, 93]
    check_ledger()


def test_who_receives_keeps_everything_else(play: Play) -> None:
    alice, bob = funded(play, 2)
    for _ in range(3):
        assert isinstance(play.pay(alice, bob, 2, marker=1), StoredTransfer)
    before = row_of(play, alice)
    assert before["tail"] is not None
    assert isinstance(play.pay(bob, alice, 50), StoredTransfer)
    assert row_of(play, alice) == {**before, "received": before["received"] + 50}
    check_ledger()


def test_who_pays_and_receives_in_one_batch(play: Play) -> None:
    alice, bob = funded(play, 2)
    pay_all(alice.transfer(bob.owner, 100), bob.transfer(alice.owner, 150))
    assert (available(play, alice), available(play, bob)) == (150, 50)
    check_ledger()


def test_a_deposit_among_transfers(play: Play) -> None:
    """The recipient of the transfer has not only received."""
    alice, bob = funded(play, 2)
    transfer = alice.transfer(bob.owner, 100)
    with transaction.atomic():
        stored, moved = store.run([transfer, engine.Deposit(bob.owner, 1, 7)])
    assert isinstance(stored, StoredTransfer)
    assert isinstance(moved, engine.Moved)
    assert (available(play, alice), available(play, bob)) == (0, 207)


def test_refused_transfers_leave_no_gap_that_matters(play: Play) -> None:
    """Row ids are taken for all that may be accepted; they ascend in the order of those that are."""
    alice, bob = funded(play, 2)
    good, bad = alice.transfer(bob.owner, 1), bob.transfer(alice.owner, 1000)
    other = bob.transfer(alice.owner, 1)
    outcomes = [store.execute([bad, good, bad, other]), store.execute([alice.transfer(bob.owner, 1000)])]
    ids = [outcome.id for batch in outcomes for outcome in batch if isinstance(outcome, StoredTransfer)]
    assert len(ids) == 2
    assert ids == sorted(ids)
    check_ledger()


@pytest.mark.parametrize("kept", [False, True], ids=["planned anew", "kept"])
def test_an_account_that_is_to_be_changed_and_is_not_there_is_an_error(play: Play, kept: bool) -> None:
    alice, bob = funded(play, 2)
    keys = {(player.wallet_id, play.eon) for player in (alice, bob)}
    accounts = load_accounts({alice.wallet_id: alice.owner, bob.wallet_id: bob.owner}, [play.eon])
    Account.objects.filter(wallet=bob.wallet_id).delete()
    before = row_counts(), account_rows()

    def save() -> None:
        with transaction.atomic():
            if not kept:
                run(*saving(accounts, {}, keys))
            else:
                with kept_plans(alone=True):
                    run(*saving(accounts, {}, keys))

    with pytest.raises(DataError, match="1 accounts were there"):
        save()
    assert (row_counts(), account_rows()) == before


def test_an_account_of_a_closed_eon_takes_nothing_whatever_changes_it(play: Play) -> None:
    alice, _ = funded(play, 2)
    accounts = load_accounts({alice.wallet_id: alice.owner}, [1])
    play.next_eon()
    assert RootCommitment.objects.filter(eon_number=2).exists()
    for received in ((), accounts):
        with pytest.raises(Exception, match="the ledger of eon 1 is closed"), transaction.atomic():
            run(*saving(accounts, {}, accounts, received))
