"""Statements whose plans the store keeps, each for good: to choose the plan of a batch anew costs more than to run
it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any

from django.db import connection

from ledger.prepared import Prepared
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


class _State(Enum):
    NO = 0
    FROM_NOW = 1
    YES = 2


_kept: ContextVar[_State] = ContextVar("plans_are_kept", default=_State.NO)


@contextmanager
def kept_plans(alone: bool) -> Iterator[None]:
    """Inside, `run` keeps the plans of its statements. They are few and look rows up by the index, as other
    statements of the transaction are then made to do, too: until its end if it is for these statements `alone`."""
    if _kept.get() is not _State.NO:
        yield
        return
    token = _kept.set(_State.FROM_NOW)
    try:
        yield
        if not alone and _kept.get() is _State.YES:
            with connection.cursor() as cursor:
                cursor.execute(_AS_BEFORE)
    finally:
        _kept.reset(token)


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
        if _kept.get() is _State.NO:
            for statement, parameters in calls:
                statement.execute(cursor, parameters)
        else:
            parts = [statement.prepare(cursor) for statement, _ in calls]
            if _kept.get() is _State.FROM_NOW:
                parts.insert(0, _KEEP)
                _kept.set(_State.YES)
            cursor.execute("; ".join(parts), [value for _, parameters in calls for value in parameters])
        return list(cursor.fetchall()) if cursor.description else []
