"""A wallet that signs what a client signs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from ledger.engine import Owner, Transfer
from nocust.addresses import to_checksum
from nocust.leaves import OPEN_POSITION, transfer_leaf
from nocust.merkle import Peaks
from nocust.messages import (
    active_state_hash,
    admission_hash,
    balance_marker_hash,
    withdrawal_authorization_hash,
)
from nocust.signatures import Signer

EMPTY_SET = Peaks(0, ())


@dataclass(slots=True)
class SimulatedWallet:
    """The owner of one wallet: its key, and what it remembers of the eon it is in: the counters and the
    transactions it sent, in their final form."""

    signer: Signer
    contract: bytes
    token: bytes
    trail: int = 0
    wallet_id: int = 0
    eon: int = 0
    spent: int = 0
    gained: int = 0
    closed: Peaks = EMPTY_SET

    @classmethod
    def create(cls, contract: bytes, token: bytes, key: bytes | None = None) -> SimulatedWallet:
        """A wallet with a fresh random key, or the given one of 32 bytes."""
        return cls(Signer(key or _random_key()), contract, token)

    @property
    def address(self) -> bytes:
        return self.signer.address

    @property
    def owner(self) -> Owner:
        """Itself, as the ledger knows it."""
        return Owner(self.wallet_id, self.token, self.address, self.trail)

    def registration(self, eon: int, terms_digest: bytes) -> dict[str, Any]:
        """The body of a registration in the eon, for the terms with this digest."""
        message = admission_hash(self.contract, self.token, self.address, 0, eon)
        return {
            "authorization": {"value": self.signer.sign(message).hex()},
            "address": to_checksum(self.address).removeprefix("0x"),
            "token": to_checksum(self.token).removeprefix("0x"),
            "tos_signature": {"value": self.signer.sign(terms_digest).hex()},
        }

    def enter(self, eon: int) -> None:
        """Begin an eon: counters and the transaction set start anew."""
        self.eon, self.spent, self.gained = eon, 0, 0
        self.closed = EMPTY_SET

    def transfer(self, to: Owner, amount: int, marker: int = 0, nonce: int | None = None) -> Transfer:
        """A signed transfer in the eon it is in. It remembers nothing of it until `accepted`."""
        nonce = secrets.randbits(128) if nonce is None else nonce
        opened = transfer_leaf(to.address, amount, to.trail, nonce, OPEN_POSITION)
        state = active_state_hash(
            self.contract,
            self.token,
            self.address,
            self.trail,
            self.eon,
            self.closed.root_with(opened),
            self.spent + amount,
            self.gained,
        )
        marker_hash = balance_marker_hash(self.contract, self.token, self.address, self.eon, marker)
        return Transfer(
            sender=self.owner,
            recipient=to,
            eon=self.eon,
            amount=amount,
            nonce=nonce,
            marker=marker,
            marker_signature=self.signer.sign(marker_hash),
            signature=self.signer.sign(state),
        )

    def accepted(self, transfer: Transfer, position: int) -> None:
        """Remember a transfer that the hub countersigned and gave its position."""
        self.spent += transfer.amount
        to = transfer.recipient
        self.closed = self.closed.append(
            transfer_leaf(to.address, transfer.amount, to.trail, transfer.nonce, position)
        )

    def delegation(self, amount: int, expiry_block: int, pending: int = 0) -> bytes:
        """The authorisation of a delegated withdrawal; `pending` was requested in the current eon already."""
        message = withdrawal_authorization_hash(
            self.contract, self.token, self.address, expiry_block, amount + pending
        )
        return self.signer.sign(message)


def transfer_body(transfer: Transfer) -> dict[str, Any]:
    """The body that POST /transfer/ takes."""
    return {
        "wallet": wallet_reference(transfer.sender),
        "recipient": wallet_reference(transfer.recipient),
        "amount": str(transfer.amount),
        "nonce": str(transfer.nonce),
        "eon_number": transfer.eon,
        "debit_signature": {"value": transfer.signature.hex()},
        "debit_balance": str(transfer.marker),
        "debit_balance_signature": {"value": transfer.marker_signature.hex()},
    }


def wallet_reference(owner: Owner) -> dict[str, str]:
    """How a request names a wallet."""
    return {
        "address": to_checksum(owner.address).removeprefix("0x"),
        "token": to_checksum(owner.token).removeprefix("0x"),
    }


def _random_key() -> bytes:
    return (secrets.randbits(255) + 1).to_bytes(32, "big")
