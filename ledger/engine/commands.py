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
class Deposit:
    """A confirmed deposit, credited in `eon`."""

    owner: Owner
    eon: int
    amount: int

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.owner,)


@dataclass(frozen=True, slots=True)
class RequestWithdrawal:
    """A confirmed withdrawal request made on chain in `eon`: a fact, which cannot be refused."""

    owner: Owner
    eon: int
    amount: int

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.owner,)


@dataclass(frozen=True, slots=True)
class CancelWithdrawal:
    """A confirmed cancellation (slash) of requests, given back in `eon`."""

    owner: Owner
    eon: int
    amount: int

    @property
    def owners(self) -> tuple[Owner, ...]:
        return (self.owner,)


Command = Transfer | Deposit | RequestWithdrawal | CancelWithdrawal
