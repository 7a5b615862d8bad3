from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nocust.encoding import ZERO_HASH, keccak, u32, u256
from nocust.errors import InvalidInteger, InvalidLength, NocustError
from nocust.merkle import MerkleTree, Peaks, verify_membership, zero_roots
from nocust.tests.strategies import hashes, junk


def leaves_of(count: int) -> list[bytes]:
    return [keccak(u256(index)) for index in range(count)]


def plain_root(leaves: list[bytes]) -> bytes:
    """Root by the definition: pad, then hash pairs."""
    nodes = leaves + [ZERO_HASH] * ((1 << max(len(leaves) - 1, 0).bit_length()) - len(leaves))
    height = 0
    while len(nodes) > 1:
        nodes = [keccak(u32(height) + nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
        height += 1
    return nodes[0]


@pytest.mark.parametrize("count", [*range(40), 63, 64, 65, 127, 128, 129, 500])
def test_tree_equals_its_definition_and_its_proofs_hold(count: int) -> None:
    leaves = leaves_of(count)
    tree = MerkleTree(leaves)
    assert tree.root == plain_root(leaves)
    assert sum(map(len, tree.levels)) <= 2 * count + 10
    for index in range(count):
        chain = tree.proof(index)
        assert len(chain) == (count - 1).bit_length()
        assert verify_membership(index, chain, leaves[index], tree.root)
        if chain:
            assert not verify_membership(index ^ 1, chain, leaves[index], tree.root)


def test_growing_tree_equals_the_plain_one_at_every_size() -> None:
    peaks = Peaks.EMPTY
    assert peaks.root() == ZERO_HASH
    leaves: list[bytes] = []
    for leaf in leaves_of(300):
        leaves.append(leaf)
        tree = MerkleTree(leaves)
        assert peaks.root_with(leaf) == tree.root
        assert peaks.proof_of_next(leaf) == tree.proof(len(leaves) - 1)
        peaks = peaks.append(leaf)
        assert peaks.size == len(leaves)
        assert peaks.root() == tree.root
        assert Peaks.decode(peaks.size, memoryview(peaks.encode())) == peaks
        assert sum(2**height for height in peaks.heights) == peaks.size
        assert len(peaks.heights) == len(peaks.hashes)


@given(st.lists(hashes, max_size=70))
@settings(deadline=None)
def test_growing_tree_equals_the_plain_one(leaves: list[bytes]) -> None:
    peaks = Peaks.EMPTY
    for leaf in leaves:
        peaks = peaks.append(leaf)
    assert peaks.root() == MerkleTree(leaves).root == plain_root(leaves)


@given(st.integers(1, 100), st.data())
@settings(deadline=None)
def test_tampered_proofs_fail(count: int, data: st.DataObject) -> None:
    leaves = leaves_of(count)
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, count - 1))
    chain = tree.proof(index)
    other = data.draw(hashes)
    assert not verify_membership(index, chain, other, tree.root)
    assert not verify_membership(index, chain, leaves[index], other)
    assert not verify_membership(index, [*chain, other], leaves[index], tree.root)
    if chain:
        place = data.draw(st.integers(0, len(chain) - 1))
        tampered = [*chain[:place], other, *chain[place + 1 :]]
        assert not verify_membership(index, tampered, leaves[index], tree.root)
        assert not verify_membership(index ^ 1 << place, chain, leaves[index], tree.root)
        assert not verify_membership(index, chain[:-1], leaves[index], tree.root)


def test_surplus_bits_of_an_index_are_ignored() -> None:
    leaves = leaves_of(4)
    tree = MerkleTree(leaves)
    assert verify_membership(2**63 + 1, tree.proof(1), leaves[1], tree.root)


def test_zero_roots_are_roots_of_padding() -> None:
    assert len(zero_roots) == 33
    for height in range(6):
        assert zero_roots[height] == plain_root([ZERO_HASH] * 2**height)


@given(junk, junk)
def test_arbitrary_values_raise_nothing_but_nocust_errors(first: Any, second: Any) -> None:
    for call in (
        lambda: MerkleTree(first),
        lambda: MerkleTree([bytes(32)] * 3).proof(first),
        lambda: verify_membership(first, second, bytes(32), bytes(32)),
        lambda: verify_membership(0, [], first, second),
        lambda: Peaks.decode(first, second),
        lambda: Peaks(first, second),
        lambda: Peaks.EMPTY.append(first),
        lambda: Peaks.EMPTY.root_with(first),
        lambda: Peaks.EMPTY.proof_of_next(first),
    ):
        try:
            call()
        except NocustError:
            continue


@pytest.mark.parametrize(
    ("size", "blob"),
    [
        (0, bytes(32)),
        (1, b""),
        (1, bytes(31)),
        (3, bytes(32)),
        (4, bytes(64)),
        (-1, b""),
        (2**32 + 1, bytes(64)),
    ],
)
def test_peaks_that_do_not_belong_to_their_size(size: int, blob: bytes) -> None:
    with pytest.raises((InvalidLength, InvalidInteger)):
        Peaks.decode(size, blob)


def test_a_full_tree_does_not_grow() -> None:
    full = Peaks(2**32, (bytes(32),))
    assert full.root() == bytes(32)
    with pytest.raises(InvalidInteger):
        full.append(bytes(32))
    with pytest.raises(InvalidInteger):
        full.root_with(bytes(32))
    almost = Peaks(2**32 - 1, (bytes(32),) * 32)
    assert almost.append(bytes(32)).root() == almost.root_with(bytes(32))


@pytest.mark.parametrize("index", [-1, 4, 2**64, True, "0", None])
def test_index_outside_the_tree(index: Any) -> None:
    with pytest.raises(InvalidInteger):
        MerkleTree(leaves_of(3)).proof(index)
