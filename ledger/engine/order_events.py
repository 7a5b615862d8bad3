"""What happened to orders, and the accounts after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.engine.accounts import Account, Accounts, Key
from ledger.engine.orders import Order, SignedState
from nocust.merkle import Peaks


@dataclass(frozen=True, slots=True)
class OrderEon:
    """The states of an order in one of its eons, with the balances that its wallets' entries start from."""

    debit: SignedState
    credit: SignedState
    fulfillment: SignedState
    debit_start: int
    credit_start: int
    debit_marker_signature: bytes
    credit_marker_signature: bytes


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """An order was accepted; it is in force from its first eon on. `leaves` are its final entries in the two
    sets."""

    order: Order
    eons: tuple[OrderEon, ...]
    leaves: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class OrderFrozen:
    """An order is off the market in this eon and the later ones."""

    order: Order
    signature: bytes


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """An order ended by these states of its wallets. `order` is how it was left."""

    order: Order
    debit: SignedState
    credit: SignedState
    done_leaf: bytes


@dataclass(frozen=True, slots=True)
class OrderFinalized:
    """A complete order ended by this state of its credit wallet."""

    order: Order
    credit: SignedState


@dataclass(frozen=True, slots=True)
class Side:
    """One order of a fill, as it is after it. If the fill completed the order, `done_leaf` is its final entry in
    the
    credit wallet's set, and `fulfilled` the message of the fulfilled state if the operator may sign that."""

    order: Order
    done_leaf: bytes | None = None
    fulfilled: bytes | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """Two orders were matched: the taker gave `taker_gave` and got `maker_gave`."""

    taker: Side
    maker: Side
    taker_gave: int
    maker_gave: int


@dataclass(frozen=True, slots=True)
class OrderCarried:
    """An order goes on in a new eon. `order` is as it begins it."""

    order: Order
    leaves: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class OrderVoided:
    """An order does not come into force in a new eon, and in none after it."""

    order: Order


OrderEvent = OrderPlaced | OrderFrozen | OrderCancelled | OrderFinalized | Filled | OrderCarried | OrderVoided


def orders_after(event: OrderEvent) -> tuple[Order, ...]:
    """The orders that `event` changed, after it."""
    if isinstance(event, Filled):
        return event.taker.order, event.maker.order
    return (event.order,)


def apply_order(accounts: Accounts, event: OrderEvent) -> dict[Key, Account]:
    """The accounts that `event` changes, after it."""
    if isinstance(event, OrderFrozen | OrderVoided):
        return {}
    if isinstance(event, Filled):
        return _apply_fill(accounts, event)
    order = event.order
    debit, credit = _accounts(accounts, order)
    if isinstance(event, OrderPlaced):
        return _enter(order, debit, credit, event.leaves, debit.closed_set(), credit.closed_set())
    if isinstance(event, OrderCarried):
        return _enter(order, debit, credit, event.leaves, Peaks.EMPTY, Peaks.EMPTY)
    rest = order.amount - order.matched_out
    tail = event.done_leaf if isinstance(event, OrderCancelled) else credit.tail
    return _keyed(
        replace(debit, gained=debit.gained + rest, swapped=0),
        replace(credit, spent=event.credit.spent, gained=event.credit.gained, swapped=0, tail=tail),
    )


def _enter(
    order: Order, debit: Account, credit: Account, leaves: tuple[bytes, bytes], given: Peaks, got: Peaks
) -> dict[Key, Account]:
    debit_leaf, credit_leaf = leaves
    return _keyed(
        replace(debit, spent=debit.spent + order.amount, swapped=order.amount, closed=given, tail=debit_leaf),
        replace(credit, swapped=0, closed=got, tail=credit_leaf),
    )


def _apply_fill(accounts: Accounts, event: Filled) -> dict[Key, Account]:
    """A wallet is held by one order at most, so the two orders share none."""
    changed: dict[Key, Account] = {}
    for side, gave, got in (
        (event.taker, event.taker_gave, event.maker_gave),
        (event.maker, event.maker_gave, event.taker_gave),
    ):
        debit, credit = _accounts(accounts, side.order)
        tail = credit.tail if side.done_leaf is None else side.done_leaf
        changed |= _keyed(
            replace(debit, swapped=debit.swapped - gave),
            replace(credit, swapped=credit.swapped + got, tail=tail),
        )
    return changed


def _accounts(accounts: Accounts, order: Order) -> tuple[Account, Account]:
    return accounts[order.debit.wallet, order.eon], accounts[order.credit.wallet, order.eon]


def _keyed(*accounts: Account) -> dict[Key, Account]:
    return {(account.owner.wallet, account.eon): account for account in accounts}
