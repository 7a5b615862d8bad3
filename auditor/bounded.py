"""Pages of transactions, found in bounded time: some orders and searches have PostgreSQL look through all rows."""

from __future__ import annotations

from contextlib import suppress

from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connections
from django.db.models import QuerySet
from psycopg2.errors import QueryCanceled
from rest_framework.exceptions import ErrorDetail, ValidationError

from auditor.totals import total
from ledger import replica
from ledger.models import Transfer
from ledger.sql import Row, fetch
from ledger.transfer_rows import named_transfers

LONGEST_MILLISECONDS = 2_000
"""What finding the rows of a page may take. The usual ones are found in a few."""
TOO_MANY_ROWS = "too_many_rows"
_WHY = (
    "So many transactions match that they are not searched, ordered or counted in this way: ask for those of an"
    " address, eon or tx_id, order them by id or time, and page by cursor, for which none are counted."
)


class TooManyRowsError(replica.SameAnywhereError, ValidationError):
    """To find the rows takes too long. To look for them in the database as well as in its replica would take it
    twice as long."""

    def __init__(self) -> None:
        super().__init__({"non_field_errors": [ErrorDetail(_WHY, code=TOO_MANY_ROWS)]})


def read_page(rows: QuerySet[Transfer], first: int, end: int, few: bool) -> list[Transfer]:
    """The rows from `first` up to `end`, with what a list shows. `few`: mostly few match. Raises TooManyRowsError.

    They are found by their ids alone: to sort a million rows as wide as lists show them takes six times as long.
    """
    ids = [row[0] for row in _find(rows[first:end], few)]
    found = named_transfers(ids)
    return [found[key] for key in ids if key in found]


def count(rows: QuerySet[Transfer]) -> int:
    """How many rows there are. Raises TooManyRowsError if they are to match; all there are may take their time."""
    if not rows.query.where:
        return total.count()
    ((found,),) = _fetch(rows.order_by(), "SELECT count(*) FROM ({}) n") or [(0,)]
    return int(found)


def _find(page: QuerySet[Transfer], few: bool) -> list[Row]:
    """The ids of a page. Of few rows PostgreSQL may believe that there are more, and read the whole table in the
    order of the page until it has met enough of them: so all that match are found first, and sorted. Those that are
    too many for this are met soon in the order of the page."""
    if not few:
        return _fetch(page)
    half = LONGEST_MILLISECONDS // 2
    with suppress(TooManyRowsError):
        return _fetch(page, longest=half, planning="SET LOCAL enable_indexscan = off; ")
    return _fetch(page, longest=half)


def _fetch(
    rows: QuerySet[Transfer], form: str = "{}", longest: int | None = None, planning: str = ""
) -> list[Row]:
    """What a statement about the ids of the rows gives; nothing if there can be none. Raises TooManyRowsError."""
    try:
        statement, parameters = rows.values_list("pk").query.sql_with_params()
    except EmptyResultSet:  # a search that nothing can match is no query
        return []
    # What comes in one message is a transaction, and each of its statements has its own time. In a transaction of
    # the caller's the bound would stay.
    alone = not connections[replica.alias()].in_atomic_block
    bound = f"SET LOCAL statement_timeout = {longest or LONGEST_MILLISECONDS}; {planning}" if alone else ""
    try:
        return fetch(bound + form.format(statement), parameters)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooManyRowsError from None
