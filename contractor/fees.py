"""What transactions offer for their gas: EIP-1559 fees where the chain has a base fee, a gas price where not. All
figures are wei a unit of gas. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

BLOCKS_OF_GROWTH = 2
"""The base fee grows by at most an eighth a block, so twice the present one lasts for six full blocks."""
REPLACEMENT_PERCENT = 110
"""Nodes take another transaction with the same nonce if it offers so much more, in both fields."""


@dataclass(frozen=True, slots=True)
class Market:
    """What the node says: the newest block's base fee (None on a chain without), the gas price and the priority fee
    it suggests."""

    base_fee: int | None
    gas_price: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows: the least and the most a unit may cost, the least priority fee, and by how much an
    offer is raised."""

    floor: int
    cap: int
    priority_floor: int
    bump_percent: int


@dataclass(frozen=True, slots=True)
class Fee:
    """An offer: at most `maximum`, of which `priority` goes to the miner; None for a legacy transaction."""

    maximum: int
    priority: int | None

    def __str__(self) -> str:
        return f"{self.maximum} wei" + ("" if self.priority is None else f", {self.priority} for the miner")


def offer(market: Market, limits: Limits) -> Fee:
    """The first offer: what the market asks for, within the limits."""
    if market.base_fee is None:
        return Fee(_within(market.gas_price, limits.floor, limits.cap), None)
    priority = max(market.priority_fee, limits.priority_floor)
    maximum = _within(market.base_fee * BLOCKS_OF_GROWTH + priority, limits.floor, limits.cap)
    return Fee(maximum, min(priority, maximum))


def raised(before: Fee, market: Market, limits: Limits) -> Fee | None:
    """The next offer for the same nonce: both fields raised, and at least what the market asks for now. None if the
    cap leaves no room for an offer that nodes would take as a replacement. A legacy transaction stays one."""
    fresh = offer(Market(None, market.gas_price, 0) if before.priority is None else market, limits)
    maximum = min(max(_percent(before.maximum, limits.bump_percent), fresh.maximum), limits.cap)
    if maximum < _percent(before.maximum, REPLACEMENT_PERCENT):
        return None
    if before.priority is None:
        return Fee(maximum, None)
    priority = max(_percent(before.priority, limits.bump_percent), fresh.priority or 0)
    priority = min(priority, maximum)
    if priority < _percent(before.priority, REPLACEMENT_PERCENT):
        return None
    return Fee(maximum, priority)


def _within(value: int, lowest: int, highest: int) -> int:
    return min(max(value, lowest), highest)


def _percent(value: int, percent: int) -> int:
    """Rounded up."""
    return -(-value * percent // 100)
