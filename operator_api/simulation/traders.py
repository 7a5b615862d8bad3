"""An owner of two wallets who trades one token for the other and signs what a client signs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ledger.engine import CancelOrder, FinalizeOrder, FreezeOrder, PlaceOrder
from nocust.leaves import COMPLETE_START
from nocust.messages import freeze_hash
from nocust.swaps import (
    SwapOrder,
    WalletPosition,
    credit_cancellation_messages,
    debit_cancellation_messages,
    finalization_messages,
    order_messages,
)
from operator_api.simulation.wallets import SimulatedWallet, wallet_reference


@dataclass(slots=True)
class Trader:
    """Gives from the `debit` and receives in the `credit` wallet, both of one key.

    `debit_start` and `credit_start` are the wallets' balances at the start of the eon. An order that the hub
    accepted is remembered with the eon of its first row until it is closed.
    """

    debit: SimulatedWallet
    credit: SimulatedWallet
    debit_start: int = 0
    credit_start: int = 0
    order: PlaceOrder | None = field(default=None)
    tx_id: UUID = field(default_factory=lambda: UUID(int=0))

    @classmethod
    def create(cls, contract: bytes, debit: bytes, credit: bytes, key: bytes | None = None) -> Trader:
        """With a fresh random key, or the given one of 32 bytes."""
        giver = SimulatedWallet.create(contract, debit, key)
        taker = SimulatedWallet(giver.signer, contract, credit)
        return cls(giver, taker)

    @property
    def eon(self) -> int:
        """The eon it is in."""
        return self.debit.eon

    def enter(self, eon: int, debit_start: int, credit_start: int) -> None:
        """Begin an eon. An order that goes on is the only entry of both sets (`spec/crypto.md` §7.1)."""
        self.debit.enter(eon)
        self.credit.enter(eon)
        self.debit_start, self.credit_start = debit_start, credit_start
        if self.order is not None:
            self.debit.spent = self.order.amount

    def place(
        self, amount: int, amount_swapped: int, eons: int = 1, sell: bool = True, nonce: int | None = None
    ) -> PlaceOrder:
        """A signed order from the eon it is in on. It remembers nothing of it until `accepted`."""
        command = PlaceOrder(
            debit=self.debit.owner,
            credit=self.credit.owner,
            eon=self.eon,
            amount=amount,
            amount_swapped=amount_swapped,
            sell=sell,
            nonce=secrets.randbits(128) if nonce is None else nonce,
            debit_signatures=(),
            credit_signatures=(),
            fulfillment_signatures=(),
            debit_marker_signatures=(),
            credit_marker_signatures=(),
        )
        messages = order_messages(
            self._protocol(command, self.eon),
            self._position(self.debit, self.debit_start),
            self._position(self.credit, self.credit_start),
            eons,
        )
        return PlaceOrder(
            command.debit,
            command.credit,
            command.eon,
            amount,
            amount_swapped,
            sell,
            command.nonce,
            self._sign(messages.debit),
            self._sign(messages.credit),
            self._sign(messages.fulfillment),
            self._sign(messages.debit_balance),
            self._sign(messages.credit_balance),
        )

    def accepted(self, order: PlaceOrder, tx_id: UUID) -> None:
        """Remember an order that the hub countersigned."""
        self.order, self.tx_id = order, tx_id
        self.debit.spent += order.amount

    def freeze(self) -> FreezeOrder:
        """Takes its order off the market."""
        order = self._order()
        message = freeze_hash(self.debit.token, self.credit.token, order.nonce)
        return FreezeOrder(self.tx_id, self.debit.owner, self.credit.owner, self.debit.signer.sign(message))

    def cancel(self, matched_out: int, matched_in: int) -> CancelOrder:
        """Ends its frozen order, of which that much was matched in this eon."""
        order = self._order()
        protocol = self._protocol(order, self.eon)
        debit = debit_cancellation_messages(
            protocol,
            self.debit.closed.root_with(protocol.leaf(self.debit_start)),
            self.debit.spent,
            self.debit.gained,
            matched_out,
            self.eon,
            self._eons_left(),
        )
        credit = credit_cancellation_messages(
            protocol,
            self.credit.closed.root_with(protocol.leaf(COMPLETE_START)),
            self.credit.spent,
            self.credit.gained,
            matched_in,
            self.eon,
            self._eons_left(),
        )
        return CancelOrder(
            self.tx_id, self.debit.owner, self.credit.owner, self._sign(debit), self._sign(credit)
        )

    def finalize(self, matched_in: int) -> FinalizeOrder:
        """Ends its complete order, which got that much in this eon."""
        order = self._order()
        protocol = self._protocol(order, self.eon)
        messages = finalization_messages(
            protocol,
            self.credit.closed.root_with(protocol.leaf(COMPLETE_START)),
            self.credit.spent,
            self.credit.gained + matched_in,
            self.eon,
            self._eons_left(),
        )
        return FinalizeOrder(self.tx_id, self.debit.owner, self.credit.owner, self._sign(messages))

    def closed(self, matched_out: int, matched_in: int) -> None:
        """Its order was cancelled or finalised, after that much was matched in this eon."""
        order = self._order()
        protocol = self._protocol(order, self.eon)
        self.debit.gained += order.amount - matched_out
        self.debit.closed = self.debit.closed.append(protocol.leaf(self.debit_start))
        self.credit.spent += order.amount_swapped
        self.credit.gained += matched_in + order.amount_swapped
        self.credit.closed = self.credit.closed.append(protocol.leaf(COMPLETE_START))
        self.order = None

    def forget(self) -> None:
        """Its order ended with the eon."""
        self.order = None

    def _order(self) -> PlaceOrder:
        assert self.order is not None, "there is no order"
        return self.order

    def _eons_left(self) -> int:
        order = self._order()
        return order.eon + len(order.debit_signatures) - self.eon

    def _protocol(self, order: PlaceOrder, eon: int) -> SwapOrder:
        return SwapOrder(
            contract=self.debit.contract,
            owner=self.debit.address,
            debit_token=self.debit.token,
            credit_token=self.credit.token,
            debit_trail=self.debit.trail,
            credit_trail=self.credit.trail,
            amount=order.amount,
            amount_swapped=order.amount_swapped,
            nonce=order.nonce,
            eon=eon,
        )

    @staticmethod
    def _position(wallet: SimulatedWallet, start: int) -> WalletPosition:
        return WalletPosition(
            start=start, spent=wallet.spent, gained=wallet.gained, transactions=wallet.closed
        )

    def _sign(self, messages: list[bytes]) -> tuple[bytes, ...]:
        return tuple(self.debit.signer.sign(message) for message in messages)


def order_body(order: PlaceOrder) -> dict[str, Any]:
    """The body that POST /swap/ takes."""

    def values(signatures: tuple[bytes, ...]) -> list[dict[str, str]]:
        return [{"value": signature.hex()} for signature in signatures]

    return {
        "wallet": wallet_reference(order.debit),
        "recipient": wallet_reference(order.credit),
        "amount": str(order.amount),
        "amount_swapped": str(order.amount_swapped),
        "nonce": str(order.nonce),
        "eon_number": order.eon,
        "sell_order": order.sell,
        "debit_signature": values(order.debit_signatures),
        "debit_balance_signature": values(order.debit_marker_signatures),
        "credit_signature": values(order.credit_signatures),
        "credit_balance_signature": values(order.credit_marker_signatures),
        "credit_fulfillment_signature": values(order.fulfillment_signatures),
    }
