"""Leaves of a wallet's transaction set (``spec/crypto.md`` §6 and §7)."""

from nocust.addresses import address_hash
from nocust.encoding import MAX_UINT256, amount_word, u64, u256
from nocust.native import keccak_256

OPEN_POSITION = MAX_UINT256
"""Position of a sender's newest transfer, signed before the position is known."""
COMPLETE_START = MAX_UINT256
"""Start balance in the credit wallet's leaf of an order that is fulfilled or cancelled."""


def transfer_tag(position: int, nonce: int) -> int:
    """256-bit integer that binds a passive transfer's position (smallest units) and nonce."""
    return int.from_bytes(keccak_256(amount_word(position) + u256(nonce)).digest(), "big")


def _leaf(counterparty: bytes, amount: int, recipient_trail: int, tag: bytes) -> bytes:
    digest: bytes = keccak_256(
        address_hash(counterparty) + amount_word(amount) + u64(recipient_trail) + tag
    ).digest()
    return digest


def transfer_leaf(counterparty: bytes, amount: int, recipient_trail: int, nonce: int, position: int) -> bytes:
    """Leaf of a passive transfer.

    `counterparty` is the recipient in the sender's set and the sender in the recipient's; `recipient_trail`
    is the recipient's in both. `position` is OPEN_POSITION while the transfer is the newest of the sender's
    set.
    """
    tag: bytes = keccak_256(amount_word(position) + u256(nonce)).digest()
    return _leaf(counterparty, amount, recipient_trail, tag)


def active_transfer_leaf(counterparty: bytes, amount: int, recipient_trail: int, nonce: int) -> bytes:
    """Leaf of a transfer that the recipient countersigns: the plain nonce takes the place of the tag."""
    return _leaf(counterparty, amount, recipient_trail, u256(nonce))


def swap_leaf(
    debit_token: bytes,
    credit_token: bytes,
    credit_trail: int,
    amount: int,
    amount_swapped: int,
    start: int,
    nonce: int,
) -> bytes:
    """Leaf of a swap order that gives up to `amount` of the debit token for `amount_swapped` of the credit
    token.

    `start` is the balance, at the start of the eon, of the wallet whose set holds the leaf, or
    COMPLETE_START in the credit wallet's set once the order is complete or cancelled.
    """
    digest: bytes = keccak_256(
        address_hash(debit_token)
        + address_hash(credit_token)
        + u64(credit_trail)
        + amount_word(amount)
        + amount_word(amount_swapped)
        + amount_word(start)
        + u256(nonce)
    ).digest()
    return digest
