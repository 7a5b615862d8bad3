"""Hashes that wallets and the operator sign.

Addresses are 20 bytes and enter as their hashes, amounts are in smallest units, trails are u64, all other
integers u256. Arguments out of range raise InvalidAddress, InvalidLength, InvalidInteger or InvalidAmount.
"""

from functools import lru_cache

from nocust.addresses import address_hash, check_address
from nocust.encoding import ZERO_HASH, amount_word, check_bytes, u64, u256
from nocust.native import keccak_256


def active_state_hash(
    contract: bytes,
    token: bytes,
    wallet: bytes,
    trail: int,
    eon: int,
    tx_set_root: bytes,
    spent: int,
    gained: int,
) -> bytes:
    """Active state update of a wallet in an eon (``spec/crypto.md`` §2); trail 0 for a wallet without one."""
    digest: bytes = keccak_256(
        address_hash(contract)
        + address_hash(token)
        + address_hash(wallet)
        + u64(trail)
        + u256(eon)
        + check_bytes(tx_set_root)
        + amount_word(spent)
        + amount_word(gained)
    ).digest()
    return digest


def admission_hash(contract: bytes, token: bytes, wallet: bytes, trail: int, eon: int) -> bytes:
    """Admission (§3): an empty active state; the wallet signs trail 0, the operator the real trail."""
    before, after = _around_admissions(contract, token, eon)
    digest: bytes = keccak_256(before + address_hash(wallet) + u64(trail) + after).digest()
    return digest


@lru_cache(maxsize=1024, typed=True)
def _around_admissions(contract: bytes, token: bytes, eon: int) -> tuple[bytes, bytes]:
    """What is before and after the wallet and its trail in all admissions to a token in an eon."""
    before = address_hash(contract) + address_hash(token)
    return before, u256(eon) + ZERO_HASH + amount_word(0) + amount_word(0)


def _holder_words(contract: bytes, token: bytes, holder: bytes, first: int, amount: int) -> bytes:
    digest: bytes = keccak_256(
        address_hash(contract)
        + address_hash(token)
        + address_hash(holder)
        + u256(first)
        + amount_word(amount)
    ).digest()
    return digest


def balance_marker_hash(contract: bytes, token: bytes, wallet: bytes, eon: int, amount: int) -> bytes:
    """Minimum available balance marker (§4): the wallet keeps at least `amount` during the eon."""
    return _holder_words(contract, token, wallet, eon, amount)


def withdrawal_authorization_hash(
    contract: bytes, token: bytes, holder: bytes, expiry_block: int, amount_with_pending: int
) -> bytes:
    """Authorisation of a withdrawal as the contract checks it (§5).

    `amount_with_pending` is the amount plus what the holder has already requested in this eon. The layout
    equals that of a balance marker, so such a signature also serves as a marker for "eon" `expiry_block`.
    """
    return _holder_words(contract, token, holder, expiry_block, amount_with_pending)


def freeze_hash(debit_token: bytes, credit_token: bytes, nonce: int) -> bytes:
    """Request to stop matching a swap order (§7.4)."""
    digest: bytes = keccak_256(address_hash(debit_token) + address_hash(credit_token) + u256(nonce)).digest()
    return digest


def terms_of_service_digest(terms_digest: bytes, privacy_digest: bytes) -> bytes:
    """Digest of terms of service and privacy policy, 32 bytes each, that a user signs (§13)."""
    digest: bytes = keccak_256(check_bytes(terms_digest) + check_bytes(privacy_digest)).digest()
    return digest


def conduit(token_from: bytes, token_to: bytes) -> bytes:
    """Pseudo token (20 bytes) under which the contract books swap challenges (§7.5)."""
    digest: bytes = keccak_256(check_address(token_from) + check_address(token_to)).digest()
    return digest[12:]
