"""What can be asked of the ledger, by wallets and by the chain."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ledger.engine.accounts import Owner


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as the sender signed it. `marker` is the balance it commits not to withdraw below. A side that is
    subscribed to the service level agreement may have any number of transactions."""

    sender: Owner
    recipient: Owner
    eon: int
    amount: int
    nonce: int
    marker: int
    marker_signature: bytes
    signature: bytes
    sender_subscribed: bool = False
    recipient_subscribed: bool = False

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.sender, self.recipient)


@dataclass(frozen=True, slots=True)
class ChainEffect:
    """Something the contract did to a wallet in `eon`, confirmed: a fact, which cannot be refused."""

    owner: Owner
    eon: int
    amount: int

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.owner,)


class Deposit(ChainEffect):
    """A deposit, credited in `eon`."""

    __slots__ = ()


class RequestWithdrawal(ChainEffect):
    """A withdrawal request made on chain in `eon`."""

    __slots__ = ()


class CancelWithdrawal(ChainEffect):
    """A cancellation (slash) of requests, given back in `eon`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """An order as its owner signed it: item i of each list of signatures is for eon + i."""

    debit: Owner
    credit: Owner
    eon: int
    amount: int
    amount_swapped: int
    sell: bool
    nonce: int
    debit_signatures: tuple[bytes, ...]
    credit_signatures: tuple[bytes, ...]
    fulfillment_signatures: tuple[bytes, ...]
    debit_marker_signatures: tuple[bytes, ...]
    credit_marker_signatures: tuple[bytes, ...]

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.debit, self.credit)


@dataclass(frozen=True, slots=True)
class OrderCommand:
    """Something about an order that exists, by its `tx_id`."""

    order: UUID
    debit: Owner
    credit: Owner

    @property
    def orders(self) -> tuple[UUID, ...]:
        return (self.order,)

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.debit, self.credit)


@dataclass(frozen=True, slots=True)
class FreezeOrder(OrderCommand):
    """The owner takes the order off the market."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class CancelOrder(OrderCommand):
    """The owner signs, from this eon on, the states that end a frozen order."""

    debit_signatures: tuple[bytes, ...]
    credit_signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FinalizeOrder(OrderCommand):
    """The owner signs, from this eon on, the states that end a complete order."""

    signatures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Fill:
    """Two opposite orders are matched: the taker gives `taker_gives` and gets `maker_gives`."""

    taker: UUID
    maker: UUID
    taker_gives: int
    maker_gives: int
    owners: tuple[Owner, ...]

    @property
    def orders(self) -> tuple[UUID, ...]:
        return (self.taker, self.maker)


OrderAction = OrderCommand | Fill

Command = Transfer | ChainEffect | PlaceOrder | OrderAction
