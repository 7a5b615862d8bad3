"""Ethereum addresses: 20 bytes inside, checksummed hex at the edges (``spec/crypto.md`` §0)."""

from functools import lru_cache

from nocust.encoding import hex_to_bytes
from nocust.errors import InvalidAddress, InvalidHex, InvalidLength
from nocust.native import keccak_256

ADDRESS_LENGTH = 20
ZERO_ADDRESS = bytes(ADDRESS_LENGTH)
_CACHE_SIZE = 65536


def check_address(address: bytes) -> bytes:
    """Return `address` if it is 20 bytes, else raise InvalidAddress."""
    if type(address) is not bytes or len(address) != ADDRESS_LENGTH:
        raise InvalidAddress("an address is a byte string of length 20")
    return address


def parse_address(value: str | bytes) -> bytes:
    """20 bytes of an address given as bytes or as hex of any letter case, `0x` optional.

    The letter case is not verified as a checksum, because clients send it as they like. Raises
    InvalidAddress.
    """
    if isinstance(value, bytes):
        return check_address(bytes(value))
    try:
        return _parsed(value) if type(value) is str else hex_to_bytes(value, ADDRESS_LENGTH)
    except (InvalidHex, InvalidLength) as error:
        raise InvalidAddress("an address is 40 hexadecimal digits, with or without 0x") from error


@lru_cache(maxsize=_CACHE_SIZE)
def _parsed(text: str) -> bytes:
    return hex_to_bytes(text, ADDRESS_LENGTH)


_RAISED = bytes(0x20 if code in b"89abcdef" else 0 for code in range(256))
"""By the code of a digit of the hash, what it takes from a letter in its place."""


@lru_cache(maxsize=_CACHE_SIZE)
def _to_checksum(address: bytes) -> str:
    digits = address.hex().encode()
    marks = keccak_256(digits).hexdigest()[:40].encode().translate(_RAISED)
    # All digits at once: a letter, which has the bit 0x40, is raised by taking 0x20 from its code.
    text = int.from_bytes(digits, "big")
    raised = text - (text >> 1 & int.from_bytes(marks, "big"))
    return "0x" + raised.to_bytes(40, "big").decode()


@lru_cache(maxsize=_CACHE_SIZE)
def _address_hash(address: bytes) -> bytes:
    digest: bytes = keccak_256(check_address(address)).digest()
    return digest


def to_checksum(address: bytes) -> str:
    """`0x` and 40 hex digits in the letter case of EIP-55; raises InvalidAddress."""
    return _to_checksum(check_address(address))


def address_hash(address: bytes) -> bytes:
    """KA: Keccak-256 of the 20 bytes, the form in which addresses enter messages; raises InvalidAddress."""
    return _address_hash(address if type(address) is bytes else check_address(address))
