"""The signing envelope and 65-byte signatures (``spec/crypto.md`` §1)."""

from nocust.encoding import check_bytes, hex_to_bytes
from nocust.errors import InvalidHex, InvalidKey, InvalidLength, InvalidSignature, NocustError
from nocust.native import PrivateKey, PublicKey, keccak_256

SIGNATURE_LENGTH = 65
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_INNER_PREFIX = b"\x19Liquidity.Network Authorization:\n32"
_OUTER_PREFIX = b"\x19Ethereum Signed Message:\n32"
_V_OFFSET = 27
_ORDER_BYTES = CURVE_ORDER.to_bytes(32, "big")
_ZERO = bytes(32)


def inner_digest(message: bytes) -> bytes:
    """The 32 bytes that a wallet's `personal_sign` signs for the message hash `message`."""
    digest: bytes = keccak_256(_INNER_PREFIX + check_bytes(message)).digest()
    return digest


def signing_digest(message: bytes) -> bytes:
    """The 32 bytes that enter ECDSA for the message hash `message` (32 bytes; raises InvalidLength)."""
    digest: bytes = keccak_256(_OUTER_PREFIX + inner_digest(message)).digest()
    return digest


def check_signature(signature: bytes) -> bytes:
    """Return `signature` if it is r, s, v as 65 bytes with 0 < r, s < N and v in {27, 28}.

    High s is accepted, as on chain; so two byte strings can be valid for one message. Raises
    InvalidSignature.
    """
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_LENGTH:
        raise InvalidSignature("a signature is a byte string of length 65")
    if signature[64] not in (27, 28):
        raise InvalidSignature("the last byte of a signature is 27 or 28")
    # big-endian byte strings of one length compare like the numbers
    if not _ZERO < signature[:32] < _ORDER_BYTES or not _ZERO < signature[32:64] < _ORDER_BYTES:
        raise InvalidSignature("r and s of a signature lie between 1 and the order of the curve")
    return signature


def parse_signature(text: str) -> bytes:
    """65 bytes of a signature given as 130 hex digits, `0x` optional; raises InvalidSignature."""
    try:
        return check_signature(hex_to_bytes(text, SIGNATURE_LENGTH))
    except (InvalidHex, InvalidLength) as error:
        raise InvalidSignature("a signature is 130 hexadecimal digits") from error


def recover_key(message: bytes, signature: bytes) -> bytes:
    """The public key x, y (64 bytes) that signed the message hash `message`; raises InvalidSignature."""
    digest = signing_digest(message)
    check_signature(signature)
    compact = signature[:64] + bytes((signature[64] - _V_OFFSET,))
    try:
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception as error:  # the library has no common base for its errors
        raise InvalidSignature("no public key belongs to the signature") from error
    return _coordinates(key)


def key_address(key: bytes) -> bytes:
    """Address (20 bytes) of a public key x, y (64 bytes)."""
    digest: bytes = keccak_256(key).digest()
    return digest[12:]


def recover(message: bytes, signature: bytes) -> bytes:
    """Address (20 bytes) of the key that signed the message hash `message`; raises InvalidSignature."""
    return key_address(recover_key(message, signature))


def is_valid(message: bytes, signature: bytes, address: bytes) -> bool:
    """Whether `address` (20 bytes) signed the message hash `message`; False for malformed arguments."""
    try:
        return recover(message, signature) == address
    except NocustError:
        return False


def require_valid(message: bytes, signature: bytes, address: bytes) -> None:
    """Raise InvalidSignature unless `address` signed the message hash `message`."""
    if recover(message, signature) != address:
        raise InvalidSignature("the signature belongs to another address")


class Signer:
    """A private key (32 bytes, 0 < key < N; else InvalidKey) ready to sign; never shows the key."""

    __slots__ = ("_key", "address")

    def __init__(self, private_key: bytes) -> None:
        if (
            not isinstance(private_key, bytes)
            or not _ZERO < private_key < _ORDER_BYTES
            or len(private_key) != 32
        ):
            raise InvalidKey(
                "a private key is a byte string of length 32 between 1 and the order of the curve"
            )
        self._key = PrivateKey(private_key)
        self.address: bytes = key_address(_coordinates(self._key.public_key))

    def sign(self, message: bytes) -> bytes:
        """Deterministic (RFC 6979) low-s signature of the message hash `message`: r, s, v as 65 bytes."""
        compact: bytes = self._key.sign_recoverable(signing_digest(message), hasher=None)
        return compact[:64] + bytes((compact[64] + _V_OFFSET,))

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"


def sign(message: bytes, private_key: bytes) -> bytes:
    """Signature (65 bytes) of the message hash; raises InvalidKey, InvalidLength. See :class:`Signer`."""
    return Signer(private_key).sign(message)


def private_key_address(private_key: bytes) -> bytes:
    """Address (20 bytes) of a private key (32 bytes); raises InvalidKey."""
    return Signer(private_key).address


def _coordinates(key: PublicKey) -> bytes:
    text: bytes = key.format(compressed=False)
    return text[1:]
