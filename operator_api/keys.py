"""The operator's key: it countersigns states and signs transactions. Nothing else in the hub sees it.

Where it comes from, by the settings, the first that is set:

1. HUB_OWNER_ACCOUNT_SIGNER: the dotted path of a function without arguments that returns an `OperatorKey`, for keys
   that never leave another machine.
2. HUB_OWNER_ACCOUNT_KEYSTORE: an encrypted key file (keystore version 3), its password in the file that
   HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE names.
3. HUB_OWNER_ACCOUNT_KEY: the key itself, 64 hexadecimal digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from nocust.addresses import to_checksum
from nocust.batch import sign_all
from nocust.signatures import Signer


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction as nodes take it, and its hash."""

    raw: bytes
    hash: bytes


class OperatorKey(Protocol):
    """What the hub needs of the operator's key. Implementations must be safe to call from several threads, and
    should answer in a few milliseconds: every accepted transfer waits for a signature."""

    @property
    def address(self) -> bytes:
        """The 20 bytes of the operator's address."""

    def sign(self, message: bytes) -> bytes:
        """The signature r ‖ s ‖ v (65 bytes, v 27 or 28) of a 32-byte message under the prefix that contract and
        wallets expect (`spec/crypto.md` §1)."""

    # One that signs many faster together than one by one may have
    # `sign_all(messages: Sequence[bytes]) -> list[bytes]`, too.

    def sign_transaction(self, fields: Mapping[str, Any]) -> SignedTransaction:
        """The signed transaction of these fields: nonce, gas, value and chainId (`int`), to (20 bytes), data, and
        either gasPrice, or type 2 with maxFeePerGas and maxPriorityFeePerGas."""


class LocalKey:
    """A key in this process's memory."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._signer = Signer(key)

    @property
    def address(self) -> bytes:
        return self._signer.address

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)

    def sign_all(self, messages: Sequence[bytes]) -> list[bytes]:
        return sign_all(messages, self._key)

    def sign_transaction(self, fields: Mapping[str, Any]) -> SignedTransaction:
        from eth_account import Account

        signed = Account.sign_transaction(dict(fields), self._key)
        return SignedTransaction(bytes(signed.raw_transaction), bytes(signed.hash))

    def __repr__(self) -> str:
        return f"LocalKey({to_checksum(self.address)})"


def countersign(key: OperatorKey, messages: Sequence[bytes]) -> list[bytes]:
    """The operator's signature of each message."""
    together: Callable[[Sequence[bytes]], list[bytes]] | None = getattr(key, "sign_all", None)
    return together(messages) if together else [key.sign(message) for message in messages]


@cache
def operator_key() -> OperatorKey:
    """The configured key, read once a process; a keystore takes a second or two to decrypt. Raises
    ImproperlyConfigured with the reason."""
    key = _configured()
    if key.address != settings.HUB_OWNER_ACCOUNT_ADDRESS:
        raise ImproperlyConfigured(
            f"the operator's key is that of {to_checksum(key.address)}, HUB_OWNER_ACCOUNT_ADDRESS says"
            f" {to_checksum(settings.HUB_OWNER_ACCOUNT_ADDRESS)}"
        )
    return key


def _configured() -> OperatorKey:
    if settings.HUB_OWNER_ACCOUNT_SIGNER:
        try:
            made: OperatorKey = import_string(settings.HUB_OWNER_ACCOUNT_SIGNER)()
        except ImportError as error:
            raise ImproperlyConfigured(f"HUB_OWNER_ACCOUNT_SIGNER: {error}") from error
        return made
    if settings.HUB_OWNER_ACCOUNT_KEYSTORE:
        return LocalKey(
            from_keystore(
                Path(settings.HUB_OWNER_ACCOUNT_KEYSTORE),
                Path(settings.HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE),
            )
        )
    if not settings.HUB_OWNER_ACCOUNT_KEY:
        raise ImproperlyConfigured("the operator has no key: set HUB_OWNER_ACCOUNT_KEYSTORE")
    return LocalKey(settings.HUB_OWNER_ACCOUNT_KEY)


def from_keystore(file: Path, password_file: Path) -> bytes:
    """The private key in an encrypted key file. Raises ImproperlyConfigured with the reason, which never holds a
    secret."""
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        password = password_file.read_text().rstrip("\r\n")
    except OSError as error:
        raise ImproperlyConfigured(
            f"HUB_OWNER_ACCOUNT_KEYSTORE_PASSWORD_FILE {password_file}: {error.strerror}"
        ) from error
    try:
        return bytes(decode_keyfile_json(json.loads(file.read_text()), password.encode()))
    except OSError as error:
        raise ImproperlyConfigured(f"HUB_OWNER_ACCOUNT_KEYSTORE {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        reason = "the password is wrong" if "MAC" in str(error) else "it is no keystore of version 3"
        raise ImproperlyConfigured(f"HUB_OWNER_ACCOUNT_KEYSTORE {file}: {reason}") from None
