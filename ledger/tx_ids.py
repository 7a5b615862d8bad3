"""Ids of transfers and orders, by which wallets name them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import getrandbits
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_VERSION_AND_VARIANT = 7 << 76 | 2 << 62


def new_tx_id(time: datetime) -> UUID:
    """An id of that moment: 48 bits of milliseconds and 74 of chance (UUID version 7, RFC 9562 §5.7).

    Ids of one time lie together in their index. One that fell anywhere in the index of a large table would bring a
    whole page to PostgreSQL's log, 3.5 kB a transfer. They need not be secret.
    """
    milliseconds = (time - _EPOCH) // _MILLISECOND
    return UUID(int=milliseconds << 80 | _VERSION_AND_VARIANT | getrandbits(12) << 64 | getrandbits(62))
