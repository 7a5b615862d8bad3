"""What the engine needs to know beside the accounts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from uuid import UUID

from ledger.engine.orders import Order
from nocust.batch import Verify
from nocust.signatures import is_valid

EMPTY: frozenset[int] = frozenset()

HIGHEST_COUNTER = 2**128 - 1
"""The contract takes no challenge about a state that has spent or gained more."""
HIGHEST_ORDERED = 2**127 - 1
"""What orders may count up to. The rest is for what they are matched beyond what they ask and for payments after
them: of all tokens together the contract holds less than 2**112 an eon."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is the same for every command: the contract's address, the free entries of a transaction set an eon,
    the addresses that are exempt from that limit, and how signatures are verified: those of a batch together, with
    `nocust.batch.Batch`, which tells after the commands whether all were valid."""

    contract: bytes
    sla_threshold: int
    exempt: frozenset[bytes]
    verify: Verify = is_valid


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store found out for one batch, under its locks.

    eon: the latest eon. closed: the eons whose ledger a checkpoint has closed. used_nonces: (wallet id, eon,
    nonce) already taken. reserved: amounts set aside for withdrawals on their way to the chain, by wallet id.
    stopped: the code of why nothing new is accepted (the contract is halted, the chain is not read up to its head),
    empty when it is. ordered: the wallets that an order holds. orders: those that the commands are about, as they
    are in the first of their eons that is not over.
    """

    eon: int
    closed: Set[int] = EMPTY
    used_nonces: Set[tuple[int, int, int]] = frozenset()
    reserved: Mapping[int, int] = field(default_factory=dict)
    stopped: str = ""
    ordered: Set[int] = EMPTY
    orders: Mapping[UUID, Order] = field(default_factory=dict)
