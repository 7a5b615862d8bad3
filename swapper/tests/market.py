"""A market of two tokens with traders, for tests."""

from __future__ import annotations

from typing import Any

from ledger import store
from ledger.accounts_sql import load_accounts
from ledger.engine import Fill
from ledger.models import TokenPair, Transfer
from ledger.orders import StoredOrder
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from swapper.selectors import open_pairs

LQD = bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c")


def market(play: Play) -> None:
    """A second token, and the pair both ways."""
    play.add_token(LQD, "Liquid", "LQD")
    ether, other = play.tokens
    TokenPair.between(ether, other).save()
    TokenPair.between(other, ether).save()
    open_pairs.clear()


def trader(play: Play, funds: int, sells: int = 0) -> Trader:
    """Somebody with wallets in both tokens and `funds` in the one it sells."""
    debit, credit = play.tokens[sells], play.tokens[1 - sells]
    made = Trader.create(play.contract, debit.address, credit.address)
    play.admit([made.debit], debit)
    play.admit([made.credit], credit)
    if funds:
        play.deposit(made.debit, funds)
    return made


def place(one: Trader, amount: int, wanted: int, eons: int = 1, sell: bool = True) -> StoredOrder:
    """Its order in the ledger, remembered."""
    order = one.place(amount, wanted, eons, sell)
    (stored,) = store.execute([order])
    assert isinstance(stored, StoredOrder), stored
    one.accepted(order, stored.order.tx_id)
    return stored


def fill(taker: Trader, maker: Trader, gives: int, gets: int) -> StoredOrder:
    """Their orders matched."""
    owners = tuple(wallet.owner for one in (taker, maker) for wallet in (one.debit, one.credit))
    (stored,) = store.execute([Fill(taker.tx_id, maker.tx_id, gives, gets, owners)])
    assert isinstance(stored, StoredOrder), stored
    return stored


def next_eon(play: Play, *traders: Trader) -> None:
    """The next eon with its checkpoint; the traders' wallets start it with what the checkpoint allots them."""
    play.next_eon()
    for one in traders:
        owners = {wallet.owner.wallet: wallet.owner for wallet in (one.debit, one.credit)}
        accounts = load_accounts(owners, [play.eon])
        starts = [accounts[wallet, play.eon].opening for wallet in owners]
        one.enter(play.eon, *starts)


def row(one: Trader, eon: int) -> Transfer:
    """Its order's row of an eon."""
    return Transfer.objects.get(tx_id=one.tx_id, eon_number=eon)


def values(signatures: tuple[bytes, ...]) -> list[dict[str, Any]]:
    """Signatures as a body has them."""
    return [{"value": signature.hex()} for signature in signatures]
