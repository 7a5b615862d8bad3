"""What happened, and the accounts after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ledger.engine.accounts import Account, Accounts, Key, Owner
from ledger.engine.order_events import OrderEvent, apply_order
from nocust.merkle import Peaks


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command changes nothing: a code of the catalogue and a sentence with the numbers."""

    code: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Transferred:
    """A transfer was accepted. The state fields are what the sender signed and the operator countersigns
    (`message`); `closed` is the sender's set before it, `leaf` the transfer's final form there."""

    sender: Owner
    recipient: Owner
    eon: int
    amount: int
    nonce: int
    position: int
    marker: int
    marker_signature: bytes
    spent: int
    gained: int
    tx_set_hash: bytes
    tx_set_index: int
    tx_set_proof: tuple[bytes, ...]
    message: bytes
    signature: bytes
    closed: Peaks
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """An amount that the contract moved in or out of a wallet in `eon`."""

    owner: Owner
    eon: int
    amount: int


class Deposited(Moved):
    """It came in."""

    __slots__ = ()


class WithdrawalRequested(Moved):
    """It is on its way out."""

    __slots__ = ()


class WithdrawalCancelled(Moved):
    """It comes back: its request was cancelled."""

    __slots__ = ()


Event = Transferred | Moved | OrderEvent


def apply(accounts: Accounts, event: Event) -> dict[Key, Account]:
    """The accounts that `event` changes, after it. An effect on the eon before moves the opening of the wallet's
    account in the next one, where that is open already."""
    if isinstance(event, Transferred):
        return _apply_transfer(accounts, event)
    if not isinstance(event, Moved):
        return apply_order(accounts, event)
    account = accounts[event.owner.wallet, event.eon]
    if isinstance(event, Deposited):
        changed = replace(account, deposited=account.deposited + event.amount)
    elif isinstance(event, WithdrawalRequested):
        changed = replace(account, withdrawn=account.withdrawn + event.amount)
    else:
        changed = replace(account, withdrawn=account.withdrawn - event.amount)
    return _with_successor(accounts, account, changed)


def _with_successor(accounts: Accounts, before: Account, after: Account) -> dict[Key, Account]:
    key = (after.owner.wallet, after.eon)
    result = {key: after}
    next_key = (after.owner.wallet, after.eon + 1)
    successor = accounts.get(next_key)
    if successor is not None:
        moved = after.available - before.available
        result[next_key] = replace(successor, opening=successor.opening + moved)
    return result


def _replace(
    account: Account, received: int, spent: int, closed: Peaks, tail: bytes | None, passive_marker: int
) -> Account:
    """The account with these values: what `dataclasses.replace` does, in half of the time."""
    return Account(
        account.owner,
        account.eon,
        account.opening,
        account.deposited,
        account.withdrawn,
        spent,
        account.gained,
        received,
        account.swapped,
        passive_marker,
        closed,
        tail,
        account.active_state,
    )


def _apply_transfer(accounts: Accounts, event: Transferred) -> dict[Key, Account]:
    sender_key = (event.sender.wallet, event.eon)
    recipient_key = (event.recipient.wallet, event.eon)
    sender, recipient = accounts[sender_key], accounts[recipient_key]
    return {
        sender_key: _replace(sender, sender.received, event.spent, event.closed, event.leaf, event.position),
        recipient_key: _replace(
            recipient,
            recipient.received + event.amount,
            recipient.spent,
            recipient.closed,
            recipient.tail,
            recipient.passive_marker,
        ),
    }
