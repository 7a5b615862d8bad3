"""How far events have been told (`ledger.StreamPosition`)."""

from __future__ import annotations

from ledger.sql import fetch


def told_until() -> int:
    """The position of the newest event told; 0 for none. What is read after this call is at least as new: it holds
    everything that was told up to the position, so a client that goes on from there misses nothing."""
    return bounds()[0]


def bounds() -> tuple[int, int]:
    """The position of the newest event told, and the one up to which events are not kept any more."""
    rows = fetch("SELECT last, forgotten FROM ledger_streamposition")
    return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)
