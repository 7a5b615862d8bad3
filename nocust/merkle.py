"""Plain Merkle trees: transaction sets and the token tree (``spec/crypto.md`` §8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from nocust.encoding import ZERO_HASH, check_bytes, check_hashes, u32, u64
from nocust.errors import InvalidInteger, InvalidLength
from nocust.native import keccak_256

MAX_HEIGHT = 32
PREFIXES: Final = tuple(u32(height) for height in range(65))
"""u32 of a height: what precedes the two children in a node."""


def _zero_roots() -> tuple[bytes, ...]:
    roots = [ZERO_HASH]
    for height in range(MAX_HEIGHT):
        roots.append(keccak_256(PREFIXES[height] + roots[-1] + roots[-1]).digest())
    return tuple(roots)


zero_roots: Final = _zero_roots()
"""Roots of subtrees of height 0 to 32 that hold only padding."""


class MerkleTree:
    """Tree over 32-byte leaves, padded on the right with zero leaves to a power of two.

    `levels` holds the real nodes of each level, leaves first; padding subtrees are constants and not
    stored. No leaves give the root ZERO_HASH. Raises InvalidLength for leaves that are not 32 bytes.
    """

    __slots__ = ("levels",)

    def __init__(self, leaves: Sequence[bytes]) -> None:
        check_hashes(leaves)
        nodes = list(leaves)
        self.levels: list[list[bytes]] = [nodes]
        for height in range(max(len(nodes) - 1, 0).bit_length()):
            prefix = PREFIXES[height]
            parents = [
                keccak_256(prefix + left + right).digest()
                for left, right in zip(nodes[::2], nodes[1::2], strict=False)
            ]
            if len(nodes) % 2:
                parents.append(keccak_256(prefix + nodes[-1] + zero_roots[height]).digest())
            self.levels.append(parents)
            nodes = parents

    @property
    def root(self) -> bytes:
        """Root of the tree, 32 bytes."""
        return self.levels[-1][0] if self.levels[-1] else ZERO_HASH

    def proof(self, index: int) -> list[bytes]:
        """Sibling hashes of leaf `index`, leaf level first; raises InvalidInteger outside the padded tree."""
        height = len(self.levels) - 1
        check_index(index, 1 << height)
        siblings = []
        for level in range(height):
            nodes = self.levels[level]
            sibling = (index >> level) ^ 1
            siblings.append(nodes[sibling] if sibling < len(nodes) else zero_roots[level])
        return siblings


def check_index(index: int, size: int) -> None:
    """Raise InvalidInteger unless `index` is an integer in 0 .. size - 1."""
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < size:
        raise InvalidInteger("the index lies outside the tree")


def membership_root(index: int, chain: Sequence[bytes], node: bytes) -> bytes:
    """Root that the sibling hashes `chain` give for `node` at `index`.

    Bit i of the index is 1 when the i-th sibling is on the left. Surplus bits are ignored, as the contract
    does.
    """
    u64(index)
    check_hashes(chain)
    node = check_bytes(node)
    if len(chain) > 64:
        raise InvalidLength("a chain has at most 64 hashes")
    for height, sibling in enumerate(chain):
        pair = sibling + node if index >> height & 1 else node + sibling
        node = keccak_256(PREFIXES[height] + pair).digest()
    return node


def verify_membership(index: int, chain: Sequence[bytes], node: bytes, root: bytes) -> bool:
    """Whether `node` is in the tree of `root` at `index`, as `verifyProofOfMembership` of the contract.

    Arguments of wrong type or length raise InvalidInteger or InvalidLength.
    """
    return membership_root(index, chain, node) == check_bytes(root)


@dataclass(frozen=True, slots=True)
class Peaks:
    """A Merkle tree that grows: the roots of the perfect subtrees of its leaves, largest first.

    The heights of the subtrees are the binary digits of `size`. Appending costs one hash on average, a root
    or a proof at most 32. Root and proofs equal those of :class:`MerkleTree` over the same leaves.
    """

    size: int
    hashes: tuple[bytes, ...]

    EMPTY: ClassVar["Peaks"]

    def __post_init__(self) -> None:
        check_index(self.size, 2**MAX_HEIGHT + 1)
        check_hashes(self.hashes)
        if len(self.hashes) != self.size.bit_count():
            raise InvalidLength("the number of peaks does not belong to the number of leaves")

    @classmethod
    def of(cls, size: int, hashes: tuple[bytes, ...]) -> "Peaks":
        """Peaks that this class made before, without looking at them again."""
        peaks = object.__new__(cls)
        object.__setattr__(peaks, "size", size)
        object.__setattr__(peaks, "hashes", hashes)
        return peaks

    @property
    def heights(self) -> tuple[int, ...]:
        """Heights of the peaks, largest first."""
        return tuple(h for h in reversed(range(self.size.bit_length())) if self.size >> h & 1)

    def append(self, leaf: bytes) -> "Peaks":
        """The tree with one more leaf."""
        check_index(self.size, 2**MAX_HEIGHT)
        node = check_bytes(leaf)
        kept = len(self.hashes)
        height = 0
        while self.size >> height & 1:
            kept -= 1
            node = keccak_256(PREFIXES[height] + self.hashes[kept] + node).digest()
            height += 1
        return Peaks.of(self.size + 1, (*self.hashes[:kept], node))

    def root(self) -> bytes:
        """Root over the leaves so far; ZERO_HASH if there are none."""
        if len(self.hashes) < 2:
            return self.hashes[0] if self.hashes else ZERO_HASH
        lowest = (self.size & -self.size).bit_length() - 1
        return self._climb(zero_roots[lowest], lowest)

    def root_with(self, leaf: bytes) -> bytes:
        """Root after appending `leaf`."""
        check_index(self.size, 2**MAX_HEIGHT)
        return self._climb(check_bytes(leaf), 0)

    def _climb(self, node: bytes, start: int) -> bytes:
        """Root when the first free subtree of height `start` has the root `node`."""
        position = len(self.hashes)
        for height in range(start, self.size.bit_length()):
            if self.size >> height & 1:
                position -= 1
                pair = self.hashes[position] + node
            else:
                pair = node + zero_roots[height]
            node = keccak_256(PREFIXES[height] + pair).digest()
        return node

    def proof_of_next(self, leaf: bytes) -> list[bytes]:
        """Proof that `leaf` has at index `size` once appended: peaks to the left, padding to the right."""
        check_index(self.size, 2**MAX_HEIGHT)
        check_bytes(leaf)
        position = len(self.hashes)
        chain = []
        for height in range(self.size.bit_length()):
            if self.size >> height & 1:
                position -= 1
                chain.append(self.hashes[position])
            else:
                chain.append(zero_roots[height])
        return chain

    def encode(self) -> bytes:
        """The peaks as one byte string, largest first."""
        return b"".join(self.hashes)

    @classmethod
    def decode(cls, size: int, blob: bytes | memoryview) -> "Peaks":
        """Peaks of `size` leaves from the byte string `encode` gave; raises InvalidLength, InvalidInteger."""
        try:
            data = bytes(memoryview(blob))
        except TypeError as error:
            raise InvalidLength("peaks are stored as one byte string") from error
        if len(data) % 32:
            raise InvalidLength("peaks are stored as hashes of 32 bytes")
        return cls(size, tuple(data[start : start + 32] for start in range(0, len(data), 32)))


Peaks.EMPTY = Peaks(0, ())
