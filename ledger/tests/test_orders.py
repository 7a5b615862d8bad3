"""Orders in the store: placed, matched, closed, and carried over into later eons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ledger import engine, store
from ledger.engine import Fill, PlaceOrder, Refusal
from ledger.models import Account, Event, Matching, MinimumAvailableBalance, Outbox, Transfer
from ledger.orders import StoredOrder
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.verification import verify_orders
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader

pytestmark = pytest.mark.django_db

LQD = bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c")


@pytest.fixture
def play() -> Play:
    game = Play()
    game.add_token(LQD, "Liquid", "LQD")
    return game


def trader(play: Play, funds: int, sells: int = 0) -> Trader:
    """Somebody with wallets in both tokens and `funds` in the one it sells."""
    debit, credit = play.tokens[sells], play.tokens[1 - sells]
    made = Trader.create(play.contract, debit.address, credit.address)
    play.admit([made.debit], debit)
    play.admit([made.credit], credit)
    play.deposit(made.debit, funds)
    return made


def row(one: Trader, eon: int) -> Transfer:
    return Transfer.objects.get(tx_id=one.tx_id, eon_number=eon)


def account(one: Trader, eon: int, side: str = "debit") -> Account:
    return Account.objects.get(wallet=getattr(one, side).wallet_id, eon_number=eon)


def place(one: Trader, amount: int, wanted: int, eons: int = 1, sell: bool = True) -> StoredOrder:
    order = one.place(amount, wanted, eons, sell)
    stored = done(order)
    one.accepted(order, stored.order.tx_id)
    return stored


def done(command: engine.Command) -> StoredOrder:
    (outcome,) = store.execute([command])
    assert isinstance(outcome, StoredOrder), outcome
    return outcome


def refused(command: engine.Command) -> str:
    (outcome,) = store.execute([command])
    assert isinstance(outcome, Refusal), outcome
    return outcome.code


def fill(taker: Trader, maker: Trader, gives: int, gets: int) -> Fill:
    owners = tuple(wallet.owner for one in (taker, maker) for wallet in (one.debit, one.credit))
    return Fill(taker.tx_id, maker.tx_id, gives, gets, owners)


def next_eon(play: Play, *traders: Trader) -> None:
    """The next eon with its checkpoint; the traders' wallets start it with what the checkpoint allots them."""
    play.next_eon()
    for one in traders:
        starts = [
            engine_account.opening
            for engine_account in (_loaded(one, play.eon, "debit"), _loaded(one, play.eon, "credit"))
        ]
        one.enter(play.eon, *starts)


def _loaded(one: Trader, eon: int, side: str) -> engine.Account:
    from ledger.accounts_sql import load_accounts

    owner = getattr(one, side).owner
    return load_accounts({owner.wallet: owner}, [eon])[owner.wallet, eon]


def test_filled_and_finalised_in_its_first_eon(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 200, sells=1)
    place(seller, 100, 200)
    place(buyer, 200, 100)
    filled = done(fill(buyer, seller, 200, 100))
    assert filled.order.complete
    for one, got in ((seller, 200), (buyer, 100)):
        stored = row(one, 1)
        assert (stored.complete, stored.processed) == (True, False)
        assert account(one, 1).available == 0
        assert account(one, 1, "credit").available == got
        state = stored.recipient_fulfillment_active_state
        assert state is not None
        assert state.operator_signature is not None
        done(one.finalize(got))
        assert one.order is not None
        one.closed(one.order.amount, got)
        assert row(one, 1).processed
    assert Matching.objects.get().taker_gave == 200
    told = list(Outbox.objects.filter(event__contains="SWAP").values_list("event", flat=True))
    assert told == [Event.SWAP_CONFIRMATION] * 2 + [Event.MATCHED_SWAP] * 2 + [Event.SWAP_FINALIZATION] * 2
    check_ledger()


def test_partly_filled_carried_over_and_completed(play: Play) -> None:
    seller, buyer, late = trader(play, 100), trader(play, 60, sells=1), trader(play, 140, sells=1)
    place(seller, 100, 200, eons=3)
    place(buyer, 60, 30)
    done(fill(buyer, seller, 60, 30))
    verify_orders()
    next_eon(play, seller, buyer, late)
    buyer.forget()
    check_checkpoint(2)
    carried = row(seller, 2)
    assert (carried.appended, carried.prior_out, carried.prior_in) == (True, 30, 60)
    assert row(seller, 1).processed
    assert account(seller, 2).available == 70
    assert account(seller, 2, "credit").available == 60
    place(late, 140, 70)
    done(fill(late, seller, 140, 70))
    stored = row(seller, 2)
    assert stored.complete
    fulfilled = stored.recipient_fulfillment_active_state
    assert fulfilled is not None
    assert fulfilled.operator_signature is None, "it would claim 200 in this eon, of which 60 came before"
    assert row(seller, 3).voided
    done(seller.finalize(140))
    seller.closed(70, 140)
    assert account(seller, 2, "credit").available == 200
    check_ledger()
    next_eon(play)
    check_checkpoint(3)


def test_frozen_and_cancelled_after_a_partial_fill(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=5)
    place(buyer, 60, 30)
    done(fill(buyer, seller, 60, 30))
    assert refused(seller.cancel(30, 60)) == "SWAP_NOT_FROZEN"
    done(seller.freeze())
    assert refused(fill(buyer, seller, 0, 0)) == "SWAP_ALREADY_CLOSED"
    assert refused(seller.freeze()) == "SWAP_ALREADY_FROZEN"
    assert refused(seller.cancel(31, 60)) == "INVALID_DEBIT_SIGNATURE"
    done(seller.cancel(30, 60))
    again = seller.cancel(30, 60)
    seller.closed(30, 60)
    assert refused(again) == "SWAP_ALREADY_CLOSED"
    assert account(seller, 1).available == 70
    assert account(seller, 1, "credit").available == 60
    assert [row(seller, eon).voided for eon in (1, 2, 5)] == [False, True, True]
    check_ledger()
    payment = seller.debit.transfer(buyer.credit.owner, 1)
    assert refused(payment) == "CREDIT_WALLET_CANNOT_ADD_TRANSACTION"


def test_bad_future_signature_ends_the_order_with_its_eon(play: Play) -> None:
    seller = trader(play, 100)
    order = seller.place(100, 200, 3)
    bad = list(order.credit_signatures)
    bad[2] = bad[1]
    order = replace(order, credit_signatures=tuple(bad))
    seller.accepted(order, done(order).order.tx_id)
    assert verify_orders() == 2
    assert row(seller, 3).void_reason == "INVALID_FUTURE_CREDIT_SIGNATURE for eon 3"
    next_eon(play, seller)
    assert row(seller, 2).appended
    next_eon(play, seller)
    assert not row(seller, 3).appended
    assert account(seller, 2).available == 100
    check_checkpoint(3)


def test_strangers_wei_does_not_void_an_order(play: Play) -> None:
    seller = trader(play, 100)
    place(seller, 100, 200, eons=2)
    play.deposit(seller.debit, 1)
    play.deposit(seller.credit, 1)
    next_eon(play, seller)
    assert row(seller, 2).appended


def test_frozen_order_frees_its_wallets_with_the_eon(play: Play) -> None:
    seller = trader(play, 100)
    place(seller, 100, 200, eons=5)
    done(seller.freeze())
    next_eon(play, seller)
    seller.forget()
    seller.enter(play.eon, 100, 0)
    assert row(seller, 2).void_reason == "it was frozen"
    place(seller, 100, 300)


def test_wrong_orders_are_refused(play: Play) -> None:
    seller = trader(play, 100)
    good = seller.place(100, 200, 2)
    other = bytes(65)

    def spoiled(name: str) -> PlaceOrder:
        changes: dict[str, Any] = {name: (other, *getattr(good, name)[1:])}
        return replace(good, **changes)

    assert refused(replace(good, eon=2)) == "EON_NUMBER_OUT_OF_SYNC"
    assert refused(replace(good, amount=101)) == "DEBIT_WALLET_OVERSPENDING"
    assert refused(replace(good, amount=99)) == "DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH"
    assert refused(spoiled("debit_marker_signatures")) == "INVALID_DEBIT_BALANCE_SIGNATURE"
    assert refused(spoiled("credit_marker_signatures")) == "INVALID_CREDIT_BALANCE_SIGNATURE"
    assert refused(spoiled("debit_signatures")) == "INVALID_DEBIT_SIGNATURE"
    assert refused(spoiled("credit_signatures")) == "INVALID_CREDIT_SIGNATURE"
    assert refused(spoiled("fulfillment_signatures")) == "INVALID_CREDIT_FULFILLMENT_SIGNATURE"
    assert Transfer.objects.count() == 0
    seller.accepted(good, done(good).order.tx_id)
    assert refused(good) == "unique"
    again = replace(good, nonce=good.nonce + 1)
    assert refused(again) == "DEBIT_WALLET_CANNOT_ADD_TRANSACTION"
    assert refused(replace(seller.freeze(), order=UUID(int=5))) == "SWAP_ALREADY_CLOSED"


def test_order_waits_for_the_checkpoint_of_its_eon(play: Play) -> None:
    seller = trader(play, 100)
    play.enter_next_eon()
    seller.enter(2, 100, 0)
    assert refused(seller.place(100, 200)) == "EON_NUMBER_OUT_OF_SYNC"
    play.close_eon()
    place(seller, 100, 200)


def test_credit_wallet_must_be_empty(play: Play) -> None:
    seller = trader(play, 100)
    play.deposit(seller.credit, 1)
    assert refused(seller.place(100, 200)) == "CREDIT_WALLET_BALANCE_NOT_ZERO"


def marker(one: Trader, eon: int, side: str = "debit") -> MinimumAvailableBalance:
    return MinimumAvailableBalance.objects.get(wallet=getattr(one, side).wallet_id, eon_number=eon)


def test_a_bad_later_marker_does_not_stand_in_for_others(play: Play) -> None:
    """Else its owner could withdraw in the later eon what it spends there: the contract would refuse the marker."""
    thief, peer = trader(play, 100), trader(play, 0)
    order = thief.place(100, 200, 3)
    bad = (order.debit_marker_signatures[0], bytes(65), bytes(65))
    order = replace(order, debit_marker_signatures=bad)
    thief.accepted(order, done(order).order.tx_id)
    done(thief.freeze())
    done(thief.cancel(0, 0))
    thief.closed(0, 0)
    assert not MinimumAvailableBalance.objects.filter(eon_number__gt=1).exists()
    next_eon(play, thief, peer)
    assert isinstance(play.pay(thief.debit, peer.debit, 60, marker=40), store.StoredTransfer)
    assert marker(thief, 2).amount == 40
    check_ledger()


def test_markers_count_from_when_the_order_is_in_force(play: Play) -> None:
    seller = trader(play, 100)
    place(seller, 100, 200, eons=2)
    assert [marker(seller, 1, side).amount for side in ("debit", "credit")] == [0, 0]
    next_eon(play, seller)
    assert [marker(seller, 2, side).amount for side in ("debit", "credit")] == [0, 0]
    assert MinimumAvailableBalance.objects.count() == 4
    check_ledger()


def test_an_order_with_a_bad_later_marker_ends_with_its_eon(play: Play) -> None:
    seller = trader(play, 100)
    order = seller.place(100, 200, 2)
    order = replace(order, credit_marker_signatures=(order.credit_marker_signatures[0], bytes(65)))
    seller.accepted(order, done(order).order.tx_id)
    next_eon(play, seller)
    assert row(seller, 2).void_reason == "INVALID_CREDIT_BALANCE_SIGNATURE for eon 2"
    assert not MinimumAvailableBalance.objects.filter(eon_number=2).exists()
    check_ledger()


def test_frozen_between_two_eons_it_tells_what_was_matched(play: Play) -> None:
    """The eon has begun, and its checkpoint, which carries the order over, is not made yet."""
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=2)
    place(buyer, 60, 30)
    done(fill(buyer, seller, 60, 30))
    play.enter_next_eon()
    frozen = done(seller.freeze())
    assert (frozen.order.out, frozen.order.got) == (30, 60)
    play.close_eon()
    assert row(seller, 2).void_reason == "it was frozen"
    check_ledger()
    check_checkpoint(2)
