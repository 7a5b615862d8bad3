"""Fixed-width encoding and the hash function (``spec/crypto.md`` §0)."""

import binascii
import re
from collections.abc import Callable, Sequence

from nocust.errors import InvalidAmount, InvalidHex, InvalidInteger, InvalidLength
from nocust.native import keccak_256

MAX_UINT64 = 2**64 - 1
MAX_UINT256 = 2**256 - 1
ZERO_HASH = bytes(32)

MAX_DIGITS = 80
"""Decimal digits an amount may have when written out; longer text is refused before it is converted."""
MAX_AMOUNT_TEXT = 256

_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


def keccak(data: bytes) -> bytes:
    """Keccak-256 in Ethereum's variant: 32 bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidLength("only bytes can be hashed")
    digest: bytes = keccak_256(data).digest()
    return digest


def _unsigned(bits: int) -> Callable[[int], bytes]:
    size = bits // 8

    def encode(value: int) -> bytes:
        if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidInteger("an integer is needed")
        try:
            return value.to_bytes(size, "big")
        except OverflowError as error:
            raise InvalidInteger(f"the integer is negative or needs more than {bits} bits") from error

    encode.__doc__ = f"Big-endian unsigned integer of exactly {size} bytes; raises InvalidInteger."
    return encode


u8 = _unsigned(8)
u32 = _unsigned(32)
u64 = _unsigned(64)
u256 = _unsigned(256)


def check_amount(value: int) -> int:
    """Return `value` if it is an integer in 0 .. 2**256 - 1, else raise InvalidAmount."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidAmount("an amount is an integer")
    if not 0 <= value <= MAX_UINT256:
        raise InvalidAmount("an amount lies between 0 and 2**256 - 1")
    return value


def amount_word(value: int) -> bytes:
    """An amount in smallest units as 32 bytes; raises InvalidAmount."""
    if type(value) is int and 0 <= value <= MAX_UINT256:
        return value.to_bytes(32, "big")
    return check_amount(value).to_bytes(32, "big")


def parse_amount(value: str | int) -> int:
    """Amount from the wire: an integer or decimal text, blanks around it allowed (``spec/http-api.md`` §1.3).

    Exponent notation is accepted because clients send ``"1.5e+21"``; a value with decimal places, also zero
    ones (``"1.0"``), a sign, NaN, booleans and floats raise InvalidAmount, as does everything above 2**256
    - 1.
    """
    if isinstance(value, int):
        return check_amount(value)
    if not isinstance(value, str):
        raise InvalidAmount("an amount is an integer or decimal text")
    if len(value) > MAX_AMOUNT_TEXT:
        raise InvalidAmount("the amount is too long")
    match = _DECIMAL.fullmatch(value.strip())
    if match is None:
        raise InvalidAmount("the amount is not a decimal number without sign")
    whole, fraction, exponent = match.groups(default="")
    zeros = (int(exponent) if exponent else 0) - len(fraction)
    if zeros < 0:
        raise InvalidAmount("an amount has no decimal places")
    digits = (whole + fraction).lstrip("0")
    if len(digits) + zeros > MAX_DIGITS:  # also keeps "1e999999999" from being written out
        raise InvalidAmount(f"an amount has at most {MAX_DIGITS} digits")
    return check_amount(int(digits + "0" * zeros) if digits else 0)


def hex_to_bytes(text: str, length: int) -> bytes:
    """Bytes of hexadecimal text of any case, `0x` optional.

    Raises InvalidHex for anything but hexadecimal text and InvalidLength if it does not hold `length` bytes.
    """
    if not isinstance(text, str):
        raise InvalidHex("hexadecimal text is needed")
    digits = text[2:] if text.startswith("0x") else text
    if len(digits) != 2 * length:
        raise InvalidLength(f"hexadecimal text of {length} bytes is needed")
    try:
        return binascii.unhexlify(digits)
    except ValueError as error:
        raise InvalidHex("the text is not hexadecimal") from error


def check_bytes(value: bytes, length: int = 32) -> bytes:
    """Return `value` if it is `bytes` of the given length, else raise InvalidLength."""
    if not isinstance(value, bytes) or len(value) != length:
        raise InvalidLength(f"a byte string of length {length} is needed")
    return value


def check_hashes(hashes: object) -> None:
    """Raise InvalidLength unless `hashes` is a sequence of 32-byte strings."""
    if isinstance(hashes, (bytes, str)) or not isinstance(hashes, Sequence):
        raise InvalidLength("a sequence of hashes is needed")
    if not set(map(type, hashes)) <= {bytes} or not set(map(len, hashes)) <= {32}:
        raise InvalidLength("every hash is a byte string of length 32")
