"""What the endpoints of orders read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ledger.engine import Owner
from ledger.models import TokenPair
from ledger.sql import fetch

PAIRS_FOR: Final = 1.0
"""Seconds for which a process remembers the pairs that orders are accepted of."""

LARGEST_ROW: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An order by its name, with its wallets."""

    tx_id: UUID
    debit: Owner
    credit: Owner


def find_order(row: int) -> KnownOrder | None:
    """The order that has a row with this id, whichever of its eons that is for; None if there is none, or the row
    is a transfer."""
    if row > LARGEST_ROW:
        return None
    rows = fetch(
        "SELECT t.tx_id, w.id, dt.address, w.address, w.trail_identifier, c.id, ct.address, c.trail_identifier"
        " FROM ledger_transfer t JOIN ledger_wallet w ON w.id = t.wallet_id"
        " JOIN ledger_token dt ON dt.id = w.token_id JOIN ledger_wallet c ON c.id = t.recipient_id"
        " JOIN ledger_token ct ON ct.id = c.token_id WHERE t.id = %s AND t.swap",
        [row],
    )
    for tx_id, debit, debit_token, address, debit_trail, credit, credit_token, credit_trail in rows:
        return KnownOrder(
            UUID(str(tx_id)),
            Owner(debit, bytes(debit_token), bytes(address), debit_trail),
            Owner(credit, bytes(credit_token), bytes(address), credit_trail),
        )
    return None


class OpenPairs:
    """The pairs that orders are accepted of, read anew when they are older than :data:`PAIRS_FOR`."""

    def __init__(self) -> None:
        self._pairs: frozenset[tuple[bytes, bytes]] = frozenset()
        self._until = 0.0

    def __contains__(self, pair: tuple[bytes, bytes]) -> bool:
        """Whether orders of the first token for the second, by their addresses, are accepted."""
        now = time.monotonic()
        if now >= self._until:
            rows = TokenPair.objects.filter(paused=False).values_list(
                "token_from__address", "token_to__address"
            )
            self._pairs = frozenset((bytes(given), bytes(wanted)) for given, wanted in rows)
            self._until = now + PAIRS_FOR
        return pair in self._pairs

    def clear(self) -> None:
        """Forget them."""
        self._until = 0.0


open_pairs = OpenPairs()
"""Those that this process remembers."""
