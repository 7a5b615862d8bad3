"""What can be asked of the ledger, by wallets and by the chain."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.engine.accounts import Owner


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as the sender signed it. `marker` is the balance it commits not to withdraw below; its
    signature needs no ledger state and is verified before the command is made. A side that is subscribed to the
    service level agreement may have any number of transactions."""

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


Command = Transfer | ChainEffect
