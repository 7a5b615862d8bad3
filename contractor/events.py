"""The contract's events as values. Amounts in the token's smallest unit, addresses 20 bytes, hashes 32."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands on the chain; (txid, log_index) identifies it for ever. `time` in UNIX seconds."""

    txid: bytes
    log_index: int
    block: int
    time: int = 0


@dataclass(frozen=True, slots=True)
class Deposit:
    place: Place
    token: bytes
    recipient: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawalRequest:
    place: Place
    token: bytes
    requestor: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawalConfirmation:
    """Everything mature of a holder was paid; the amount may be 0."""

    place: Place
    token: bytes
    requestor: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class WithdrawalSlashed:
    """The holder's requests were cancelled: those of the event's eon if the current amount is not 0, those of the
    eon before if the previous one is not."""

    place: Place
    token: bytes
    withdrawer: bytes
    previous_eon_amount: int
    current_eon_amount: int


@dataclass(frozen=True, slots=True)
class CheckpointSubmission:
    place: Place
    eon: int
    merkle_root: bytes


@dataclass(frozen=True, slots=True)
class ChallengeIssued:
    place: Place
    token: bytes
    recipient: bytes
    sender: bytes


@dataclass(frozen=True, slots=True)
class ChallengeAnswered:
    place: Place
    token: bytes
    recipient: bytes
    sender: bytes


@dataclass(frozen=True, slots=True)
class FundsRecovered:
    """Funds left the halted contract."""

    place: Place
    token: bytes
    holder: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class Other:
    """An event that changes nothing in the ledger."""

    place: Place
    name: str


ContractEvent = (
    Deposit
    | WithdrawalRequest
    | WithdrawalConfirmation
    | WithdrawalSlashed
    | CheckpointSubmission
    | ChallengeIssued
    | ChallengeAnswered
    | FundsRecovered
    | Other
)
