"""Orders at the ends of what can be counted, and fills that no matching may ask for."""

from __future__ import annotations

from uuid import UUID

import pytest

from ledger.engine import (
    HIGHEST_ORDERED,
    Deposit,
    Fill,
    Filled,
    OrderCancelled,
    OrderFinalized,
    OrderPlaced,
    Refusal,
)
from ledger.engine.tests.contract import takes_state
from ledger.engine.tests.market import TOKENS, Market
from ledger.engine.tests.world import CONTRACT
from operator_api.simulation.traders import Trader


def trader(number: int, debit: bytes, credit: bytes) -> Trader:
    made = Trader.create(CONTRACT, debit, credit, number.to_bytes(32, "big"))
    for place, wallet in enumerate((made.debit, made.credit)):
        wallet.wallet_id, wallet.trail = 10 * number + place, number
        wallet.enter(1)
    return made


def world(*traders: Trader, funds: int = 100) -> Market:
    made = Market([wallet for one in traders for wallet in (one.debit, one.credit)])
    for one in traders:
        made.submit(Deposit(one.debit.owner, 1, funds))
    return made


def place(made: Market, one: Trader, amount: int, wanted: int, eons: int = 1, sell: bool = True) -> None:
    command = one.place(amount, wanted, eons, sell)
    outcome = made.submit(command)
    assert isinstance(outcome, OrderPlaced), outcome
    one.accepted(command, UUID(int=len(made.plans)))


def fill(taker: Trader, maker: Trader, gives: int, gets: int) -> Fill:
    owners = tuple(wallet.owner for one in (taker, maker) for wallet in (one.debit, one.credit))
    return Fill(taker.tx_id, maker.tx_id, gives, gets, owners)


LARGEST = HIGHEST_ORDERED // 2


def test_an_order_for_more_than_can_be_challenged_is_refused() -> None:
    one = trader(1, *TOKENS[:2])
    made = world(one)
    refused = made.submit(one.place(100, LARGEST + 1, 2))
    assert isinstance(refused, Refusal)
    assert refused.code == "INVALID_CREDIT_AMOUNT"


def test_the_largest_order_leaves_nothing_that_cannot_be_challenged() -> None:
    """What ends it counts what was wanted twice, and another order of the eon would go on from there."""
    one = trader(1, *TOKENS[:2])
    made = world(one)
    place(made, one, 100, LARGEST, eons=2)
    made.submit(one.freeze())
    assert isinstance(made.submit(one.cancel(0, 0)), OrderCancelled)
    one.closed(0, 0)
    refused = made.submit(one.place(100, LARGEST, 2))
    assert isinstance(refused, Refusal)
    assert refused.code == "INVALID_CREDIT_AMOUNT"
    assert isinstance(made.submit(one.place(100, 200, 2)), OrderPlaced)
    assert all(takes_state(state.spent, state.gained) for states in made.states.values() for state in states)


def test_as_much_as_the_contract_holds_for_an_order_can_be_challenged() -> None:
    """Whatever the largest order gets, and pays on afterwards."""
    everything = 2**112 - 1
    seller, buyer = trader(1, *TOKENS[:2]), trader(2, TOKENS[1], TOKENS[0])
    made = world(seller, buyer, funds=everything)
    place(made, seller, everything, 1)
    place(made, buyer, everything, everything)
    assert isinstance(made.submit(fill(buyer, seller, everything, everything)), Filled)
    assert isinstance(made.submit(seller.finalize(everything)), OrderFinalized)
    assert isinstance(made.submit(buyer.finalize(everything)), OrderFinalized)
    assert all(takes_state(state.spent, state.gained) for states in made.states.values() for state in states)


@pytest.mark.parametrize(
    ("gives", "gets"), [(151, 100), (150, 0), (50, 101)], ids=["amount", "price", "wanted"]
)
def test_a_fill_beyond_what_was_signed_is_an_error(gives: int, gets: int) -> None:
    """Of a buyer of 200 for 200: not a refusal, since only a wrong matching asks for it."""
    buyer, seller = trader(1, *TOKENS[:2]), trader(2, TOKENS[1], TOKENS[0])
    made = world(buyer, seller, funds=200)
    made.submit(Deposit(seller.debit.owner, 1, 100))
    place(made, buyer, 200, 200, sell=False)
    place(made, seller, 300, 1)
    assert isinstance(made.submit(fill(buyer, seller, 50, 100)), Filled)
    before = dict(made.accounts)
    with pytest.raises(ValueError, match="beyond the limits"):
        made.submit(fill(buyer, seller, gives, gets))
    assert made.accounts == before
