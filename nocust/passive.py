"""Passive delivery tree of a recipient (``spec/crypto.md`` §9)."""

from collections.abc import Sequence

from nocust.balances import balance_leaf
from nocust.encoding import ZERO_HASH, check_bytes, check_hashes
from nocust.errors import InvalidAmount, InvalidLength, InvalidProof
from nocust.interval import IntervalProof, IntervalTree, check_bounds, verify_interval

EMPTY_PASSIVE_ROOT = ZERO_HASH
"""Passive root of a wallet without incoming passive transfers."""


def _bare_padding(_upper_bound: int) -> bytes:
    return ZERO_HASH


def passive_tree(leaves: Sequence[bytes], bounds: Sequence[int]) -> IntervalTree:
    """Tree over transfer leaves as the recipient sees them, in the form the contract can verify.

    Leaf i covers [bounds[i], bounds[i + 1]], that is [position, position + amount] of the i-th transfer in
    smallest units. Without leaves the root is ZERO_HASH. Raises InvalidLength and InvalidAmount.
    """
    return IntervalTree(leaves, bounds, _bare_padding)


def wrapped_passive_leaf(left: int, transfer_leaf: bytes, right: int) -> bytes:
    """Leaf of the older form, which binds the bounds into the leaf and cannot be proven on chain."""
    return balance_leaf(left, transfer_leaf, right)


def wrapped_passive_padding(upper_bound: int) -> bytes:
    """Padding leaf of the older form."""
    return wrapped_passive_leaf(upper_bound, ZERO_HASH, upper_bound)


def wrapped_passive_tree(leaves: Sequence[bytes], bounds: Sequence[int]) -> IntervalTree:
    """Tree of the older form over bare transfer leaves; only for comparison with recorded roots."""
    check_hashes(leaves)
    check_bounds(bounds)
    if len(bounds) != len(leaves) + 1:
        raise InvalidLength("n leaves have n + 1 bounds")
    wrapped = [
        wrapped_passive_leaf(left, leaf, right)
        for left, leaf, right in zip(bounds, leaves, bounds[1:], strict=False)
    ]
    return IntervalTree(wrapped, bounds, wrapped_passive_padding)


def chain_words(proof: IntervalProof) -> list[bytes]:
    """A proof as the contract takes it: all hashes, then all values as 32-byte words."""
    return [*proof.hashes, *(value.to_bytes(32, "big") for value in proof.values)]


def verify_passive_delivery(
    index: int, transfer_leaf: bytes, left: int, right: int, chain_values: Sequence[bytes], root: bytes
) -> int:
    """Check that a transfer covering [left, right] is in the passive tree of `root`, as the contract does.

    `chain_values` is what :func:`chain_words` gives. Returns the total received passively, which must not
    exceed the wallet's passive amount. Raises InvalidProof with reason `p`, `s`, `x`, `l` (tree does not
    start at 0) or `n` (other root); arguments of wrong type or size raise other InvalidValue errors.
    """
    check_hashes(chain_values)
    check_bytes(root)
    half, odd = divmod(len(chain_values), 2)
    if odd:
        raise InvalidProof("p", "the chain holds as many hashes as values")
    values = [int.from_bytes(word, "big") for word in chain_values[half:]]
    found = verify_interval(index, transfer_leaf, left, right, chain_values[:half], values)
    if found.left != 0:
        raise InvalidProof("l", "the passive tree does not start at 0")
    if found.hash != root:
        raise InvalidProof("n", "the transfer is not part of the passive tree")
    return found.right


def transfer_bounds(amounts: Sequence[int]) -> list[int]:
    """Bounds of consecutive transfers from their amounts in smallest units; raises InvalidAmount."""
    bounds = [0]
    for amount in amounts:
        if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
            raise InvalidAmount("an amount is an unsigned integer")
        bounds.append(bounds[-1] + amount)
    check_bounds(bounds)
    return bounds
