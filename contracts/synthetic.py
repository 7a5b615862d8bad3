"""Valid proofs out of trees that nobody built.

A proof is a path. Sibling hashes and bounds are drawn at random, the root is computed along the path, and the
checkpoint with that root makes the proof good, however many leaves the tree would have.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise

from nocust.balances import balance_inner_hash, balance_leaf, token_leaf
from nocust.encoding import ZERO_HASH, u32, u256
from nocust.interval import verify_interval
from nocust.native import keccak_256

COIN = 10**18


@dataclass(frozen=True)
class Path:
    """Siblings of a leaf from the leaf upwards; bit i of `trail` is 1 if the i-th stands on the left. `values` are
    the far bounds of the siblings in an interval tree, empty for a plain tree."""

    trail: int
    hashes: list[bytes]
    values: list[int]

    def words(self) -> list[bytes]:
        """Hashes, then values, as passive deliveries carry them."""
        return [*self.hashes, *(u256(value) for value in self.values)]


@dataclass(frozen=True)
class Entry:
    """A wallet in a checkpoint. `width` is its allotment, amounts in smallest units."""

    holder: bytes
    width: int
    active: bytes = ZERO_HASH
    passive_root: bytes = ZERO_HASH
    passive_amount: int = 0
    mark: int = 0


@dataclass(frozen=True)
class Place:
    """Where an entry stands in a checkpoint and the path that shows it."""

    entry: Entry
    path: Path
    left: int
    right: int
    membership: list[bytes]

    @property
    def lr(self) -> list[int]:
        return [self.left, self.right]

    @property
    def passive_mark(self) -> list[int]:
        return [self.entry.passive_amount, self.entry.mark]


@dataclass(frozen=True)
class Checkpoint:
    """Root and the places of two wallets in the trees of two tokens: `places[token trail][position]`."""

    root: bytes
    places: tuple[tuple[Place, Place], tuple[Place, Place]]


def plain_path(rng: random.Random, leaf: bytes, depth: int) -> tuple[Path, bytes]:
    """A path of `depth` levels in a plain tree, sides alternating, and its root."""
    trail = 0
    hashes = []
    node = leaf
    for level in range(depth):
        sibling = rng.randbytes(32)
        side = level & 1
        trail |= side << level
        node = keccak_256(u32(level) + (sibling + node if side else node + sibling)).digest()
        hashes.append(sibling)
    return Path(trail, hashes, []), node


def interval_path(
    rng: random.Random, node: bytes, left: int, right: int, total: int, levels: range
) -> tuple[Path, bytes]:
    """A path through `levels` from a node over [left, right] to a root over [0, total], and that root.

    Sides alternate, the first sibling is on the right. With `levels` starting at 0 the node is a leaf. Raises
    ValueError unless there is a sibling on each side that needs one.
    """
    lefts = _descending(rng, left, sum(1 for level in levels if level & 1))
    rights = _ascending(rng, right, total, sum(1 for level in levels if not level & 1))
    trail = 0
    hashes, values = [], []
    for level in levels:
        sibling = rng.randbytes(32)
        side = level & 1
        trail |= side << level
        if side:
            far = lefts.pop(0)
            inner = keccak_256(sibling + u256(left) + node).digest()
            left = far
        else:
            far = rights.pop(0)
            inner = keccak_256(node + u256(right) + sibling).digest()
            right = far
        node = keccak_256(u32(level) + u256(left) + inner + u256(right)).digest()
        hashes.append(sibling)
        values.append(far)
    if left != 0 or right != total:
        raise ValueError("the path is too short for its bounds")
    return Path(trail, hashes, values), node


def _descending(rng: random.Random, start: int, count: int) -> list[int]:
    inner = sorted((rng.randrange(start + 1) for _ in range(count - 1)), reverse=True)
    return [*inner, 0] if count else []


def _ascending(rng: random.Random, start: int, total: int, count: int) -> list[int]:
    return [*sorted(rng.randrange(start, total + 1) for _ in range(count - 1)), total] if count else []


def checkpoint(
    rng: random.Random,
    contract: bytes,
    tokens: tuple[bytes, bytes],
    entries: tuple[tuple[Entry, Entry], tuple[Entry, Entry]],
    total: int,
    depth: int,
) -> Checkpoint:
    """Checkpoint of two tokens, each with a tree of 2^depth wallets of which two neighbours are known.

    `entries[t]` are the wallets at an even trail and the one after it in the tree of `tokens[t]`, whose upper
    bound is `total` (smallest units, well above what the entries hold). Raises ValueError below depth 2.
    """
    if depth < 3:
        raise ValueError("a tree of fewer than eight wallets is not supported")
    built = [
        _tree(rng, contract, token, pair, total, depth) for token, pair in zip(tokens, entries, strict=True)
    ]
    leaves = [token_leaf(root, total) for _, root in built]
    first, second = (
        tuple(replace(place, membership=[leaves[1 - trail]]) for place in places)
        for trail, (places, _) in enumerate(built)
    )
    root = keccak_256(u32(0) + leaves[0] + leaves[1]).digest()
    return Checkpoint(root, ((first[0], first[1]), (second[0], second[1])))


def _tree(
    rng: random.Random, contract: bytes, token: bytes, pair: tuple[Entry, Entry], total: int, depth: int
) -> tuple[tuple[Place, Place], bytes]:
    start = rng.randrange(COIN, total // 2)
    edges = [start, start + pair[0].width, start + pair[0].width + pair[1].width]
    leaves = [
        balance_leaf(
            left,
            balance_inner_hash(
                contract,
                token,
                entry.holder,
                entry.passive_root,
                entry.passive_amount,
                entry.mark,
                entry.active,
            ),
            right,
        )
        for entry, (left, right) in zip(pair, pairwise(edges), strict=True)
    ]
    inner = keccak_256(leaves[0] + u256(edges[1]) + leaves[1]).digest()
    node = keccak_256(u32(0) + u256(edges[0]) + inner + u256(edges[2])).digest()
    upper, root = interval_path(rng, node, edges[0], edges[2], total, range(1, depth))
    places = []
    for position in (0, 1):
        far = edges[2] if position == 0 else edges[0]
        path = Path(upper.trail | position, [leaves[1 - position], *upper.hashes], [far, *upper.values])
        left, right = edges[position], edges[position + 1]
        found = verify_interval(path.trail, leaves[position], left, right, path.hashes, path.values)
        if (found.left, found.hash, found.right) != (0, root, total):
            raise ValueError("the path does not lead to its root")
        places.append(Place(pair[position], path, left, right, []))
    return (places[0], places[1]), root


def passive_path(
    rng: random.Random, leaf: bytes, left: int, right: int, total: int, depth: int
) -> tuple[Path, bytes]:
    """A path in a recipient's passive tree and its root, sides alternating."""
    return interval_path(rng, leaf, left, right, total, range(depth))


def trail(position: int, depth: int) -> int:
    """Trail of the entry `position` (0 or 1) in every tree that :func:`checkpoint` makes with `depth`."""
    return position | sum(1 << level for level in range(1, depth, 2))
