"""The hub's status for the public stream: whether it accepts what is new, and if not, why."""

from __future__ import annotations

from enum import IntFlag

from ledger.models import ChainStatus
from ledger.sql import execute, fetch
from ledger.store import stopped
from operator_api.error_codes import ErrorCode


class Flag(IntFlag):
    """What may be wrong."""

    HALTED = 1
    FORKED = 2
    BEHIND = 4
    MAINTENANCE = 8


def names(flags: int) -> dict[str, bool]:
    """The object of STATUS."""
    return {flag.name.lower(): flag in Flag(flags) for flag in Flag if flag.name is not None}


def current() -> Flag:
    """The status as it is; a hub that has read nothing of the chain yet has nothing wrong."""
    status = ChainStatus.objects.first()
    flags = Flag(0)
    if status is None:
        return flags
    if status.halted:
        flags |= Flag.HALTED
    if status.forked:
        flags |= Flag.FORKED
    if status.maintenance:
        flags |= Flag.MAINTENANCE
    if stopped(status) == ErrorCode.CHAIN_BEHIND:
        flags |= Flag.BEHIND
    return flags


def change() -> int | None:
    """The status if it is another one than was told last, noted as told in the caller's transaction; else None.

    Nobody writes the moment at which a hub falls behind: so the relay looks each second.
    """
    flags = int(current())
    rows = fetch("SELECT status FROM ledger_streamposition")
    if flags == (rows[0][0] if rows else 0):
        return None
    execute(
        "INSERT INTO ledger_streamposition (id, last, forgotten, status) VALUES (1, 0, 0, %s)"
        " ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status",
        [flags],
    )
    return flags
