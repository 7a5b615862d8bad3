"""Interval trees: Merkle trees whose nodes cover [left, right] (``spec/crypto.md`` §9 and §10).

Edges: leaf i of n covers [bounds[i], bounds[i + 1]], so n + 1 edges describe all leaves, and node i of
level h covers [bounds[min(i << h, n)], bounds[min((i + 1) << h, n)]]. Padding covers [bounds[n],
bounds[n]], so all padding nodes of one level are equal. To derive proofs later it is enough to store the
real nodes of each level and the n + 1 edges.
"""

from collections.abc import Callable, Sequence
from operator import le
from typing import Final, NamedTuple

from nocust.encoding import MAX_UINT256, amount_word, check_amount, check_bytes, check_hashes
from nocust.errors import InvalidAmount, InvalidLength, InvalidProof
from nocust.merkle import MAX_HEIGHT, PREFIXES, check_index
from nocust.native import keccak_256

MAX_TRAIL_BITS: Final = 64


class IntervalProof(NamedTuple):
    """Sibling hashes from the leaf upwards and, for each, the bound of the sibling that is further away."""

    hashes: list[bytes]
    values: list[int]


class VerifiedInterval(NamedTuple):
    """What a proof leads to: bounds and hash of the root."""

    left: int
    hash: bytes
    right: int


def tree_height(count: int) -> int:
    """Levels above the leaves of a tree with `count` real leaves."""
    return max(count - 1, 0).bit_length()


def level_size(count: int, level: int) -> int:
    """Real nodes at `level` (leaves are level 0) of a tree with `count` real leaves."""
    return -(-count >> level) if count else 0


def padding_nodes(pad_leaf: bytes, upper_bound: int, height: int) -> list[bytes]:
    """The padding node of each level 0 .. height, from the padding leaf for `upper_bound`."""
    edge = amount_word(upper_bound)
    nodes = [check_bytes(pad_leaf)]
    for level in range(height):
        inner = keccak_256(nodes[-1] + edge + nodes[-1]).digest()
        nodes.append(keccak_256(PREFIXES[level] + edge + inner + edge).digest())
    return nodes


def check_bounds(bounds: Sequence[int]) -> None:
    """Raise InvalidAmount unless `bounds` starts with 0, never falls and ends within 2**256 - 1."""
    if isinstance(bounds, (str, bytes)) or not isinstance(bounds, Sequence) or not bounds:
        raise InvalidAmount("bounds are a sequence of at least one amount")
    if not set(map(type, bounds)) <= {int}:
        raise InvalidAmount("every bound is an integer")
    if bounds[0] != 0 or bounds[-1] > MAX_UINT256 or not all(map(le, bounds, bounds[1:])):
        raise InvalidAmount("bounds start with 0, never fall and end within 2**256 - 1")


class IntervalTree:
    """Interval tree over leaf hashes (32 bytes) and n + 1 bounds (smallest units, from 0, never falling).

    `pad_leaf(upper_bound)` gives the padding leaf. `levels` holds the real nodes of each level, leaves
    first, and `padding` the padding node of each level. Without leaves the root is the padding leaf for
    bound 0. Raises InvalidLength and InvalidAmount.
    """

    __slots__ = ("bounds", "levels", "padding")

    def __init__(
        self, hashes: Sequence[bytes], bounds: Sequence[int], pad_leaf: Callable[[int], bytes]
    ) -> None:
        check_hashes(hashes)
        check_bounds(bounds)
        if len(bounds) != len(hashes) + 1:
            raise InvalidLength("n leaves have n + 1 bounds")
        self.bounds = list(bounds)
        self.levels: list[list[bytes]] = [list(hashes)]
        self.padding = padding_nodes(pad_leaf(bounds[-1]), bounds[-1], tree_height(len(hashes)))
        edges = [bound.to_bytes(32, "big") for bound in bounds]
        for level in range(len(self.padding) - 1):
            self.levels.append(_parents(self.levels[level], edges, level, self.padding[level]))
            last = edges[-1]
            edges = edges[::2]
            if len(edges) == len(self.levels[-1]):  # an odd number of nodes: the last parent ends in padding
                edges.append(last)

    @property
    def count(self) -> int:
        """Number of real leaves."""
        return len(self.levels[0])

    @property
    def upper_bound(self) -> int:
        """Right bound of the last leaf, in smallest units."""
        return self.bounds[-1]

    @property
    def root(self) -> bytes:
        """Hash of the root, 32 bytes."""
        return self.levels[-1][0] if self.levels[-1] else self.padding[0]

    def proof(self, index: int) -> IntervalProof:
        """Proof of leaf `index`, padding included; raises InvalidInteger outside the tree."""
        return proof_from_levels(
            index,
            self.count,
            lambda level, position: self.levels[level][position],
            self.bounds.__getitem__,
            self.padding,
        )

    def blobs(self) -> list[bytes]:
        """Each level as one byte string of 32-byte nodes, leaves first: the form to store."""
        return [b"".join(level) for level in self.levels]


class GrowingIntervalTree:
    """The tree of :class:`IntervalTree` for more leaves than memory should hold: they come in order, bit by bit.

    `keep(level, nodes)` is given every real node once, the nodes of a level (leaves are level 0) in their order.
    Held are only the nodes that wait for their sibling, one a level. `count` and `upper_bound` are those of the
    leaves so far.
    """

    __slots__ = ("_edges", "_keep", "_nodes", "count", "upper_bound")

    def __init__(self, keep: Callable[[int, Sequence[bytes]], None]) -> None:
        self._keep = keep
        self._nodes: list[list[bytes]] = []
        self._edges: list[list[bytes]] = []
        self.count = 0
        self.upper_bound = 0

    def add(self, hashes: Sequence[bytes], bounds: Sequence[int]) -> None:
        """The next leaf hashes (32 bytes) and their bounds, the first of which is the last one so far. Raises
        InvalidLength and InvalidAmount."""
        check_hashes(hashes)
        if len(bounds) != len(hashes) + 1:
            raise InvalidLength("n leaves have n + 1 bounds")
        if bounds[0] != self.upper_bound:
            raise InvalidAmount("leaves begin where those before them ended")
        check_bounds([0, *bounds])
        self.count += len(hashes)
        self.upper_bound = bounds[-1]
        self._push(0, list(hashes), [bound.to_bytes(32, "big") for bound in bounds[1:]])

    def finish(self, pad_leaf: Callable[[int], bytes]) -> bytes:
        """The root, once all leaves are there; `pad_leaf(upper_bound)` gives the padding leaf."""
        height = tree_height(self.count)
        padding = padding_nodes(pad_leaf(self.upper_bound), self.upper_bound, height)
        for level in range(height):
            if self._nodes[level]:
                parents = _parents(self._nodes[level], self._edges[level], level, padding[level])
                self._push(level + 1, parents, self._edges[level][-1:])
        return self._nodes[height][0] if self.count else padding[0]

    def _push(self, level: int, nodes: list[bytes], rights: list[bytes]) -> None:
        """Take the next nodes of a level, with their right edges, and make the parents of all pairs above."""
        while nodes:
            self._keep(level, nodes)
            if level == len(self._nodes):
                self._nodes.append([])
                self._edges.append([amount_word(0)])
            held, edges = self._nodes[level] + nodes, self._edges[level] + rights
            paired = len(held) & ~1
            nodes = _parents(held[:paired], edges[: paired + 1], level, b"")
            rights = edges[2 : paired + 1 : 2]
            self._nodes[level], self._edges[level] = held[paired:], edges[paired:]
            level += 1


def _parents(nodes: list[bytes], edges: list[bytes], level: int, padding: bytes) -> list[bytes]:
    """Nodes above the m `nodes`, whose m + 1 bounds are `edges`."""
    prefix = PREFIXES[level]
    parents = [
        keccak_256(prefix + left + keccak_256(first + middle + second).digest() + right).digest()
        for left, first, middle, second, right in zip(
            edges[::2], nodes[::2], edges[1::2], nodes[1::2], edges[2::2], strict=False
        )
    ]
    if len(nodes) % 2:
        upper = edges[-1]
        inner = keccak_256(nodes[-1] + upper + padding).digest()
        parents.append(keccak_256(prefix + edges[-2] + inner + upper).digest())
    return parents


def proof_from_levels(
    index: int,
    count: int,
    level_reader: Callable[[int, int], bytes],
    bound_reader: Callable[[int], int],
    padding: Sequence[bytes],
) -> IntervalProof:
    """Proof of leaf `index` of a stored tree with `count` real leaves.

    `level_reader(level, i)` returns real node i of a level (leaves are level 0; one call per level at most),
    `bound_reader(i)` returns bounds[i] for 0 <= i <= count (one call per level), and `padding` is what
    :func:`padding_nodes` gives for the tree's upper bound. Raises InvalidInteger outside the padded tree.
    """
    check_index(count, 2**MAX_HEIGHT + 1)
    height = tree_height(count)
    check_index(index, 1 << height)
    if len(padding) < height:
        raise InvalidLength("a padding node is needed for every level")
    hashes, values = [], []
    for level in range(height):
        own = index >> level
        sibling = own ^ 1
        real = sibling < level_size(count, level)
        hashes.append(level_reader(level, sibling) if real else padding[level])
        outer = sibling if own & 1 else sibling + 1
        values.append(bound_reader(min(outer << level, count)))
    return IntervalProof(hashes, values)


def blob_reader(blobs: Sequence[bytes | memoryview]) -> Callable[[int, int], bytes]:
    """Reader for :func:`proof_from_levels` over levels stored as `IntervalTree.blobs` gives them."""

    def read(level: int, position: int) -> bytes:
        if level >= len(blobs):
            raise InvalidLength("the stored tree lacks a level")
        return check_bytes(bytes(blobs[level][32 * position : 32 * position + 32]))

    return read


def verify_interval(
    index: int, node: bytes, left: int, right: int, hashes: Sequence[bytes], values: Sequence[int]
) -> VerifiedInterval:
    """Follow a proof from `node`, which covers [left, right], to the root, as the contract does.

    Bit i of `index` is 1 when the i-th sibling is on the left; surplus bits are ignored. Raises
    InvalidProof with reason `p` (lengths differ), `s` (right < left) or `x` (a sibling's bound on the wrong
    side), and InvalidLength, InvalidInteger or InvalidAmount for arguments of wrong type or size. The
    caller compares the result.
    """
    check_index(index, 1 << MAX_TRAIL_BITS)
    check_hashes(hashes)
    check_values(values)
    node = check_bytes(node)
    if len(hashes) != len(values):
        raise InvalidProof("p", "the numbers of hashes and values differ")
    if len(hashes) > MAX_TRAIL_BITS:
        raise InvalidLength("a proof has at most 64 levels")
    if check_amount(right) < check_amount(left):
        raise InvalidProof("s", "the right bound is below the left bound")
    for level, (sibling, value) in enumerate(zip(hashes, values, strict=True)):
        if index >> level & 1:
            if value > left:
                raise InvalidProof("x", "a left sibling starts behind the node")
            inner = keccak_256(sibling + amount_word(left) + node).digest()
            left = value
        else:
            if value < right:
                raise InvalidProof("x", "a right sibling ends before the node")
            inner = keccak_256(node + amount_word(right) + sibling).digest()
            right = value
        node = keccak_256(PREFIXES[level] + amount_word(left) + inner + amount_word(right)).digest()
    return VerifiedInterval(left, node, right)


def check_values(values: Sequence[int]) -> None:
    """Raise InvalidAmount unless `values` is a sequence of amounts."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidAmount("values are a sequence of amounts")
    for value in values:
        check_amount(value)
