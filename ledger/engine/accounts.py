"""The state the engine works on: one record a wallet and eon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nocust.merkle import Peaks

EMPTY_SET = Peaks(0, ())


@dataclass(frozen=True, slots=True)
class Owner:
    """What never changes of a wallet: its row id, token and address (20 bytes each) and trail."""

    wallet: int
    token: bytes
    address: bytes
    trail: int


@dataclass(frozen=True, slots=True)
class Account:
    """A wallet in one eon. Amounts in the token's smallest unit.

    `closed` are the peaks of the transaction set's closed leaves, `tail` the newest leaf in its final form (None
    for an empty set), `swapped` what an order in force moves beside the signed counters, `passive_marker` the
    position of the newest outgoing transfer.
    """

    owner: Owner
    eon: int
    opening: int = 0
    deposited: int = 0
    withdrawn: int = 0
    spent: int = 0
    gained: int = 0
    received: int = 0
    swapped: int = 0
    passive_marker: int = 0
    closed: Peaks = field(default=EMPTY_SET)
    tail: bytes | None = None
    active_state: int | None = None

    @property
    def available(self) -> int:
        """What the wallet may spend, or takes into the next eon. Below zero after it requested on chain what it
        had already spent."""
        income = self.opening + self.deposited + self.gained + self.received + self.swapped
        return income - self.spent - self.withdrawn

    @property
    def set_size(self) -> int:
        """Entries of the transaction set."""
        return self.closed.size + (self.tail is not None)

    def closed_set(self) -> Peaks:
        """The peaks with the newest leaf closed too: the set that the next transaction is appended to."""
        return self.closed if self.tail is None else self.closed.append(self.tail)


Key = tuple[int, int]
"""(wallet id, eon)."""

Accounts = Mapping[Key, Account]
