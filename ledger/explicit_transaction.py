"""Transactions whose BEGIN and COMMIT the caller writes into its own statements, which spares their round trips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection
from django.db.transaction import TransactionManagementError
from psycopg2.extensions import TRANSACTION_STATUS_IDLE


def outside_transactions() -> bool:
    """Whether statements are now committed one by one, so that a transaction can begin."""
    return not connection.in_atomic_block and connection.get_autocommit()


@contextmanager
def explicit_transaction() -> Iterator[None]:
    """Outside of transactions, for statements of which the first begins with BEGIN and the last ends with COMMIT;
    after that one nothing is to be run. Django takes it for an atomic block without savepoints. An error anywhere,
    COMMIT included, is raised after a rollback, or with the connection closed if it is lost.

    Raises TransactionManagementError if the transaction was not ended inside.
    """
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.needs_rollback = False
    connection.in_atomic_block = True
    try:
        yield
        if not _over():
            raise TransactionManagementError("a transaction was begun and not committed")
    except BaseException:
        _abandon()
        raise
    connection.in_atomic_block = False
    connection.run_and_clear_commit_hooks()


def _over() -> bool:
    """Whether the server has no transaction open, which each answer says. Not so if the connection is lost."""
    status: int = connection.connection.info.transaction_status
    return status == TRANSACTION_STATUS_IDLE


def _abandon() -> None:
    """Leave nothing of the transaction, and a connection that can be used or is made anew."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.run_on_commit = []
    if connection.closed_in_transaction:
        connection.connection = None
    elif not _over():
        try:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except (DatabaseError, InterfaceError):
            connection.close()
