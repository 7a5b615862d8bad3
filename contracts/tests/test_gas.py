"""The gas report: what it measures, and that the contract stays within its goals."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from contracts import gas
from contracts.gas_reference import REFERENCE
from contracts.synthetic import COIN, Entry, checkpoint, plain_path, trail
from contracts.tests.people import ALICE, BOB
from nocust.balances import balance_inner_hash, balance_leaf, verify_exclusive_balance_allotment
from nocust.merkle import verify_membership

TOKENS = bytes(range(20)), bytes(range(1, 21))


def test_operations_stay_within_their_goals() -> None:
    rows = gas.report()
    assert [row.operation for row in rows] == list(REFERENCE)
    missed = [f"{row.operation}: {row.percent} %" for row in rows if not row.holds and not row.exception]
    assert not missed
    limited = [row for row in rows if row.client_limit is not None]
    assert len(limited) == 18
    assert all(row.gas_at_2_40 is not None and row.gas_at_2_40 < row.client_limit for row in limited)  # type: ignore[operator]  # limited above


@pytest.mark.parametrize("depth", [3, 4, 20, 40, 63])
def test_synthetic_proofs_are_valid(depth: int) -> None:
    rng = random.Random(depth)
    entries = (entries_of(3), entries_of(4))
    made = checkpoint(rng, TOKENS[0], TOKENS, entries, 10**6 * COIN, depth)
    for token, places in enumerate(made.places):
        for position, place in enumerate(places):
            entry = place.entry
            inner = balance_inner_hash(
                TOKENS[0], TOKENS[token], entry.holder, entry.passive_root, 0, 0, entry.active
            )
            total = verify_exclusive_balance_allotment(
                place.path.trail,
                token,
                balance_leaf(place.left, inner, place.right),
                made.root,
                place.path.hashes,
                place.membership,
                place.path.values,
                place.left,
                place.right,
            )
            assert total == 10**6 * COIN
            assert place.path.trail == trail(position, depth)
            assert len(place.path.hashes) == depth
    path, root = plain_path(rng, bytes(32), depth)
    assert verify_membership(path.trail, path.hashes, bytes(32), root)


def entries_of(width: int) -> tuple[Entry, Entry]:
    return Entry(ALICE.raw, width * COIN), Entry(BOB.raw, COIN)


def test_only_the_marked_section_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    gas.write(file, f"{gas.BEGIN}\nfirst\n{gas.END}\n")
    assert file.read_text() == f"# Measurements\n\n{gas.BEGIN}\nfirst\n{gas.END}\n"
    file.write_text(file.read_text() + "\n## Others\n")
    gas.write(file, f"{gas.BEGIN}\nsecond\n{gas.END}\n")
    assert file.read_text() == f"# Measurements\n\n{gas.BEGIN}\nsecond\n{gas.END}\n\n## Others\n"
