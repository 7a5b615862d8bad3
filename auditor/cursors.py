"""Pages behind a cursor: each begins where the one before ended, by the values of the last row, so a page deep in a
long list costs what the first one does, and rows added meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from django.core.exceptions import FieldError
from django.core.exceptions import ValidationError as InvalidValueError
from django.db.models import F, Q, QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from auditor.bounded import read_page
from ledger.models import Transfer

PARAMETER = "cursor"
MAX_CURSOR = 1000
"""Characters; eight columns of 78 digits at most."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two rows: the values of one of them, and whether the page lies behind or before it."""

    backwards: bool
    values: tuple[Any, ...]


class CursorPages:
    """Pages of rows in an order of columns, the last of which is the primary key. `few`: mostly few rows match."""

    def __init__(
        self, rows: QuerySet[Transfer], order: Sequence[str], limit: int, text: str, few: bool
    ) -> None:
        self._few = few
        self._columns = [_Column(name) for name in order]
        self._limit = limit
        self._cursor = self._decode(text) if text else None
        self.rows, self._more = self._read(rows)

    def respond(self, request: Request, results: Any) -> Response:
        """The page, with links to its neighbours. How many rows there are in all is not counted."""
        links = {"next": self._link(request, False), "previous": self._link(request, True)}
        return Response({"count": None, **links, "results": results})

    def _read(self, rows: QuerySet[Transfer]) -> tuple[list[Transfer], bool]:
        """The page's rows, and whether there are more in its direction."""
        backwards = self._cursor is not None and self._cursor.backwards
        if self._cursor is not None:
            rows = rows.filter(self._behind(self._cursor.values, backwards))
        order = [column.order(backwards) for column in self._columns]
        found = read_page(rows.order_by(*order), 0, self._limit + 1, self._few)
        more = len(found) > self._limit
        page = found[: self._limit]
        return page[::-1] if backwards else page, more

    def _behind(self, values: Sequence[Any], backwards: bool) -> Q:
        """Rows that come later, in the direction, than one with the values."""
        condition = Q(pk__in=[])
        for column, value in zip(reversed(self._columns), reversed(values), strict=True):
            condition = column.later(value, backwards) | (column.equal(value) & condition)
        return condition

    def _link(self, request: Request, backwards: bool) -> str | None:
        came_backwards = self._cursor is not None and self._cursor.backwards
        beyond = self._more if backwards == came_backwards else self._cursor is not None
        if not self.rows or not beyond:
            return None
        row = self.rows[0 if backwards else -1]
        text = self._encode(Cursor(backwards, tuple(column.value(row) for column in self._columns)))
        return replace_query_param(request.build_absolute_uri(), PARAMETER, text)

    def _encode(self, cursor: Cursor) -> str:
        values = [None if value is None else str(value) for value in cursor.values]
        return base64.urlsafe_b64encode(orjson.dumps([cursor.backwards, values])).decode().rstrip("=")

    def _decode(self, text: str) -> Cursor:
        try:
            if len(text) > MAX_CURSOR:
                raise ValueError
            backwards, values = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if not isinstance(backwards, bool) or len(values) != len(self._columns):
                raise ValueError
            return Cursor(
                backwards,
                tuple(column.parse(value) for column, value in zip(self._columns, values, strict=True)),
            )
        except (ValueError, TypeError, OverflowError, binascii.Error, InvalidValueError, FieldError):
            message = "The cursor is not one of this list in this order."
            raise ValidationError({PARAMETER: [ErrorDetail(message, code="invalid")]}) from None


class _Column:
    """A column of the order. Rows without a value come last, and first in descending order, as in PostgreSQL."""

    def __init__(self, name: str) -> None:
        self._descending = name.startswith("-")
        self._field = Transfer._meta.get_field(name.removeprefix("-"))
        self._name = str(getattr(self._field, "attname", name))

    def order(self, backwards: bool) -> Any:
        column = F(self._name)
        return column.desc() if self._descending != backwards else column.asc()

    def later(self, value: Any, backwards: bool) -> Q:
        """Rows later in the direction than one with the value."""
        if self._descending != backwards:
            return Q(**({f"{self._name}__isnull": False} if value is None else {f"{self._name}__lt": value}))
        if value is None:
            return Q(pk__in=[])
        later = Q(**{f"{self._name}__gt": value})
        return later | Q(**{f"{self._name}__isnull": True}) if self._field.null else later

    def equal(self, value: Any) -> Q:
        return Q(**{f"{self._name}__isnull": True}) if value is None else Q(**{self._name: value})

    def value(self, row: Transfer) -> Any:
        return getattr(row, self._name)

    def parse(self, text: Any) -> Any:
        """The value that a cursor names. Raises ValueError, OverflowError and Django's ValidationError."""
        if text is None and self._field.null:
            return None
        if not isinstance(text, str):
            raise ValueError
        target: Any = getattr(self._field, "target_field", self._field)
        value = target.to_python(text)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError("a time names its zone")
            return value.astimezone(UTC)  # of a time before the year 1 PostgreSQL is told nonsense
        return value
