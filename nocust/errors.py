"""Errors of the protocol package.

Messages never contain the offending value: it may be huge, secret or not printable.
"""


class NocustError(Exception):
    """Base of every error the package raises."""


class InvalidValue(NocustError):
    """A value cannot take part in the protocol."""


class InvalidAmount(InvalidValue):
    """Not an amount: no integer, or outside 0 .. 2**256 - 1."""


class InvalidInteger(InvalidValue):
    """Not an unsigned integer of the width asked for (eon, trail, nonce, block ...)."""


class InvalidHex(InvalidValue):
    """Text is not hexadecimal."""


class InvalidLength(InvalidValue):
    """Not a byte string of the length asked for, or lists whose lengths do not belong together."""


class InvalidAddress(InvalidValue):
    """Not a 20-byte address."""


class InvalidSignature(InvalidValue):
    """Not 65 bytes r, s, v with 0 < r, s < N and v 27 or 28; or no key behind it; or another signer."""


class InvalidKey(InvalidValue):
    """Not a private key: 32 bytes, 0 < key < N."""


class InvalidProof(InvalidValue):
    """A proof does not hold.

    ``reason`` is the letter with which the contract reverts (``spec/contract.md`` §3): ``p`` lengths
    differ, ``s`` right bound below left bound, ``x`` bounds out of order, ``l`` left bound is not 0, ``m``
    not in the token tree, ``n`` other root.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
