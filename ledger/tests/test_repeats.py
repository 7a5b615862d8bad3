"""Requests that come again, in whichever eon: what was accepted is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ledger import kept_plans, store
from ledger.engine import Command, Refusal
from ledger.group_commit import GroupCommitter
from ledger.kept_plans import Call
from ledger.models import Transfer
from ledger.store import StoredTransfer
from ledger.tests.test_orders import LQD, done, trader
from ledger.tests.test_own_transaction import lose_connection
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play


def refused(command: Command) -> str:
    (outcome,) = store.execute([command])
    assert isinstance(outcome, Refusal)
    return outcome.code


@pytest.mark.django_db
@pytest.mark.parametrize("closed", [False, True])
def test_a_transfer_of_the_eon_before(closed: bool) -> None:
    play = Play()
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)
    assert isinstance(store.execute([command])[0], StoredTransfer)
    play.enter_next_eon()
    if closed:
        play.close_eon()
    assert refused(command) == "unique"


@pytest.mark.django_db
def test_an_order_of_the_eon_before() -> None:
    play = Play()
    play.add_token(LQD, "Liquid", "LQD")
    order = trader(play, 100).place(100, 200)
    done(order)
    play.next_eon()
    assert refused(order) == "unique"


@pytest.mark.django_db
@pytest.mark.parametrize("eon", [0, 2, 2**63 - 1])
def test_a_new_transfer_of_another_eon(eon: int) -> None:
    alice, bob = funded(Play(), 2)
    assert refused(replace(alice.transfer(bob.owner, 1), eon=eon)) == "EON_NUMBER_OUT_OF_SYNC"


@pytest.mark.django_db(transaction=True)
def test_transfers_whose_commit_is_not_heard_of_before_the_eon_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are found to be written, and answered as if nothing had been."""
    play = Play()
    *senders, recipient = funded(play, 3)
    send, lost = kept_plans._send, list[str]()

    def losing(cursor: object, calls: Sequence[Call], *after: str) -> None:
        send(cursor, calls, *after)
        if after and not lost:
            lost.extend(after)
            play.enter_next_eon()
            lose_connection()
            send(cursor, [], "SELECT 1")

    monkeypatch.setattr(kept_plans, "_send", losing)
    outcomes = GroupCommitter().submit_all([sender.transfer(recipient.owner, 1) for sender in senders])
    assert lost
    assert Transfer.objects.count() == 2
    assert all(isinstance(outcome, StoredTransfer) for outcome in outcomes), outcomes
