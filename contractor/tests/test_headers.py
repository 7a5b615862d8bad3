"""Joining fresh headers to known ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contractor.errors import ForkTooDeepError, NodeError
from contractor.headers import Advance, Header, advance, check_links, may_hold_logs
from nocust.encoding import keccak


def branch(parent: Header, length: int, name: str) -> list[Header]:
    """`length` headers on top of `parent`; another name gives other hashes."""
    headers = [parent]
    for _ in range(length):
        number = headers[-1].number + 1
        headers.append(Header(number, keccak(f"{name}{number}".encode()), headers[-1].hash, number))
    return headers[1:]


GENESIS = Header(10, keccak(b"genesis"), b"\0" * 32, 10)


def chain_of(headers: list[Header]) -> dict[int, Header]:
    return {header.number: header for header in headers}


@given(
    common=st.integers(0, 6),
    old=st.integers(0, 6),
    new=st.integers(0, 8),
    limit=st.integers(1, 12),
)
def test_after_enough_advances_the_known_chain_is_the_nodes(
    common: int, old: int, new: int, limit: int
) -> None:
    shared = [GENESIS, *branch(GENESIS, common, "shared")]
    known = shared + branch(shared[-1], old, "old")
    real = shared + branch(shared[-1], new, "new")
    node = chain_of(real)

    def fetch(first: int, last: int) -> list[Header]:
        return [node[number] for number in range(first, last + 1)]

    for _ in range(20):
        change = advance(known, real[-1], known[-1].number + limit, fetch)
        if change is None:
            break
        known = [header for header in known if header.number < change.drop_from] + list(change.fresh)
        check_links(known)
    if new:
        assert known == real
    else:
        assert known[: len(shared)] == shared  # a node that lags behind on the same chain undoes nothing


def test_a_fork_below_the_final_block_is_refused() -> None:
    known = [GENESIS, *branch(GENESIS, 3, "old")]
    other = Header(10, keccak(b"other"), b"\0" * 32, 10)
    node = chain_of([other, *branch(other, 5, "new")])
    with pytest.raises(ForkTooDeepError, match="block 10 was applied"):
        advance(known, node[15], 100, lambda first, last: [node[n] for n in range(first, last + 1)])


def test_headers_that_do_not_follow_each_other_are_refused() -> None:
    one, two = branch(GENESIS, 2, "a")
    check_links([GENESIS, one, two])
    with pytest.raises(NodeError):
        check_links([GENESIS, two])
    with pytest.raises(NodeError):
        check_links([one, branch(GENESIS, 2, "b")[1]])


def test_the_ceiling_is_kept_and_the_tip_below_it_is_still_checked() -> None:
    known = [GENESIS, *branch(GENESIS, 3, "old")]
    forked = chain_of([GENESIS, *branch(GENESIS, 9, "new")])
    change = advance(known, forked[19], 13, lambda first, last: [forked[n] for n in range(first, last + 1)])
    assert change == Advance(11, (forked[11], forked[12], forked[13]))


def test_the_bloom_of_a_real_block_finds_its_address() -> None:
    address = b"\x95" * 20
    bloom = bytearray(256)
    digest = keccak(address)
    for i in (0, 2, 4):
        bit = int.from_bytes(digest[i : i + 2], "big") % 2048
        bloom[255 - bit // 8] |= 1 << bit % 8
    assert may_hold_logs(bytes(bloom), address)
    assert not may_hold_logs(bytes(256), address)
    assert not may_hold_logs(bytes(bloom), b"\x96" * 20)
