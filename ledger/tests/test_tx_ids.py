"""Ids of transfers: UUIDs of version 7, in order of their time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from ledger.tx_ids import new_tx_id

times = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@given(times)
def test_an_id_says_when_it_was_given(time: datetime) -> None:
    found = new_tx_id(time)
    assert (found.version, found.variant) == (7, RFC_4122)
    told = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found.int >> 80)
    assert timedelta(0) <= time - told < timedelta(milliseconds=1)
    assert UUID(str(found)) == found


@given(times, st.integers(1, 10**9))
def test_later_ids_are_larger(time: datetime, later: int) -> None:
    assert new_tx_id(time) < new_tx_id(time + timedelta(milliseconds=later))


def test_ids_of_one_moment_differ() -> None:
    now = datetime.now(UTC)
    assert len({new_tx_id(now) for _ in range(100_000)}) == 100_000
