"""Running hash of parent-chain operations of an eon (``spec/crypto.md`` §12)."""

from typing import Final

from nocust.addresses import check_address
from nocust.encoding import amount_word, check_bytes, u8, u256
from nocust.errors import InvalidInteger
from nocust.native import keccak_256

DEPOSIT: Final = 0
WITHDRAWAL_REQUEST: Final = 1
CANCELLATION: Final = 2


def accumulate(
    previous: bytes, eon: int, token: bytes, participant: bytes, operation: int, value: int
) -> bytes:
    """Value of the accumulator after one operation of `eon`, from its value before (32 bytes each).

    The slot of an eon starts from the value that eon - 5 left. Addresses enter raw. Raises InvalidInteger
    for an unknown operation, else as :mod:`nocust.messages`.
    """
    if operation not in (DEPOSIT, WITHDRAWAL_REQUEST, CANCELLATION):
        raise InvalidInteger("an operation is 0 (deposit), 1 (withdrawal request) or 2 (cancellation)")
    digest: bytes = keccak_256(
        check_bytes(previous)
        + u256(eon)
        + check_address(token)
        + check_address(participant)
        + u8(operation)
        + amount_word(value)
    ).digest()
    return digest
