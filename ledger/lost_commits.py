"""What became of a transaction whose connection was lost at COMMIT: PostgreSQL may have done it or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection, transaction

from ledger.accounts_sql import lock_wallets
from ledger.engine import OrderCancelled, OrderFinalized, OrderFrozen
from ledger.sql import execute, fetch
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


def is_there(tx_id: UUID, wallet: int) -> bool:
    """Whether there is a transfer or order. Whoever is about to write one of the wallet is waited for."""
    lock_wallets([wallet])
    return bool(fetch("SELECT 1 FROM ledger_transfer WHERE tx_id = %s LIMIT 1", [tx_id]))


_FROZEN = "SELECT 1 FROM ledger_transfer WHERE id = %s AND swap_freezing_signature = %s"
_CLOSED = (
    "SELECT 1 FROM ledger_transfer t JOIN ledger_activestate s"
    " ON s.id = coalesce(t.recipient_cancellation_active_state_id, t.recipient_finalization_active_state_id)"
    " WHERE t.id = %s AND s.wallet_signature = %s"
)


Ending = OrderFrozen | OrderCancelled | OrderFinalized


def are_ended(events: Sequence[Ending]) -> bool:
    """Whether all the orders are frozen, cancelled or finalised with the very signatures of the events, none of
    which they had before. Whoever is about to write one of their wallets is waited for. Another attempt with the
    same signatures passes for this one: it has the same answer."""
    lock_wallets(sorted({event.order.debit.wallet for event in events}))
    return all(_is_ended(event) for event in events)


def _is_ended(event: Ending) -> bool:
    if isinstance(event, OrderFrozen):
        return bool(fetch(_FROZEN, [event.order.row, event.signature]))
    return bool(fetch(_CLOSED, [event.order.row, event.credit.signature]))
