"""What became of a transaction whose connection was lost at COMMIT: PostgreSQL may have done it or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connection, transaction

from ledger.sql import execute
from operator_api.error_codes import NO_DATABASE

PATIENCE_SECONDS = 5.0
"""How long PostgreSQL is asked; a server that is ended and started again mostly answers within."""
PAUSE_SECONDS = 0.1


class CommitUnknownError(OperationalError):
    """Whether a transaction was committed cannot be found out now. Who tries again may hear that it was."""


class Session:
    """The connection that the transaction has in which this is made."""

    def __init__(self) -> None:
        self._session: Any = connection.connection

    @property
    def lost(self) -> bool:
        """Whether it is gone, which those of transactions that merely failed are not."""
        return self._session is None or bool(self._session.closed)


def was_written(look: Callable[[], bool]) -> bool:
    """What `look` says of the rows, on a new connection and in a transaction of its own. First it must take a lock
    that the lost transaction had: the server may still be at its COMMIT, and holds the lock as long. Since a lock
    is written to the log, what is found is as durable as any commit once this returns.

    Raises CommitUnknownError.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with transaction.atomic():
                execute(f"SET LOCAL lock_timeout = {PATIENCE_SECONDS * 1000:.0f}")
                return look()
        except NO_DATABASE as error:
            connection.close()
            if time.monotonic() > deadline:
                raise CommitUnknownError("the connection was lost at COMMIT") from error
        time.sleep(PAUSE_SECONDS)
