"""Set-wise statements on psycopg2's cursor: a list of rows in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, connections
from psycopg2.extras import execute_values

from ledger import replica

Row = tuple[Any, ...]
PAGE = 1000


def fetch(statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
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
    """Run `statement`, whose `VALUES %s` takes the rows, a page at a time."""
    if rows:
        with connection.cursor() as cursor:
            execute_values(cursor.cursor, statement, rows, template, page_size=PAGE)


def next_ids(sequence: str, count: int) -> list[int]:
    """`count` fresh numbers of a sequence, ascending."""
    if not count:
        return []
    rows = fetch("SELECT nextval(%s::regclass) FROM generate_series(1, %s)", [sequence, count])
    return sorted(row[0] for row in rows)


def join(hashes: Iterable[bytes]) -> bytes:
    """The concatenation that a column of hashes holds."""
    return b"".join(hashes)
