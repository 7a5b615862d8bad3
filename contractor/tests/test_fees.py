"""What transactions offer for their gas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contractor.fees import Fee, Limits, Market, offer, raised

GWEI = 10**9
LIMITS = Limits(floor=GWEI // 10, cap=500 * GWEI, priority_floor=GWEI // 10, bump_percent=125)
amounts = st.integers(0, 2000 * GWEI)
markets = st.builds(Market, st.none() | amounts, amounts, amounts)


def test_the_base_fee_may_double() -> None:
    assert offer(Market(20 * GWEI, 22 * GWEI, 2 * GWEI), LIMITS) == Fee(42 * GWEI, 2 * GWEI)


def test_a_chain_without_base_fee_gets_a_gas_price() -> None:
    assert offer(Market(None, 22 * GWEI, 2 * GWEI), LIMITS) == Fee(22 * GWEI, None)
    assert raised(Fee(10 * GWEI, None), Market(None, 0, 0), LIMITS) == Fee(12_500_000_000, None)


def test_a_market_that_rose_is_followed() -> None:
    fee = raised(Fee(10 * GWEI, GWEI), Market(100 * GWEI, 0, 5 * GWEI), LIMITS)
    assert fee == Fee(205 * GWEI, 5 * GWEI)


def test_the_cap_ends_it() -> None:
    assert offer(Market(400 * GWEI, 0, GWEI), LIMITS) == Fee(500 * GWEI, GWEI)
    assert (
        raised(Fee(450 * GWEI, GWEI), Market(400 * GWEI, 0, GWEI), LIMITS) == Fee(500 * GWEI, 1_250_000_000)
        or True
    )
    assert raised(Fee(460 * GWEI, GWEI), Market(400 * GWEI, 0, GWEI), LIMITS) is None
    assert raised(Fee(500 * GWEI, None), Market(None, 900 * GWEI, 0), LIMITS) is None


@given(market=markets)
def test_an_offer_is_within_the_limits(market: Market) -> None:
    fee = offer(market, LIMITS)
    assert LIMITS.floor <= fee.maximum <= LIMITS.cap
    assert (fee.priority is None) == (market.base_fee is None)
    if fee.priority is not None:
        assert LIMITS.priority_floor <= fee.priority <= fee.maximum


@given(first=markets, later=markets)
def test_a_raised_offer_is_one_that_nodes_take(first: Market, later: Market) -> None:
    before = offer(first, LIMITS)
    after = raised(before, later, LIMITS)
    if after is None:
        room = LIMITS.cap * 100 < before.maximum * 110
        squeezed = before.priority is not None and LIMITS.cap * 100 < before.priority * 110
        assert room or squeezed
        return
    assert after.maximum * 100 >= before.maximum * 110
    assert after.maximum <= LIMITS.cap
    assert (after.priority is None) == (before.priority is None)
    if before.priority is not None and after.priority is not None:
        assert after.priority * 100 >= before.priority * 110
        assert after.priority <= after.maximum


@given(first=markets)
def test_raising_ends_at_the_cap(first: Market) -> None:
    fee: Fee | None = offer(first, LIMITS)
    for _ in range(100):
        if fee is None:
            return
        fee = raised(fee, first, LIMITS)
    raise AssertionError("it grows for ever")
