"""Signatures verified or made together (`batch.c`): to verify many takes a third of the time of one by one.

It takes a compiled library of our own, which `./run.sh` builds (`scripts/batch_library.py`). Where there is none,
each signature is verified and made on its own: the results are the same.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from ctypes import CDLL, c_char_p, c_size_t, c_void_p, create_string_buffer
from pathlib import Path
from threading import Lock

from nocust.errors import InvalidKey, InvalidLength, NocustError
from nocust.signatures import (
    SIGNATURE_LENGTH,
    check_signature,
    is_valid,
    key_address,
    recover_key,
    sign,
    signing_digest,
)

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a signature (65 bytes) of a message hash is an address's, as :func:`nocust.signatures.is_valid`."""
SOURCE = Path(__file__).with_name("batch.c")
KNOWN_KEYS = 200_000
"""Public keys remembered in a process, some 50 MB of them."""
SMALLEST_PART = 8
"""Signatures that are not worth to be verified together when one of them is not valid."""
MOST_AGAIN = 2
"""How often each is verified once more with others, at most, to find the one that is not valid."""
_DIGEST, _KEY, _COEFFICIENT = 32, 64, 16


def library_file() -> Path:
    """Where the library for this source code is, once it is built."""
    return (
        Path(sys.prefix) / "lib" / f"nocust_batch_{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    )


class Library:
    """The functions of a built library. Raises OSError if there is none or it does not fit this machine."""

    def __init__(self, file: Path) -> None:
        try:
            library = CDLL(str(file))
            self._are_valid, self._sign, start = (
                library.nocust_are_valid,
                library.nocust_sign,
                library.nocust_start,
            )
        except AttributeError as error:
            raise OSError(f"{file} is another library: {error}") from error
        self._are_valid.argtypes = [c_size_t, c_char_p, c_char_p, c_char_p, c_char_p]
        self._sign.argtypes = [c_void_p, c_size_t, c_char_p, c_char_p, c_char_p]
        start.argtypes, start.restype = [c_char_p], c_void_p
        self._context = start(os.urandom(_DIGEST))
        if not self._context:
            raise OSError(f"{file} cannot be used")

    def are_valid(self, digests: bytes, signatures: bytes, keys: bytes) -> bool:
        """Whether all signatures (65 bytes each) are valid, of digests (32 each) by keys (64 each). Raises
        InvalidLength."""
        count = len(digests) // _DIGEST
        if (len(digests), len(signatures), len(keys)) != (
            _DIGEST * count,
            SIGNATURE_LENGTH * count,
            _KEY * count,
        ):
            raise InvalidLength("a digest has 32 bytes, a signature 65, a public key 64")
        valid: int = self._are_valid(count, digests, signatures, keys, os.urandom(_COEFFICIENT * count))
        return valid == 1

    def sign(self, digests: bytes, key: bytes) -> bytes:
        """The signatures (65 bytes each) of digests (32 each) with a private key (32). Raises InvalidKey,
        InvalidLength."""
        count = len(digests) // _DIGEST
        if len(digests) != _DIGEST * count or len(key) != _DIGEST:
            raise InvalidLength("a digest has 32 bytes, and so has a private key")
        signatures = create_string_buffer(SIGNATURE_LENGTH * count)
        if self._sign(self._context, count, digests, key, signatures) != 1:
            raise InvalidKey("the library does not sign with this key")
        return signatures.raw


def _loaded() -> Library | None:
    try:
        return Library(library_file())
    except OSError:
        return None


class KnownKeys:
    """The public keys of addresses that signed something lately, so many at most. Threads may share it."""

    def __init__(self, most: int = KNOWN_KEYS) -> None:
        self._half = most // 2
        self._newer: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}
        self._lock = Lock()

    def get(self, address: bytes) -> bytes | None:
        """The address's key, if it is remembered."""
        key = self._newer.get(address)
        if key is None and (key := self._older.get(address)) is not None:
            self.add(address, key)
        return key

    def add(self, address: bytes, key: bytes) -> None:
        """Remember a key that is known to be the address's. When half of the keys are newer than the others, those
        are forgotten."""
        with self._lock:
            if len(self._newer) >= self._half and address not in self._newer:
                self._older, self._newer = self._newer, {}
            self._newer[address] = key

    def forget(self, address: bytes) -> None:
        """Do not remember an address's key."""
        with self._lock:
            self._newer.pop(address, None)
            self._older.pop(address, None)

    def addresses(self) -> set[bytes]:
        """Whose keys are remembered."""
        return self._newer.keys() | self._older.keys()

    def clear(self) -> None:
        """Forget all, for tests."""
        with self._lock:
            self._newer, self._older = {}, {}


known_keys = KnownKeys()
"""Those of this process."""
_library = _loaded()


def is_available() -> bool:
    """Whether signatures are verified and made together in this process."""
    return _library is not None


def verify(message: bytes, signature: bytes, address: bytes) -> bool:
    """Like :func:`nocust.signatures.is_valid`; the key is remembered."""
    batch = Batch()
    return batch.is_valid(message, signature, address) and batch.holds()


def sign_all(
    messages: Sequence[bytes], private_key: bytes, library: Library | None = _library
) -> list[bytes]:
    """What :func:`nocust.signatures.sign` says of each message hash. Raises InvalidKey, InvalidLength."""
    if library is None:
        return [sign(message, private_key) for message in messages]
    made = library.sign(b"".join(map(signing_digest, messages)), private_key)
    return [made[place : place + SIGNATURE_LENGTH] for place in range(0, len(made), SIGNATURE_LENGTH)]


class Batch:
    """Signatures that are taken for valid until all are verified together.

    >>> batch = Batch()
    >>> ... batch.is_valid(message, signature, address) ...
    >>> if not batch.holds(): ...  # at least one is not: ask again with `batch.verifier()`
    """

    def __init__(self, library: Library | None = _library, keys: KnownKeys = known_keys) -> None:
        self._library = library
        self._known = keys
        self._found: set[bytes] = set()
        self._claims: list[tuple[bytes, bytes, bytes]] = []
        self._digests: list[bytes] = []
        self._signatures: list[bytes] = []
        self._keys: list[bytes] = []

    def is_valid(self, message: bytes, signature: bytes, address: bytes) -> bool:
        """Like :func:`nocust.signatures.is_valid`, but True may be taken back by `holds`. A signature of an address
        whose key is not known yet is verified at once, since that finds the key, and so are its others."""
        try:
            key = None if address in self._found else self._known.get(address)
            if key is None or self._library is None:
                return self._recover(message, signature, address)
            digest = signing_digest(message)
            self._signatures.append(check_signature(signature))
            self._digests.append(digest)
            self._keys.append(key)
            self._claims.append((message, signature, address))
        except NocustError:
            return False
        return True

    def _recover(self, message: bytes, signature: bytes, address: bytes) -> bool:
        key = recover_key(message, signature)
        if key_address(key) != address:
            self._known.forget(address)
            return False
        if self._library is not None:
            self._known.add(address, key)
            self._found.add(address)
        return True

    def holds(self) -> bool:
        """Whether all that were taken for valid are."""
        return self._hold(0, len(self._keys))

    def verifier(self) -> Verify:
        """For when they do not hold: verifies each on its own, but those that hold with others in a part of the
        batch. So one that is not valid does not cost as much as if none were verified together.

        An address's key is forgotten with its signature that is not valid, so that the next ones are verified at
        once: who forges again, or repeats what was refused, spoils no other batch."""
        valid: set[tuple[bytes, bytes, bytes]] = set()
        bad = deque([(0, len(self._keys))])
        may_verify = MOST_AGAIN * len(self._keys)
        while bad and may_verify >= bad[0][1] - bad[0][0] >= 2 * SMALLEST_PART:
            first, last = bad.popleft()
            middle = (first + last) // 2
            may_verify -= last - first
            if self._hold(first, middle):
                valid.update(self._claims[first:middle])
                bad.append((middle, last))
                continue
            bad.append((first, middle))
            if self._hold(middle, last):
                valid.update(self._claims[middle:last])
            else:
                bad.append((middle, last))

        def verify(message: bytes, signature: bytes, address: bytes) -> bool:
            if (message, signature, address) in valid or is_valid(message, signature, address):
                return True
            self._known.forget(address)
            return False

        return verify

    def _hold(self, first: int, last: int) -> bool:
        if self._library is None or first == last:
            return True
        digests, signatures, keys = (
            b"".join(parts[first:last]) for parts in (self._digests, self._signatures, self._keys)
        )
        return self._library.are_valid(digests, signatures, keys)
