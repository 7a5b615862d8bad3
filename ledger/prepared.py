"""Statements that each connection of PostgreSQL prepares once: those so frequent that planning them would cost more
than running them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.utils import InterfaceError

from ledger import replica
from ledger.sql import Row

_known: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""Names of the statements that each of psycopg2's connections has prepared."""
_names: set[str] = set()


class Prepared:
    """A statement with parameters $1, $2... of the given types, prepared by each connection that uses it. Raises
    ValueError if another one has the name: a connection that knew that one would run it in place of this."""

    def __init__(self, name: str, types: Sequence[str], statement: str) -> None:
        if name in _names:
            raise ValueError(f"there is a prepared statement {name} already")
        _names.add(name)
        self.name = name
        self.preparation = f"PREPARE {name} {_list(types)} AS {statement}"
        self.execution = f"EXECUTE {name} {_list(['%s'] * len(types))}"

    def run(self, *parameters: Any, after: tuple[str, Sequence[Any]] = ("", ())) -> list[Row]:
        """All rows of running it in the caller's transaction; `after` is a statement that ends in a semicolon and
        goes before it in the same round trip, with its parameters."""
        first, firsts = after
        return self._run(connections[DEFAULT_DB_ALIAS], f"{first} {self.execution}", [*firsts, *parameters])

    def _run(self, connection: Any, statement: str, parameters: Sequence[Any]) -> list[Row]:
        with connection.cursor() as cursor:
            prepare(cursor, self)
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def prepare(cursor: Any, *statements: Prepared) -> None:
    """Have the cursor's connection know the statements."""
    known = _known.get(cursor.connection)
    if known is None:
        known = _known[cursor.connection] = set()
    for statement in statements:
        if statement.name not in known:
            cursor.execute(statement.preparation)
            known.add(statement.name)


def _list(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)})" if parts else ""


class PreparedRead(Prepared):
    """A query on its own."""

    def fetch(self, *parameters: Any) -> list[Row]:
        """All rows. Outside a transaction a connection that PostgreSQL has closed is replaced, once."""
        connection: Any = connections[replica.alias()]
        alone = not connection.in_atomic_block
        if alone:
            # Django asks each connection once a request whether it is alive: a round trip, which this query spares.
            connection.health_check_done = True
        try:
            return self._run(connection, self.execution, parameters)
        except (InterfaceError, OperationalError):
            if not alone or connection.connection is None or not connection.connection.closed:
                raise
            connection.close()
            return self._run(connection, self.execution, parameters)


def given(*names: str) -> str:
    """The arrays $1, $2... as a table k with so many columns, for a statement's FROM.

    The limit takes no row away. PostgreSQL keeps one plan for all calls only if it seems no dearer than plans of
    their own: of arrays that it does not know it supposes ten rows, more than most calls have, and of a limit that
    it does not know that a tenth is left.
    """
    arrays = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    return f"(SELECT * FROM unnest({arrays}) k({', '.join(names)}) LIMIT cardinality($1)) k"  # noqa: S608  (names)
