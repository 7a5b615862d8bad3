"""Signatures verified together, which takes a third of the time of one after the other (`batch_verification.c`).

It takes a compiled library of our own, which `./run.sh` builds (`scripts/batch_library.py`). Where there is none,
each signature is verified on its own: the results are the same.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from ctypes import CDLL, c_char_p, c_int, c_size_t
from pathlib import Path
from threading import Lock

from nocust.errors import NocustError
from nocust.signatures import check_signature, key_address, recover_key, signing_digest

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a signature (65 bytes) of a message hash is an address's, as :func:`nocust.signatures.is_valid`."""
Together = Callable[[bytes, bytes, bytes], bool]
"""Whether all signatures are valid, of digests (32 bytes each), signatures (65 each) and keys (64 each)."""

SOURCE = Path(__file__).with_name("batch_verification.c")
KNOWN_KEYS = 200_000
"""Public keys remembered in a process, some 50 MB of them. The oldest are forgotten."""
_COEFFICIENT = 16


def library_file() -> Path:
    """Where the library for this source code is, once it is built."""
    return (
        Path(sys.prefix) / "lib" / f"nocust_batch_{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    )


def load(file: Path) -> Together:
    """The function of a built library. Raises OSError if there is none or it fits not this machine."""
    function = CDLL(str(file)).nocust_are_valid
    function.argtypes = [c_size_t, c_char_p, c_char_p, c_char_p, c_char_p]
    function.restype = c_int

    def together(digests: bytes, signatures: bytes, keys: bytes) -> bool:
        count = len(digests) // 32
        valid: int = function(count, digests, signatures, keys, os.urandom(_COEFFICIENT * count))
        return valid == 1

    return together


def _loaded() -> Together | None:
    try:
        return load(library_file())
    except (OSError, AttributeError):
        return None


class KnownKeys:
    """The public keys of addresses that signed something before. Threads may share it."""

    def __init__(self, most: int = KNOWN_KEYS) -> None:
        self._most = most
        self._keys: dict[bytes, bytes] = {}
        self._lock = Lock()
        self.get = self._keys.get

    def add(self, address: bytes, key: bytes) -> None:
        """Remember a key that is known to be the address's."""
        with self._lock:
            if address not in self._keys and len(self._keys) >= self._most:
                del self._keys[next(iter(self._keys))]
            self._keys[address] = key


known_keys = KnownKeys()
"""Those of this process."""
_together = _loaded()


def is_available() -> bool:
    """Whether signatures are verified together in this process."""
    return _together is not None


class Batch:
    """Signatures that are taken for valid until all are verified together.

    >>> batch = Batch()
    >>> ... batch.is_valid(message, signature, address) ...
    >>> if not batch.holds(): ...  # at least one is not: ask again with `nocust.signatures.is_valid`
    """

    def __init__(self, together: Together | None = _together, keys: KnownKeys = known_keys) -> None:
        self._together = together
        self._known = keys
        self._digests: list[bytes] = []
        self._signatures: list[bytes] = []
        self._keys: list[bytes] = []

    def is_valid(self, message: bytes, signature: bytes, address: bytes) -> bool:
        """Like :func:`nocust.signatures.is_valid`, but True may be taken back by `holds`. A signature of an address
        whose key is not known yet is verified at once, since that finds the key."""
        try:
            key = self._known.get(address)
            if key is None or self._together is None:
                return self._recover(message, signature, address)
            digest = signing_digest(message)
            self._signatures.append(check_signature(signature))
            self._digests.append(digest)
            self._keys.append(key)
        except NocustError:
            return False
        return True

    def _recover(self, message: bytes, signature: bytes, address: bytes) -> bool:
        key = recover_key(message, signature)
        if key_address(key) != address:
            return False
        if self._together is not None:
            self._known.add(address, key)
        return True

    def holds(self) -> bool:
        """Whether all that were taken for valid are."""
        if self._together is None or not self._keys:
            return True
        return self._together(b"".join(self._digests), b"".join(self._signatures), b"".join(self._keys))
