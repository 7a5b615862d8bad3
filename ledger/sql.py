"""Set-wise statements on psycopg2's cursor: a list of rows in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from types import NoneType
from typing import Any
from uuid import UUID

from django.db import connection, connections
from psycopg2.extras import execute_values

from ledger import replica

Row = tuple[Any, ...]
PAGE = 1000


def by_id(table: str, key: str, alias: str) -> str:
    """SQL that joins the row of a table with the id `key`, an expression of tables before it. It is looked up for
    each of their rows, whatever the statistics say: where they know little of a new eon or token PostgreSQL takes
    its rows for one, and compares all with all."""
    return f"CROSS JOIN LATERAL (SELECT * FROM {table} WHERE id = {key} LIMIT 1) {alias}"  # noqa: S608  (constants)


def fetch(statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
    """All rows of a query."""
    with connections[replica.alias()].cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def execute(statement: str, parameters: Sequence[Any] = ()) -> int:
    """Run a statement that gives no rows; how many it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def write(statement: str, rows: Sequence[Row], template: str | None = None) -> None:
    """Run `statement`, whose `VALUES %s` takes the rows, a page at a time. Raises django.db.Error."""
    if rows:
        with connection.cursor() as cursor, connection.wrap_database_errors:
            execute_values(cursor.cursor, statement, rows, template, page_size=PAGE)


def copy(table: str, columns: str, rows: Iterable[Row]) -> None:
    """Insert rows with their values in the order of `columns`. PostgreSQL reads them without making a plan of them,
    which for rows of many values costs more than to insert them. Raises django.db.Error."""
    texts = [_column(values) for values in zip(*rows, strict=True)]
    text = "".join(["\t".join(row) + "\n" for row in zip(*texts, strict=True)])
    if text:
        with connection.cursor() as cursor, connection.wrap_database_errors:
            cursor.cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", BytesIO(text.encode()))


def _column(values: Sequence[Any]) -> Sequence[str]:
    """The texts of a column's values: most columns hold values of one type, or the same value in all rows."""
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return [_form(type(value))(value) for value in values]
    form = _form(kinds.pop())
    if values.count(values[0]) == len(values):
        return len(values) * [form(values[0])]
    return list(map(form, values))


def _form(kind: type) -> Callable[[Any], str]:
    form = _FORMS.get(kind)
    if form is None:
        raise TypeError(f"no column takes {kind.__name__}")
    return form


_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_FORMS: dict[type, Callable[[Any], str]] = {
    int: str,
    bytes: lambda value: "\\\\x" + value.hex(),
    NoneType: lambda _: "\\N",
    bool: lambda value: "t" if value else "f",
    str: lambda value: value.translate(_ESCAPED),
    UUID: str,
    datetime: str,
}


def array(values: Iterable[Any]) -> str:
    """PostgreSQL's text of an array of whole numbers, bytes, UUIDs, words and nulls."""
    known = list(values)
    kinds = set(map(type, known))
    if kinds == {bytes}:
        return '{"\\\\x' + '","\\\\x'.join(map(bytes.hex, known)) + '"}'
    return "{" + ",".join(map(str if kinds == {int} else _element, known)) + "}"


def _element(value: Any) -> str:
    if type(value) is bytes:
        return '"\\\\x' + value.hex() + '"'
    return "NULL" if value is None else str(value)


def next_ids(sequence: str, count: int) -> list[int]:
    """`count` fresh numbers of a sequence, ascending."""
    if not count:
        return []
    rows = fetch("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", [sequence, count])
    return sorted(row[0] for row in rows)


def join(hashes: Iterable[bytes]) -> bytes:
    """The concatenation that a column of hashes holds."""
    return b"".join(hashes)
