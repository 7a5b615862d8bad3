"""A matcher as plain as can be, written from ``spec/ledger.md`` §8 alone, to compare the real one with."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

LARGEST = 2**256 - 1


@dataclass
class PlainOrder:
    """An order of either direction."""

    key: int
    direction: int
    gives: int
    wants: int
    sell: bool
    out: int = 0
    got: int = 0

    @property
    def open(self) -> bool:
        """Whether it is not complete."""
        return self.out < self.gives and (self.sell or self.got < self.wants)

    def capacity(self, wants_for_one: Fraction) -> tuple[int, int]:
        """What it can give and get at a rate, rounded down."""
        if self.sell:
            out = self.gives - self.out
            return out, floor(out * wants_for_one)
        got = self.wants - self.got
        return floor(got / wants_for_one), got

    def allows(self, out: int, got: int) -> bool:
        """Whether it may give and get that much more."""
        out, got = self.out + out, self.got + got
        worth, price = floor(Fraction(got * self.gives, 100)), floor(Fraction(out * self.wants, 100))
        return out <= self.gives and got <= LARGEST and worth >= price


@dataclass
class PlainMatcher:
    """A list of all orders, searched from one end to the other; keys are arrivals."""

    resting: list[PlainOrder] = field(default_factory=list)
    refused: set[frozenset[int]] = field(default_factory=set)
    """Pairs of keys that cross but that the limit check kept apart."""

    def side(self, direction: int) -> list[PlainOrder]:
        """Open orders of a direction, best first."""
        orders = [order for order in self.resting if order.direction == direction]
        return sorted(orders, key=lambda order: (-Fraction(order.gives, order.wants), order.key))

    def take(self, taker: PlainOrder) -> list[tuple[int, int, int, int]]:
        """Trade; taker, maker, what the taker gives and what it gets."""
        trades = []
        for maker in self.side(1 - taker.direction):
            if not taker.open or not crosses(taker, maker):
                break
            rate = Fraction(maker.gives, maker.wants)
            out, got = taker.capacity(rate)
            maker_out, maker_got = maker.capacity(1 / rate)
            if out > maker_got or got > maker_out:
                out, got = maker_got, maker_out
            if not taker.allows(out, got) or not maker.allows(got, out):
                self.refused.add(frozenset((taker.key, maker.key)))
                continue
            taker.out, taker.got = taker.out + out, taker.got + got
            maker.out, maker.got = maker.out + got, maker.got + out
            trades.append((taker.key, maker.key, out, got))
        self.resting = [order for order in [*self.resting, taker] if order.open]
        return trades

    def freeze(self, key: int) -> None:
        """Remove an order, if it rests."""
        self.resting = [order for order in self.resting if order.key != key]


def crosses(left: PlainOrder, right: PlainOrder) -> bool:
    """Whether each gives at least what the other wants for what it wants."""
    return Fraction(left.gives, left.wants) >= Fraction(right.wants, right.gives)
