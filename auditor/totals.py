"""How many transactions there are in all."""

from __future__ import annotations

from typing import NamedTuple

from ledger.sql import fetch

_CHECKPOINTS = (
    "SELECT eon_number - 1, merkle_root FROM ledger_rootcommitment"
    " WHERE eon_number IN (%s, (SELECT max(eon_number) FROM ledger_rootcommitment))"
)
_ROWS = (
    "SELECT (SELECT count(*) FROM ledger_transfer WHERE eon_number > %s AND eon_number <= %s),"
    " (SELECT count(*) FROM ledger_transfer WHERE eon_number > %s)"
)


class _Counted(NamedTuple):
    """How many rows there are up to an eon that is closed by the checkpoint with the root."""

    eon: int = 0
    root: bytes | None = None
    rows: int = 0


class Total:
    """The number of rows of the ledger's transactions. A closed eon gets none any more, and is counted once: all of
    them take longer with each eon."""

    def __init__(self) -> None:
        self._counted = _Counted()

    def count(self) -> int:
        """How many there are now."""
        counted = self._counted
        checkpoints = [(eon, bytes(root)) for eon, root in fetch(_CHECKPOINTS, [counted.eon + 1])]
        if (counted.eon, counted.root) not in checkpoints:  # a replica that is behind, or another database
            counted = _Counted()
        eon, root = max(checkpoints, default=(0, None))
        ((older, newer),) = fetch(_ROWS, [counted.eon, eon, eon])
        self._counted = _Counted(eon, root, counted.rows + older)
        return counted.rows + int(older) + int(newer)


total = Total()
