"""Balance tree of a token, token tree and checkpoint root (``spec/crypto.md`` §10 and §11)."""

from collections.abc import Sequence
from typing import Final

from nocust.addresses import ZERO_ADDRESS, address_hash, check_address
from nocust.encoding import ZERO_HASH, amount_word, check_bytes, check_hashes
from nocust.errors import InvalidLength, InvalidProof
from nocust.interval import IntervalTree, check_bounds, verify_interval
from nocust.merkle import MerkleTree, verify_membership
from nocust.native import keccak_256

_ZERO_WORD: Final = bytes(32)


def balance_inner_hash(
    contract: bytes,
    token: bytes,
    wallet: bytes,
    passive_checksum: bytes,
    passive_amount: int,
    passive_marker: int,
    active_state_checksum: bytes,
) -> bytes:
    """Account node: identity and state of a wallet at the end of an eon, without its allotment.

    The passive root (ZERO_HASH without incoming transfers), the amount received passively, the position of
    the wallet's own newest outgoing transfer, and the last active state agreed on (ZERO_HASH if none).
    """
    passive = keccak_256(
        check_bytes(passive_checksum) + amount_word(passive_amount) + amount_word(passive_marker)
    ).digest()
    digest: bytes = keccak_256(
        address_hash(contract)
        + address_hash(token)
        + keccak_256(check_address(wallet)).digest()  # uncached: a checkpoint passes every wallet once
        + passive
        + check_bytes(active_state_checksum)
    ).digest()
    return digest


PADDING_INNER_HASH: Final = balance_inner_hash(
    ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, ZERO_HASH, 0, 0, ZERO_HASH
)
"""Account node of the padding leaves."""


def balance_leaf(left: int, inner: bytes, right: int) -> bytes:
    """Leaf of the balance tree: `right - left` is the wallet's allotment in smallest units."""
    digest: bytes = keccak_256(amount_word(left) + check_bytes(inner) + amount_word(right)).digest()
    return digest


def balance_padding_leaf(upper_bound: int) -> bytes:
    """Leaf that fills the balance tree up to a power of two."""
    return balance_leaf(upper_bound, PADDING_INNER_HASH, upper_bound)


def balance_tree(inner_hashes: Sequence[bytes], bounds: Sequence[int]) -> IntervalTree:
    """Balance tree of a token from the account nodes in order of trail and their n + 1 bounds.

    The first bound is 0, the right bound of each wallet is the left bound of the next. Unclaimed funds are
    one more leaf of the operator's address. Raises InvalidLength and InvalidAmount.
    """
    check_bounds(bounds)
    return IntervalTree(balance_leaves(inner_hashes, bounds), bounds, balance_padding_leaf)


def balance_leaves(inner_hashes: Sequence[bytes], bounds: Sequence[int]) -> list[bytes]:
    """Leaves of consecutive wallets from their account nodes and n + 1 bounds in smallest units, which never fall.
    Raises InvalidLength."""
    check_hashes(inner_hashes)
    if len(bounds) != len(inner_hashes) + 1:
        raise InvalidLength("n leaves have n + 1 bounds")
    edges = [bound.to_bytes(32, "big") for bound in bounds]
    return [
        keccak_256(left + inner + right).digest()
        for left, inner, right in zip(edges, inner_hashes, edges[1:], strict=False)
    ]


def token_leaf(balance_root: bytes, upper_bound: int) -> bytes:
    """Leaf of the token tree: balance root and total of one token."""
    digest: bytes = keccak_256(_ZERO_WORD + check_bytes(balance_root) + amount_word(upper_bound)).digest()
    return digest


def token_tree(leaves: Sequence[bytes]) -> MerkleTree:
    """Tree over the token leaves in order of token trail; its root is the checkpoint root."""
    return MerkleTree(leaves)


def verify_exclusive_balance_allotment(
    trail: int,
    token_trail: int,
    leaf: bytes,
    root: bytes,
    chain: Sequence[bytes],
    membership_chain: Sequence[bytes],
    values: Sequence[int],
    left: int,
    right: int,
) -> int:
    """Check a balance `leaf` covering [left, right] against a checkpoint root, as the contract does.

    Returns the total of the token, which the contract also compares with what it holds (reason `b`). Raises
    InvalidProof with the contract's reason: `p`, `s`, `x`, `l` (left bound of the root is not 0), `m` (not
    in the token tree); arguments of wrong type or size raise other InvalidValue errors.
    """
    found = verify_interval(trail, leaf, left, right, chain, values)
    if found.left != 0:
        raise InvalidProof("l", "the balance tree does not start at 0")
    if not verify_membership(token_trail, membership_chain, token_leaf(found.hash, found.right), root):
        raise InvalidProof("m", "the balance tree is not part of the checkpoint")
    return found.right


def verify_account_allotment(
    contract: bytes,
    token: bytes,
    wallet: bytes,
    passive_checksum: bytes,
    passive_amount: int,
    passive_marker: int,
    active_state_checksum: bytes,
    *,
    trail: int,
    token_trail: int,
    root: bytes,
    chain: Sequence[bytes],
    membership_chain: Sequence[bytes],
    values: Sequence[int],
    left: int,
    right: int,
) -> int:
    """As :func:`verify_exclusive_balance_allotment`, for a leaf given by its components."""
    inner = balance_inner_hash(
        contract, token, wallet, passive_checksum, passive_amount, passive_marker, active_state_checksum
    )
    leaf = balance_leaf(left, inner, right)
    return verify_exclusive_balance_allotment(
        trail, token_trail, leaf, root, chain, membership_chain, values, left, right
    )
