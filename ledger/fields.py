"""Columns for the protocol's values: exact integers and byte strings of fixed length."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models

AMOUNT_DIGITS = 78
"""Decimal digits of 2**256 - 1."""


class AmountField(models.DecimalField):  # type: ignore[type-arg]  # the stub's parameters are Decimal, ours are int
    """An integer amount of up to 78 digits, `int` in Python and `numeric(78, 0)` in PostgreSQL.

    `signed=True` allows negative values; otherwise the models add a CHECK (see `non_negative`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = AMOUNT_DIGITS
        kwargs["decimal_places"] = 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def from_db_value(self, value: Decimal | None, *_: object) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> Any:
        return None if value is None else int(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if value is None or hasattr(value, "resolve_expression") else int(value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return self.get_db_prep_value(value, connection)


class FixedBytesField(models.BinaryField):  # type: ignore[type-arg]
    """A byte string of exactly `length` bytes, `bytes` in Python and `bytea` in PostgreSQL."""

    length = 32

    def from_db_value(self, value: memoryview | bytes | None, *_: object) -> bytes | None:
        return None if value is None else bytes(value)

    def to_python(self, value: Any) -> Any:
        return None if value is None else bytes(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is not None and not hasattr(value, "resolve_expression") and len(value) != self.length:
            raise ValueError(f"{self.name} takes {self.length} bytes, got {len(value)}")
        return super().get_db_prep_value(value, connection, prepared)


class AddressField(FixedBytesField):
    """A 20-byte address."""

    length = 20


class HashField(FixedBytesField):
    """A 32-byte hash."""

    length = 32


class SignatureField(FixedBytesField):
    """A 65-byte signature r ‖ s ‖ v (`spec/crypto.md` §1)."""

    length = 65


class PublicKeyField(FixedBytesField):
    """A public key x ‖ y of 64 bytes."""

    length = 64


class HashListField(models.BinaryField):  # type: ignore[type-arg]
    """A list of 32-byte hashes, stored as their concatenation; `list[bytes]` in Python."""

    def from_db_value(self, value: memoryview | bytes | None, *_: object) -> list[bytes] | None:
        return None if value is None else split_hashes(bytes(value))

    def to_python(self, value: Any) -> Any:
        return split_hashes(value) if isinstance(value, bytes | memoryview) else value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        blob = value if value is None or isinstance(value, bytes) else b"".join(value)
        return super().get_db_prep_value(blob, connection, prepared)


def split_hashes(blob: bytes | memoryview) -> list[bytes]:
    """Cut a concatenation of 32-byte hashes into the list."""
    blob = bytes(blob)
    return [blob[i : i + 32] for i in range(0, len(blob), 32)]


def non_negative(*fields: str, table: str) -> models.CheckConstraint:
    """A CHECK that the named columns are at least 0."""
    condition = models.Q(**{f"{field}__gte": 0 for field in fields})
    return models.CheckConstraint(condition=condition, name=f"{table}_non_negative")
