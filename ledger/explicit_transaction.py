"""Transactions whose BEGIN and COMMIT the caller writes into its own statements, which spares their round trips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.transaction import TransactionManagementError
from psycopg2.extensions import TRANSACTION_STATUS_IDLE


def outside_transactions() -> bool:
    """Whether statements are now committed one by one, so that a transaction can begin."""
    database = connections[DEFAULT_DB_ALIAS]
    return not database.in_atomic_block and database.get_autocommit()


@contextmanager
def explicit_transaction() -> Iterator[None]:
    """Outside of transactions, for statements of which the first begins with BEGIN and the last ends with COMMIT;
    after that one nothing is to be run. Django takes it for an atomic block without savepoints. An error anywhere,
    COMMIT included, is raised after a rollback, or with the connection closed if it is lost.

    Raises TransactionManagementError if the transaction was not ended inside.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    database.close_if_health_check_failed()
    database.ensure_connection()
    database.needs_rollback = False
    database.in_atomic_block = True
    try:
        yield
        if not _over(database):
            raise TransactionManagementError("a transaction was begun and not committed")
    except BaseException:
        _abandon(database)
        raise
    database.in_atomic_block = False
    database.run_and_clear_commit_hooks()


def _over(database: Any) -> bool:
    """Whether the server has no transaction open, which each answer says. Not so if the connection is lost."""
    status: int = database.connection.info.transaction_status
    return status == TRANSACTION_STATUS_IDLE


def _abandon(database: Any) -> None:
    """Leave nothing of the transaction, and a connection that can be used or is made anew."""
    database.in_atomic_block = False
    database.needs_rollback = False
    database.run_on_commit = []
    if database.closed_in_transaction:
        database.connection = None
    elif not _over(database):
        try:
            with database.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except (DatabaseError, InterfaceError):
            database.close()
