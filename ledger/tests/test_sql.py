"""Values come back from PostgreSQL as they went in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, OperationalError, transaction

from ledger.sql import array, copy, execute, fetch, write
from ledger.tests.test_own_transaction import lose_connection

pytestmark = pytest.mark.django_db
LARGEST = 2**256 - 1


def test_copied_rows_are_those_that_were_given() -> None:
    execute("CREATE TEMPORARY TABLE thing (n numeric, b bytea, t text, u uuid, m timestamptz, f boolean)")
    moment = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)
    name = UUID(int=7)
    rows: list[tuple[Any, ...]] = [
        (0, b"", "", name, moment, True),
        (
            LARGEST,
            bytes(range(256)),
            'tab\t, line\n\r, back\\slash, \\N, "quoted", grün',
            name,
            moment,
            False,
        ),
        (None, None, None, None, None, None),
    ]
    copy("thing", "n, b, t, u, m, f", rows)
    copy("thing", "n", [])
    found = fetch("SELECT n, b, t, u, m, f FROM thing ORDER BY n NULLS LAST")
    assert [
        (n, b if b is None else bytes(b), t, u and UUID(str(u)), m, f) for n, b, t, u, m, f in found
    ] == rows


def copy_row() -> None:
    copy("ledger_matching", "taker_id", [(1,)])


def write_row() -> None:
    write("UPDATE ledger_token SET trail = n.id FROM (VALUES %s) n (id)", [(0,)])


def test_what_rows_are_refused_for_is_an_error_of_django() -> None:
    """Who catches those of its other statements catches these."""
    with pytest.raises(IntegrityError), transaction.atomic():
        copy("ledger_matching", "taker_id", [(1,)])
    with pytest.raises(DataError), transaction.atomic():
        write("UPDATE ledger_token SET trail = 1 / n.id FROM (VALUES %s) n (id) WHERE 1 / n.id = 1", [(0,)])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write_rows", [copy_row, write_row])
def test_a_session_that_ends_as_rows_are_written_is_an_error_of_django(
    write_rows: Callable[[], None],
) -> None:
    def lose_and_write() -> None:
        with transaction.atomic():
            lose_connection()
            write_rows()

    with pytest.raises(OperationalError):
        lose_and_write()


def test_arrays_hold_what_was_given() -> None:
    rows = [(1, LARGEST, b""), (2, None, bytes(range(256))), (3, -1, None)]
    columns = [array(column) for column in zip(*rows, strict=True)]
    found = fetch("SELECT * FROM unnest(%s::bigint[], %s::numeric[], %s::bytea[])", columns)
    assert [(key, n, b if b is None else bytes(b)) for key, n, b in found] == rows
    assert fetch("SELECT * FROM unnest(%s::bigint[])", [array([])]) == []
    names, texts = [UUID(int=7), UUID(int=2**128 - 1)], [b"", bytes(range(256))]
    found = fetch("SELECT * FROM unnest(%s::uuid[], %s::bytea[])", [array(names), array(iter(texts))])
    assert [(UUID(str(name)), bytes(text)) for name, text in found] == list(zip(names, texts, strict=True))


def test_a_value_that_no_column_takes_is_not_written_as_its_name() -> None:
    execute("CREATE TEMPORARY TABLE thing (b bytea)")
    with pytest.raises(TypeError, match="memoryview"):
        copy("thing", "b", [(memoryview(b"abc"),)])
