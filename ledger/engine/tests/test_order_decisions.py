"""Orders at the ends of what can be counted, and fills that no matching may ask for."""

from __future__ import annotations

from uuid import UUID

import pytest

from ledger.engine import Deposit, Fill, Filled, OrderCancelled, OrderPlaced, Refusal
from ledger.engine.tests.market import TOKENS, Market
from ledger.engine.tests.world import CONTRACT, MAX_AMOUNT
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


def test_the_largest_order_can_be_ended() -> None:
    """What ends it outbids what was signed for later eons, all within 256 bits."""
    one = trader(1, *TOKENS[:2])
    made = world(one)
    largest = (MAX_AMOUNT - 1) // 2
    refused = made.submit(one.place(100, largest + 1, 2))
    assert isinstance(refused, Refusal)
    assert refused.code == "DEBIT_WALLET_OVERSPENDING"
    place(made, one, 100, largest, eons=2)
    made.submit(one.freeze())
    assert isinstance(made.submit(one.cancel(0, 0)), OrderCancelled)


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
