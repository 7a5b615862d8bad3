"""Orders of a swap market and what two of them trade with each other (``spec/ledger.md`` §8).

An order gives up to `amount` (a) of one token and wants `amount_swapped` (b) of the other; its limit is b
wanted for a given. All amounts are in the smallest unit of their token and all arithmetic is in exact integers:
quotients are rounded down, prices are compared by cross-multiplication.
"""

from typing import Final, NamedTuple, Protocol

from nocust.encoding import MAX_UINT256, check_amount
from nocust.errors import InvalidAmount, InvalidInteger

TOLERANCE: Final = 100
"""Divisor of both sides of the limit check: rounding may leave in · a short of out · b by less than this."""

PRICE_BITS: Final = 512


class Limit(Protocol):
    """Anything with the amounts of an order: `amount` given for `amount_swapped`."""

    @property
    def amount(self) -> int: ...

    @property
    def amount_swapped(self) -> int: ...


class Order:
    """An order and what it has traded; all but the matched amounts stays as it is.

    `key` names it, `arrival` is its place in time: at the same price the lower one trades first, of equal
    ones the lower key. A sell order is complete when it has given `amount`; a buy order also when it has
    received `amount_swapped`. `matched_out` and `matched_in` are totals over all eons.

    `price` is ``(amount << 512) // amount_swapped``, what it gives for what it wants: the higher, the better
    for who takes it. Equal ratios have equal prices and different ones different prices in the same order:
    since all amounts are below 2**256, two different ratios a/b and c/d differ by at least 1/(b·d) > 2**-512,
    hence by more than 1 after the shift, and so do not round down to the same integer.

    Raises InvalidAmount unless 1 <= amount, amount_swapped < 2**256 and the matched amounts are ones the order
    can have, InvalidInteger for a key or arrival that is no integer and a `sell` that is no boolean.
    """

    __slots__ = (
        "amount",
        "amount_swapped",
        "arrival",
        "key",
        "matched_in",
        "matched_out",
        "price",
        "sell",
    )

    def __init__(
        self,
        key: int,
        arrival: int,
        amount: int,
        amount_swapped: int,
        sell: bool = True,
        matched_out: int = 0,
        matched_in: int = 0,
    ) -> None:
        for number in (key, arrival):
            if isinstance(number, bool) or not isinstance(number, int):
                raise InvalidInteger("key and arrival of an order are integers")
        if not isinstance(sell, bool):
            raise InvalidInteger("an order sells or buys: true or false")
        if not check_amount(amount) or not check_amount(amount_swapped):
            raise InvalidAmount("an order gives and wants at least 1")
        if check_amount(matched_out) > amount:
            raise InvalidAmount("an order gives no more than its amount")
        if check_amount(matched_in) > amount_swapped and not sell:
            raise InvalidAmount("an order that buys receives no more than it wants")
        self.key = key
        self.arrival = arrival
        self.amount = amount
        self.amount_swapped = amount_swapped
        self.sell = sell
        self.matched_out = matched_out
        self.matched_in = matched_in
        self.price = (amount << PRICE_BITS) // amount_swapped

    @property
    def remaining_out(self) -> int:
        """What it may still give."""
        return self.amount - self.matched_out

    @property
    def remaining_in(self) -> int:
        """What is missing of the amount it wants; 0 where a sell order has got as much or more."""
        return max(self.amount_swapped - self.matched_in, 0)

    @property
    def complete(self) -> bool:
        """Whether it has traded all it can."""
        if self.matched_out == self.amount:
            return True
        return not self.sell and self.matched_in == self.amount_swapped

    @property
    def visible_out(self) -> int:
        """What it offers in the order book (``spec/http-api.md`` §4.12)."""
        if self.sell:
            return self.amount - self.matched_out
        return (self.amount_swapped - self.matched_in) * self.amount // self.amount_swapped

    @property
    def visible_in(self) -> int:
        """What it wants for :attr:`visible_out` in the order book (``spec/http-api.md`` §4.12)."""
        if self.sell:
            return (self.amount - self.matched_out) * self.amount_swapped // self.amount
        return self.amount_swapped - self.matched_in

    def __repr__(self) -> str:
        kind = "sell" if self.sell else "buy"
        return (
            f"Order({self.key}, arrival {self.arrival}, {kind} {self.amount} for {self.amount_swapped}, "
            f"out {self.matched_out}, in {self.matched_in})"
        )


class Fill(NamedTuple):
    """One trade of two orders: `taker` and `maker` are their keys.

    The maker receives what the taker gives and the other way round; one of the two volumes may be 0. The
    flags say which of the orders are complete by it.
    """

    taker: int
    maker: int
    taker_gives: int
    maker_gives: int
    taker_complete: bool
    maker_complete: bool


class Level(NamedTuple):
    """Open orders at one price, as in ``spec/http-api.md`` §4.12.

    `amount` and `amount_swapped` are those of the order that arrived first and stand for the price only; the
    remaining amounts are sums of the visible volumes of all `orders`.
    """

    amount: int
    amount_swapped: int
    remaining_out: int
    remaining_in: int
    orders: int


def volumes(taker: Order, maker: Order) -> tuple[int, int]:
    """What the taker would give and receive at the maker's rate (``spec/ledger.md`` §8).

    What the taker can trade, unless the maker would then give or receive more than it can: what that can.
    Never both 0 if neither order is complete.
    """
    rate_out, rate_in = maker.amount, maker.amount_swapped
    if taker.sell:
        out = taker.amount - taker.matched_out
        into = out * rate_out // rate_in
    else:
        into = taker.amount_swapped - taker.matched_in
        out = into * rate_in // rate_out
    if maker.sell:
        maker_out = rate_out - maker.matched_out
        maker_in = maker_out * rate_in // rate_out
    else:
        maker_in = rate_in - maker.matched_in
        maker_out = maker_in * rate_out // rate_in
    if out > maker_in or into > maker_out:
        return maker_in, maker_out
    return out, into


def within_limits(order: Limit, matched_out: int, matched_in: int) -> bool:
    """Whether an order may have these totals (``spec/ledger.md`` §8).

    No more than its amount, and received · a >= b · given when both are rounded down to hundreds; the totals
    are amounts.
    """
    return (
        matched_out <= order.amount
        and matched_in <= MAX_UINT256
        and matched_in * order.amount // TOLERANCE >= matched_out * order.amount_swapped // TOLERANCE
    )
