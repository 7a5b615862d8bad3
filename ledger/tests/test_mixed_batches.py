"""Batches in which transfers and orders of the same wallets follow each other: a client may send both at once."""

from __future__ import annotations

import pytest

from ledger import store
from ledger.engine import Command
from ledger.models import Account, Event, Outbox
from ledger.orders import StoredOrder
from ledger.store import StoredTransfer
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.test_orders import LQD, done, fill, place, trader
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    made = Play()
    made.add_token(LQD, "Liquid", "LQD")
    return made


def frozen(play: Play) -> Trader:
    """Somebody whose order waits for its cancellation."""
    made = trader(play, 100)
    place(made, 100, 200)
    done(made.freeze())
    return made


def cancelling(one: Trader) -> Command:
    """The cancellation, which the trader supposes to be accepted."""
    command = one.cancel(0, 0)
    one.closed(0, 0)
    return command


def check_newest_states(play: Play) -> None:
    """Each account has the state that says what it has, and so has the checkpoint."""
    rows = Account.objects.filter(eon_number=play.eon, active_state__isnull=False)
    for row in rows.select_related("active_state"):
        assert row.active_state is not None
        assert (row.spent, row.gained) == (
            row.active_state.updated_spendings,
            row.active_state.updated_gains,
        )
    play.next_eon()
    check_ledger()
    check_checkpoint(play.eon)


def told() -> list[str]:
    return list(Outbox.objects.order_by("id").values_list("event", flat=True))


def test_a_payment_behind_a_cancellation(play: Play) -> None:
    seller, other = frozen(play), trader(play, 0)
    before = len(told())
    cancel = cancelling(seller)
    outcomes = store.execute([cancel, seller.debit.transfer(other.debit.owner, 40)])
    assert [type(outcome) for outcome in outcomes] == [StoredOrder, StoredTransfer]
    assert told()[before:] == [Event.SWAP_CANCELLATION, Event.TRANSFER_CONFIRMATION]
    check_newest_states(play)


def test_a_payment_behind_a_finalisation(play: Play) -> None:
    seller, buyer, other = trader(play, 100), trader(play, 200, sells=1), trader(play, 0, sells=1)
    place(seller, 100, 200)
    place(buyer, 200, 100)
    done(fill(buyer, seller, 200, 100))
    done(buyer.finalize(100))
    finalize = seller.finalize(200)
    seller.closed(100, 200)
    outcomes = store.execute([finalize, seller.credit.transfer(other.debit.owner, 150)])
    assert [type(outcome) for outcome in outcomes] == [StoredOrder, StoredTransfer]
    check_newest_states(play)


def test_an_order_behind_a_cancellation(play: Play) -> None:
    seller = frozen(play)
    before = len(told())
    cancel = cancelling(seller)
    outcomes = store.execute([cancel, seller.place(100, 300)])
    assert [type(outcome) for outcome in outcomes] == [StoredOrder, StoredOrder]
    assert told()[before:] == [Event.SWAP_CANCELLATION, Event.SWAP_CONFIRMATION]
    check_newest_states(play)
