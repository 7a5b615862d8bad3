import random
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nocust.balances import (
    balance_inner_hash,
    balance_leaf,
    balance_padding_leaf,
    balance_tree,
    token_leaf,
    token_tree,
    verify_account_allotment,
    verify_exclusive_balance_allotment,
)
from nocust.encoding import MAX_UINT256, ZERO_HASH, keccak, u32, u256
from nocust.errors import InvalidAmount, InvalidInteger, InvalidLength, InvalidProof, NocustError
from nocust.interval import (
    GrowingIntervalTree,
    IntervalProof,
    IntervalTree,
    blob_reader,
    padding_nodes,
    proof_from_levels,
    tree_height,
    verify_interval,
)
from nocust.passive import chain_words, passive_tree, transfer_bounds, verify_passive_delivery
from nocust.tests.strategies import hashes, junk, small_amounts


def inner_hashes(count: int) -> list[bytes]:
    return [keccak(u256(index)) for index in range(count)]


def plain_root(leaves: list[bytes], bounds: list[int], pad: bytes) -> bytes:
    """Root by the definition: pad with empty intervals at the upper bound, then join pairs."""
    nodes = [(bounds[i], leaf, bounds[i + 1]) for i, leaf in enumerate(leaves)]
    size = 1 << max(len(nodes) - 1, 0).bit_length()
    nodes += [(bounds[-1], pad, bounds[-1])] * (size - len(nodes))
    height = 0
    while len(nodes) > 1:
        joined = []
        for (left, first, _), (middle, second, right) in zip(nodes[::2], nodes[1::2], strict=True):
            inner = keccak(first + u256(middle) + second)
            joined.append((left, keccak(u32(height) + u256(left) + inner + u256(right)), right))
        nodes = joined
        height += 1
    return nodes[0][1]


def bounds_of(count: int, seed: int = 1) -> list[int]:
    choose = random.Random(seed)
    widths = [choose.choice((0, 1, 10**18, choose.getrandbits(200))) for _ in range(count)]
    return list(accumulate(widths, initial=0))


@pytest.mark.parametrize("count", [*range(35), 63, 64, 65, 100, 257])
def test_tree_equals_its_definition(count: int) -> None:
    inner, bounds = inner_hashes(count), bounds_of(count)
    tree = balance_tree(inner, bounds)
    leaves = [balance_leaf(bounds[i], inner[i], bounds[i + 1]) for i in range(count)]
    assert tree.levels[0] == leaves
    assert tree.root == plain_root(leaves, bounds, balance_padding_leaf(bounds[-1]))
    assert tree.upper_bound == bounds[-1]
    assert passive_tree(inner, bounds).root == plain_root(inner, bounds, ZERO_HASH)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_growing_tree_gives_the_nodes_of_the_whole_one(batches: list[int]) -> None:
    count = sum(batches)
    inner, bounds = inner_hashes(count), bounds_of(count)
    whole = passive_tree(inner, bounds)
    kept: list[list[bytes]] = [[] for _ in whole.levels]
    tree = GrowingIntervalTree(lambda level, nodes: kept[level].extend(nodes))
    for first, size in zip(accumulate(batches, initial=0), batches, strict=False):
        tree.add(inner[first : first + size], bounds[first : first + size + 1])
    assert tree.finish(lambda _: ZERO_HASH) == whole.root
    assert (kept, tree.count, tree.upper_bound) == (whole.levels, whole.count, whole.upper_bound)


@pytest.mark.parametrize("bounds", [[6, 7], [4, 5], [5, 4], [5], [5, 6, 7], [5, 2**256]])
def test_a_growing_tree_refuses_bounds_that_do_not_go_on(bounds: list[int]) -> None:
    tree = GrowingIntervalTree(lambda _level, _nodes: None)
    tree.add(inner_hashes(2), [0, 3, 5])
    with pytest.raises((InvalidAmount, InvalidLength)):
        tree.add(inner_hashes(1), bounds)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 13, 33])
def test_proofs_derived_from_stored_levels(count: int) -> None:
    bounds = bounds_of(count)
    tree = balance_tree(inner_hashes(count), bounds)
    blobs = [memoryview(blob) for blob in tree.blobs()]
    padding = padding_nodes(balance_padding_leaf(bounds[-1]), bounds[-1], tree_height(count))
    assert padding == tree.padding
    for index in range(1 << tree_height(count)):
        stored = proof_from_levels(index, count, blob_reader(blobs), bounds.__getitem__, padding)
        assert stored == tree.proof(index)
        node = tree.levels[0][index] if index < count else padding[0]
        left, right = bounds[min(index, count)], bounds[min(index + 1, count)]
        assert verify_interval(index, node, left, right, *stored) == (0, tree.root, bounds[-1])


def test_no_leaves_give_one_padding_leaf() -> None:
    tree = balance_tree([], [0])
    assert tree.root == balance_padding_leaf(0)
    assert tree.proof(0) == ([], [])
    assert passive_tree([], [0]).root == ZERO_HASH


@pytest.mark.parametrize(
    "bounds",
    [[], [0], [0, 1], [1, 2, 3], [0, 2, 1], [0, 1, 2**256], [0, -1, 0], [0, 1, True], [0, 1, 2.0], "012"],
)
def test_bounds_refused(bounds: list[int]) -> None:
    for build in (balance_tree, passive_tree):
        with pytest.raises((InvalidAmount, InvalidLength)):
            build(inner_hashes(2), bounds)


def test_bounds_reach_the_largest_amount() -> None:
    tree = balance_tree(inner_hashes(3), [0, MAX_UINT256, MAX_UINT256, MAX_UINT256])
    assert verify_interval(0, tree.levels[0][0], 0, MAX_UINT256, *tree.proof(0)).hash == tree.root


def test_a_tree_keeps_its_own_bounds() -> None:
    bounds = [0, 1, 2]
    tree = balance_tree(inner_hashes(2), bounds)
    before = tree.proof(0)
    bounds[2] = 5
    assert tree.proof(0) == before


class Checkpoint:
    """A checkpoint of three tokens, the middle one with a balance tree."""

    def __init__(self, count: int) -> None:
        self.inner, self.bounds = inner_hashes(count), bounds_of(count, seed=count)
        self.tree = balance_tree(self.inner, self.bounds)
        others = [token_leaf(ZERO_HASH, 5), token_leaf(keccak(b""), 6)]
        leaf = token_leaf(self.tree.root, self.tree.upper_bound)
        self.top = token_tree([others[0], leaf, others[1]])

    def arguments(self, index: int) -> dict[str, Any]:
        proof = self.tree.proof(index)
        return {
            "trail": index,
            "token_trail": 1,
            "leaf": self.tree.levels[0][index],
            "root": self.top.root,
            "chain": proof.hashes,
            "membership_chain": self.top.proof(1),
            "values": proof.values,
            "left": self.bounds[index],
            "right": self.bounds[index + 1],
        }


def verify(arguments: dict[str, Any]) -> int:
    return verify_exclusive_balance_allotment(**arguments)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 21])
def test_allotments_hold(count: int) -> None:
    checkpoint = Checkpoint(count)
    for index in range(count):
        assert verify(checkpoint.arguments(index)) == checkpoint.bounds[-1]


def reason_of(arguments: dict[str, Any]) -> str:
    with pytest.raises(InvalidProof) as caught:
        verify(arguments)
    return caught.value.reason


def test_reasons_of_refused_allotments() -> None:
    tree = balance_tree(inner_hashes(4), [0, 10, 20, 30, 40])
    root = token_leaf(tree.root, 40)
    proof = tree.proof(1)
    good: dict[str, Any] = {
        "trail": 1,
        "token_trail": 0,
        "leaf": tree.levels[0][1],
        "root": root,
        "chain": proof.hashes,
        "membership_chain": [],
        "values": proof.values,
        "left": 10,
        "right": 20,
    }
    assert proof.values == [0, 40]
    assert verify(good) == 40
    assert reason_of(good | {"values": [0]}) == "p"
    assert reason_of(good | {"values": [0, 40, 40]}) == "p"
    assert reason_of(good | {"left": 21}) == "s"
    assert reason_of(good | {"values": [11, 40]}) == "x"
    assert reason_of(good | {"values": [0, 19]}) == "x"
    assert reason_of(good | {"values": [1, 40]}) == "l"
    assert reason_of(good | {"values": [0, 41]}) == "m"
    assert reason_of(good | {"right": 19}) == "m"
    assert reason_of(good | {"root": bytes(32)}) == "m"
    assert reason_of(good | {"membership_chain": [bytes(32)]}) == "m"
    assert reason_of(good | {"trail": 3}) == "x"
    with pytest.raises(InvalidInteger):
        verify(good | {"trail": 2**64})
    with pytest.raises(InvalidAmount):
        verify(good | {"values": [0, 2**256]})
    with pytest.raises(InvalidLength):
        verify(good | {"chain": [bytes(31), bytes(32)]})


@given(st.integers(1, 40), st.data())
@settings(deadline=None)
def test_tampered_allotments_fail(count: int, data: st.DataObject) -> None:
    checkpoint = Checkpoint(count)
    index = data.draw(st.integers(0, count - 1))
    good = checkpoint.arguments(index)
    assert verify(good) == checkpoint.bounds[-1]
    proof = checkpoint.tree.proof(index)
    tampered: list[dict[str, Any]] = [
        {"leaf": data.draw(hashes)},
        {"root": data.draw(hashes)},
        {"token_trail": 0},
    ]
    if proof.hashes:
        place = data.draw(st.integers(0, len(proof.hashes) - 1))
        chain = [*proof.hashes[:place], data.draw(hashes), *proof.hashes[place + 1 :]]
        value = proof.values[place] + data.draw(st.sampled_from((1, 10**18)))
        values = [*proof.values[:place], value, *proof.values[place + 1 :]]
        tampered += [{"chain": chain}, {"values": values}, {"trail": index ^ 1 << place}]
    else:
        tampered += [{"right": checkpoint.bounds[-1] + 1}]
    for change in tampered:
        with pytest.raises(InvalidProof):
            verify(good | change)


def test_allotment_given_by_its_components() -> None:
    state = (bytes(20), b"\x01" * 20, b"\x02" * 20, b"\x03" * 32, 4, 5, b"\x06" * 32)
    tree = balance_tree([balance_inner_hash(*state), keccak(b"")], [0, 7, 9])
    proof = tree.proof(0)

    def check(right: int) -> int:
        return verify_account_allotment(
            *state,
            trail=0,
            token_trail=0,
            root=token_leaf(tree.root, 9),
            chain=proof.hashes,
            membership_chain=[],
            values=proof.values,
            left=0,
            right=right,
        )

    assert check(7) == 9
    with pytest.raises(InvalidProof):
        check(6)


@given(st.lists(st.tuples(hashes, small_amounts), min_size=1, max_size=20), st.data())
@settings(deadline=None)
def test_passive_deliveries(transfers: list[tuple[bytes, int]], data: st.DataObject) -> None:
    leaves, bounds = [leaf for leaf, _ in transfers], transfer_bounds([amount for _, amount in transfers])
    tree = passive_tree(leaves, bounds)
    index = data.draw(st.integers(0, len(leaves) - 1))
    words = chain_words(tree.proof(index))
    left, right = bounds[index], bounds[index + 1]
    assert verify_passive_delivery(index, leaves[index], left, right, words, tree.root) == bounds[-1]
    with pytest.raises(InvalidProof) as caught:
        verify_passive_delivery(index, leaves[index], left, right, words, keccak(tree.root))
    assert caught.value.reason == "n"
    with pytest.raises(InvalidProof) as caught:
        verify_passive_delivery(index, leaves[index], left, right, [*words, bytes(32)], tree.root)
    assert caught.value.reason == "p"
    with pytest.raises(InvalidProof):
        verify_passive_delivery(index, leaves[index], right + 1, right, words, tree.root)


def test_passive_reasons() -> None:
    tree = passive_tree(inner_hashes(4), [0, 10, 20, 30, 40])
    leaf = tree.levels[0][2]
    for values, reason in (([40, 0], ""), ([29, 0], "x"), ([40, 21], "x"), ([40, 1], "l"), ([41, 0], "n")):
        words = chain_words(IntervalProof(tree.proof(2).hashes, values))
        if reason:
            with pytest.raises(InvalidProof) as caught:
                verify_passive_delivery(2, leaf, 20, 30, words, tree.root)
            assert caught.value.reason == reason
        else:
            assert verify_passive_delivery(2, leaf, 20, 30, words, tree.root) == 40


@given(junk, junk)
def test_arbitrary_values_raise_nothing_but_nocust_errors(first: Any, second: Any) -> None:
    tree = balance_tree(inner_hashes(3), [0, 1, 2, 3])
    for call in (
        lambda: IntervalTree(first, second, balance_padding_leaf),
        lambda: balance_tree(first, second),
        lambda: balance_tree([bytes(32)], [0, first]),
        lambda: passive_tree(first, second),
        lambda: transfer_bounds([first, second]),
        lambda: tree.proof(first),
        lambda: proof_from_levels(first, second, lambda *_: b"", lambda _: 0, [b""] * 40),
        lambda: verify_interval(0, bytes(32), first, second, [], []),
        lambda: verify_interval(first, second, 0, 1, [], []),
        lambda: verify_interval(0, bytes(32), 0, 1, first, second),
        lambda: verify_passive_delivery(0, bytes(32), 0, 1, first, second),
        lambda: token_leaf(first, second),
        lambda: balance_leaf(first, bytes(32), second),
    ):
        try:
            call()
        except NocustError:
            continue
