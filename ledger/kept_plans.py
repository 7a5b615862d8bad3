"""Statements whose plans the store keeps, each for good: to choose the plan of a batch anew costs more than to run
it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from ledger.explicit_transaction import explicit_transaction, outside_transactions
from ledger.prepared import Prepared, prepare
from ledger.sql import Row

_PLANNING = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
}
"""A table may be small when a plan is made that is kept, and grow under it: each row is looked up by the index."""
_KEEP = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _PLANNING.items())
_AS_BEFORE = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in _PLANNING)


_first: ContextVar[str | None] = ContextVar("first_of_kept_plans", default=None)
"""What goes before the next statements, whose plans are kept; None where none are."""


@contextmanager
def kept_plans(alone: bool) -> Iterator[None]:
    """Inside, `run` keeps the plans of its statements. They are few and look rows up by the index, as other
    statements of the transaction are then made to do, too: until its end if it is for these statements `alone`."""
    if _first.get() is not None:
        yield
        return
    with _keeping(_KEEP):
        yield
        if not alone and not _first.get():
            with connection.cursor() as cursor:
                cursor.execute(_AS_BEFORE)


@contextmanager
def _keeping(first: str) -> Iterator[None]:
    token = _first.set(first)
    try:
        yield
    finally:
        _first.reset(token)


@contextmanager
def own_transaction() -> Iterator[Callable[..., object]]:
    """Inside, `run` keeps the plans of its statements, in a transaction that its first call begins. What is yielded
    is to be called with the last statements, and commits, unless this is inside of the caller's transaction."""
    if outside_transactions():
        with explicit_transaction(), _keeping(f"BEGIN; {_KEEP}"):
            yield _commit
    else:
        with transaction.atomic(), kept_plans(alone=True):
            yield run


class Kept(Prepared):
    """A statement for `run`, with parameters $1, $2... of the given types."""

    def __init__(self, name: str, types: Sequence[str], statement: str) -> None:
        super().__init__(name, types, statement)
        self._plain = re.sub(
            r"\$(\d+)", lambda found: f"%({found[1]})s::{types[int(found[1]) - 1]}", statement
        )

    def __call__(self, *parameters: Any) -> Call:
        """The statement with values."""
        return self, parameters

    def execute(self, cursor: Any, parameters: Sequence[Any]) -> None:
        """Run it with a plan of its own."""
        cursor.execute(self._plain, {str(number): value for number, value in enumerate(parameters, 1)})


Call = tuple[Kept, tuple[Any, ...]]


def run(*calls: Call) -> list[Row]:
    """Run statements in order; the rows of the last one. Inside `kept_plans` it is one round trip."""
    if not calls:
        return []
    with connection.cursor() as cursor:
        if _first.get() is None:
            for statement, parameters in calls:
                statement.execute(cursor, parameters)
        else:
            _send(cursor, calls)
        return list(cursor.fetchall()) if cursor.description else []


def _commit(*calls: Call) -> None:
    """Run statements in order and commit, in one round trip: the first that fails ends it, and nothing is kept."""
    with connection.cursor() as cursor:
        _send(cursor, calls, "COMMIT")
        # After an error that was passed over it is a rollback.
        if cursor.statusmessage != "COMMIT":
            raise TransactionManagementError(f"COMMIT was answered by {cursor.statusmessage}")


def _send(cursor: Any, calls: Sequence[Call], *after: str) -> None:
    statements = [statement for statement, _ in calls]
    prepare(cursor, *statements)
    texts = filter(None, [_first.get(), *(statement.execution for statement in statements), *after])
    values = [value for _, parameters in calls for value in parameters]
    cursor.execute("; ".join(texts), values)
    _first.set("")
