"""A market in Ether and LQD with traders, for the tests of the matching."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Event

from ledger import engine, store
from ledger.accounts_sql import load_accounts
from ledger.engine import Refusal
from ledger.models import Matching, TokenPair, Transfer
from ledger.orders import StoredOrder
from ledger.sql import fetch
from nocust.matching import Book, Order
from nocust.matching_orders import volumes, within_limits
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from swapper.books import AMOUNTS, OPEN, TABLES, Market, read_book
from swapper.exchange import Exchange

LQD = bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c")
ENDED = Event()
ENDED.set()
MARKETS_HELD = (
    "FROM pg_locks WHERE locktype = 'advisory' AND classid = 5"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""The locks of markets by their owners; other tests on the same server have theirs."""

Resting = tuple[int, int, int, int, bool, int, int]


@dataclass
class MarketPlay:
    """The ledger, its first market, and the matching of one process."""

    play: Play
    exchange: Exchange = field(default_factory=Exchange)
    traders: list[Trader] = field(default_factory=list)

    @classmethod
    def create(cls) -> MarketPlay:
        play = Play()
        play.add_token(LQD, "Liquid", "LQD")
        ether, liquid = play.tokens
        for pair in (TokenPair.between(ether, liquid), TokenPair.between(liquid, ether)):
            pair.save()
        return cls(play)

    @property
    def market(self) -> Market:
        return Market(*sorted(token.pk for token in self.play.tokens[:2]))

    def trader(self, funds: int, sells: int = 0) -> Trader:
        """Somebody with wallets in both tokens and `funds` in the one it sells."""
        debit, credit = self.play.tokens[sells], self.play.tokens[1 - sells]
        made = Trader.create(self.play.contract, debit.address, credit.address)
        self.play.admit([made.debit], debit)
        self.play.admit([made.credit], credit)
        if funds:
            self.play.deposit(made.debit, funds)
        self.traders.append(made)
        return made

    def order(self, amount: int, wanted: int, sells: int = 0, eons: int = 1, sell: bool = True) -> Trader:
        """A new trader's order."""
        made = self.trader(amount, sells)
        self.place(made, amount, wanted, eons, sell)
        return made

    def place(self, one: Trader, amount: int, wanted: int, eons: int = 1, sell: bool = True) -> None:
        self.place_signed(one, one.place(amount, wanted, eons, sell))

    def place_signed(self, one: Trader, order: engine.PlaceOrder) -> None:
        one.accepted(order, done(order).order.tx_id)

    def next_eon(self) -> None:
        """The next eon with its checkpoint; traders know what they begin it with."""
        self.play.next_eon()
        for one in self.traders:
            current = Transfer.objects.filter(tx_id=one.tx_id, eon_number=self.play.eon, appended=True)
            if one.order is not None and not current.exists():
                one.forget()
            one.enter(self.play.eon, *(_opening(owner, self.play.eon) for owner in wallets(one)))

    def row(self, one: Trader, eon: int | None = None) -> Transfer:
        return Transfer.objects.get(tx_id=one.tx_id, eon_number=eon or self.play.eon)

    def rows(self, one: Trader) -> list[int]:
        """The rows of its order, of all eons."""
        return list(Transfer.objects.filter(tx_id=one.tx_id).values_list("pk", flat=True))

    def matched(self, one: Trader) -> tuple[int, int]:
        """What its order gave and got so far."""
        row = self.row(one)
        return total(row.prior_out, row.matched_out), total(row.prior_in, row.matched_in)

    def in_memory(self) -> list[list[Resting]]:
        """The book of the process, without orders that ended since it last met them."""
        state = self.exchange.book(self.market)
        book = state.book if state is not None else Book()
        closed = {
            row
            for (row,) in fetch(
                f"SELECT t.id FROM ledger_transfer t WHERE t.swap AND NOT {OPEN}",  # noqa: S608
            )
        }
        return [[_plain(order) for order in book.orders(side) if order.key not in closed] for side in (0, 1)]

    def in_database(self) -> list[list[Resting]]:
        """The book as it would be read now."""
        book = read_book(self.market, self.play.eon)
        return [[_plain(order) for order in book.orders(side)] for side in (0, 1)]


def wallets(one: Trader) -> tuple[engine.Owner, engine.Owner]:
    return one.debit.owner, one.credit.owner


def done(command: engine.Command) -> StoredOrder:
    (outcome,) = store.execute([command])
    assert isinstance(outcome, StoredOrder), outcome
    return outcome


def refused(command: engine.Command) -> str:
    (outcome,) = store.execute([command])
    assert isinstance(outcome, Refusal), outcome
    return outcome.code


def total(*amounts: int | None) -> int:
    return sum(amount or 0 for amount in amounts)


def fills() -> list[tuple[int, int, int, int]]:
    """All fills in order: the rows of taker and maker, what each gave."""
    return [
        (row.taker_id, row.maker_id, int(row.taker_gave), int(row.maker_gave))
        for row in Matching.objects.order_by("id")
    ]


def fills_alone(market: Market, eon: int) -> list[tuple[int, int, int, int]]:
    """The fills of the eon's orders as the matcher alone makes them, each order after the other as they arrived.
    Only for an eon in which none ended and that began with an empty book."""
    rows = fetch(
        f"SELECT t.arrival, {AMOUNTS} FROM {TABLES} WHERE t.swap AND t.eon_number = %s"  # noqa: S608
        " AND t.arrival IS NOT NULL ORDER BY t.arrival",
        [eon],
    )
    book = Book()
    made: list[tuple[int, int, int, int]] = []
    for arrival, key, amount, swapped, sell, _, _, token in rows:
        order = Order(key, arrival, int(amount), int(swapped), sell)
        made += (
            (f.taker, f.maker, f.taker_gives, f.maker_gives)
            for f in book.take(market.direction(token), order)
        )
    return made


def is_crossed(sides: Iterable[list[Resting]]) -> bool:
    """Whether the best orders of both sides rest though they could trade. Two may rest though their prices cross:
    where what they would trade, rounded, is beyond the limit of one."""
    best = [Order(*side[0]) for side in sides if side]
    if len(best) < 2:
        return False
    first, second = best
    if first.amount * second.amount < first.amount_swapped * second.amount_swapped:
        return False
    maker, taker = sorted(best, key=lambda order: order.arrival)
    given, received = volumes(taker, maker)
    return within_limits(taker, taker.matched_out + given, taker.matched_in + received) and within_limits(
        maker, maker.matched_out + received, maker.matched_in + given
    )


def _plain(order: Order) -> Resting:
    return (
        order.key,
        order.arrival,
        order.amount,
        order.amount_swapped,
        order.sell,
        order.matched_out,
        order.matched_in,
    )


def _opening(owner: engine.Owner, eon: int) -> int:
    return load_accounts({owner.wallet: owner}, [eon])[owner.wallet, eon].opening
