"""Orders: swaps that their owner signed in advance for several eons (`spec/crypto.md` §7)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ledger.engine.accounts import Account, Owner
from nocust.leaves import COMPLETE_START
from nocust.swaps import SwapOrder


@dataclass(frozen=True, slots=True)
class SignedState:
    """A state as its owner signed it, with the path of the newest entry of its set."""

    owner: Owner
    eon: int
    spent: int
    gained: int
    tx_set_hash: bytes
    tx_set_index: int
    tx_set_proof: tuple[bytes, ...]
    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """An order in one eon: up to `amount` of the debit token for `amount_swapped` of the credit token.

    `row` is its row of this eon; `tx_id` is the same in all eons, the last of which is `last_eon`. `matched_out`
    and `matched_in` were matched in this eon, `prior_out` and `prior_in` before. It is in the wallets' sets when
    `appended`, taken off the market when `frozen`, and done with when `processed`. `fulfillment` are spent,
    gained and the set of the credit wallet's fulfilled state, which the owner signed in advance.
    """

    row: int
    tx_id: UUID
    debit: Owner
    credit: Owner
    eon: int
    last_eon: int
    amount: int
    amount_swapped: int
    sell: bool
    nonce: int
    fulfillment: tuple[int, int, bytes]
    prior_out: int = 0
    prior_in: int = 0
    matched_out: int = 0
    matched_in: int = 0
    appended: bool = True
    complete: bool = False
    frozen: bool = False
    voided: bool = False
    processed: bool = False
    void_reason: str = ""

    @property
    def out(self) -> int:
        """What it gave so far, in the debit token."""
        return self.prior_out + self.matched_out

    @property
    def got(self) -> int:
        """What it received so far, in the credit token."""
        return self.prior_in + self.matched_in

    @property
    def is_open(self) -> bool:
        """Whether it can be matched."""
        return self.appended and not (self.complete or self.frozen or self.voided or self.processed)

    @property
    def eons_left(self) -> int:
        """Its eons from this one on."""
        return self.last_eon - self.eon + 1

    def protocol(self, contract: bytes) -> SwapOrder:
        """The order as the protocol's functions take it."""
        return SwapOrder(
            contract=contract,
            owner=self.debit.address,
            debit_token=self.debit.token,
            credit_token=self.credit.token,
            debit_trail=self.debit.trail,
            credit_trail=self.credit.trail,
            amount=self.amount,
            amount_swapped=self.amount_swapped,
            nonce=self.nonce,
            eon=self.eon,
        )

    def debit_leaf(self, account: Account, contract: bytes) -> bytes:
        """Its entry in the debit wallet's set once something follows it: with what the wallet really began the eon
        with, while the states of later eons were signed for the whole amount (`spec/crypto.md` §7)."""
        return self.protocol(contract).leaf(account.opening)

    def done_leaf(self, contract: bytes) -> bytes:
        """Its entry in the credit wallet's set once it is complete or cancelled."""
        return self.protocol(contract).leaf(COMPLETE_START)
