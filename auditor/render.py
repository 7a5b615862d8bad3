"""Rows as the JSON objects of `spec/http-api.md` §4, key by key.

No function here asks the database, as long as the rows come from `auditor.selectors`, which reads all along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from ledger.deliveries import Delivery
from ledger.engine import Order, Owner, SignedState, Transferred
from ledger.models import (
    ActiveState,
    ChainStatus,
    Deposit,
    Token,
    Transfer,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.proofs import active_state_checksum
from nocust.addresses import to_checksum
from nocust.encoding import ZERO_HASH

if TYPE_CHECKING:
    from auditor.selectors import WalletHistory
    from ledger.order_deliveries import OrderDelivery
    from ledger.proofs import Proof
    from ledger.store import StoredTransfer
    from ledger.transfer_rows import Confirmed

Object = dict[str, Any]
"""A JSON object, ready for the encoder."""


def hex0x(data: bytes) -> str:
    """Hexadecimal text with 0x, as elements of proofs are written."""
    return "0x" + data.hex()


def seconds(time: datetime) -> int:
    """UNIX seconds, rounded down."""
    return int(time.timestamp() // 1)


def _hashes(hashes: Iterable[bytes]) -> list[str]:
    return ["0x" + node.hex() for node in hashes]


def _amount(amount: int | str | None) -> str | None:
    return None if amount is None else str(amount)


def _amounts(amounts: Iterable[int]) -> list[str]:
    return [str(amount) for amount in amounts]


def status(row: ChainStatus) -> Object:
    """Operator status, §3.2.1."""
    return {
        **positions(row),
        "blocks_per_eon": row.blocks_per_eon,
        "confirmation_blocks": row.confirmations,
    }


def positions(row: ChainStatus) -> Object:
    """Where the hub stands: the answer of the websocket's `get operator`, §5.3."""
    return {
        "latest": {"block": row.head_block, "eon_number": row.eon},
        "confirmed": {"block": row.confirmed_block, "eon_number": row.confirmed_eon},
    }


def token(row: Token) -> Object:
    """§4.1."""
    return {"address": to_checksum(row.address), "name": row.name, "short_name": row.short_name}


def admission(wallet: Wallet) -> Object:
    """A wallet's registration, §4.2; also the payload of REGISTERED_WALLET."""
    return {
        "eon_number": wallet.registration_eon_number,
        "authorization": wallet.registration_authorization.hex(),
        "operator_authorization": wallet.registration_operator_authorization.hex(),
        "trail_identifier": wallet.trail_identifier,
    }


def wallet_ref(wallet: Wallet) -> Object:
    """§4.3."""
    return _reference(wallet.address, wallet.token.address, wallet.trail_identifier)


def _reference(address: bytes, token_address: bytes, trail: int) -> Object:
    return {
        "address": to_checksum(address),
        "token": to_checksum(token_address),
        "trail_identifier": trail,
    }


def active_state(row: ActiveState) -> Object:
    """§4.4; the hash of the set is written without 0x."""
    return {
        **_signatures(row.wallet_signature, row.operator_signature, row.updated_spendings, row.updated_gains),
        "tx_set_hash": row.tx_set_hash.hex(),
        "tx_set_proof": _hashes(row.tx_set_proof),
        "tx_set_index": row.tx_set_index,
    }


def concise_active_state(row: ActiveState) -> Object:
    """The state inside a proof, §4.4. The hash of the set has its 0x here: clients pass it to the contract
    unchanged."""
    return {
        **_signatures(row.wallet_signature, row.operator_signature, row.updated_spendings, row.updated_gains),
        "tx_set_hash": hex0x(row.tx_set_hash),
    }


def state_or_none(row: ActiveState | None) -> Object | None:
    """A state that a transaction need not have."""
    return None if row is None else active_state(row)


def state_of(state: SignedState | Transferred | Confirmed, operator_signature: bytes | None) -> Object:
    """A state just signed, without reading it again."""
    return {
        **_signatures(state.signature, operator_signature, state.spent, state.gained),
        "tx_set_hash": state.tx_set_hash.hex(),
        "tx_set_proof": _hashes(state.tx_set_proof),
        "tx_set_index": state.tx_set_index,
    }


def _signatures(wallet: bytes, operator: bytes | None, spendings: int | str, gains: int | str) -> Object:
    return {
        "wallet_signature": wallet.hex(),
        "operator_signature": None if operator is None else operator.hex(),
        "updated_spendings": str(spendings),
        "updated_gains": str(gains),
    }


def proof(found: Proof) -> Object:
    """A proof of exclusive balance allotment, §4.5."""
    allotment = found.allotment
    return {
        "eon_number": allotment.eon_number,
        "left": str(allotment.left),
        "right": str(allotment.right),
        "allotment_chain": _hashes(found.path.hashes),
        "membership_chain": _hashes(found.membership),
        "values": _amounts(found.path.values),
        "trail": allotment.wallet.trail_identifier,
        "active_state_checksum": hex0x(active_state_checksum(settings.HUB_LQD_CONTRACT_ADDRESS, found)),
        "active_state": (
            None if allotment.active_state is None else concise_active_state(allotment.active_state)
        ),
        "passive_checksum": hex0x(allotment.passive_checksum or ZERO_HASH),
        "passive_amount": str(allotment.passive_amount),
        "passive_marker": str(allotment.passive_marker),
    }


def _receipt(
    *,
    row_id: int,
    sender: Object,
    recipient: Object,
    amount: int | str,
    time: int,
    eon: int,
    state: Object,
    nonce: int | str,
    position: int | str | None,
    tx_id: UUID | str,
) -> Object:
    return {
        "id": row_id,
        "wallet": sender,
        "amount": str(amount),
        "time": time,
        "eon_number": eon,
        "sender_active_state": state,
        "recipient": recipient,
        "nonce": str(nonce),
        "position": _amount(position),
        "tx_id": str(tx_id),
    }


def receipt_told(row: Confirmed) -> Object:
    """The payload of TRANSFER_CONFIRMATION, §4.6."""
    return _receipt(
        row_id=row.id,
        sender=owner_ref(row.sender),
        recipient=owner_ref(row.recipient),
        amount=row.amount,
        time=row.time,
        eon=row.eon,
        state=state_of(row, row.operator_signature),
        nonce=row.nonce,
        position=row.position,
        tx_id=row.tx_id,
    )


def receipt_of(stored: StoredTransfer) -> Object:
    """The answer to a transfer, §4.6, just as it was written."""
    event = stored.event
    return _receipt(
        row_id=stored.id,
        sender=owner_ref(event.sender),
        recipient=owner_ref(event.recipient),
        amount=event.amount,
        time=seconds(stored.time),
        eon=event.eon,
        state=state_of(event, stored.operator_signature),
        nonce=event.nonce,
        position=event.position,
        tx_id=stored.tx_id,
    )


def owner_ref(owner: Owner) -> Object:
    """A wallet as the engine knows it, §4.3."""
    return _reference(owner.address, owner.token, owner.trail)


def delivery_proof(found: Delivery | OrderDelivery, viewer: int | None = None) -> Object:
    """§4.14, as the wallet with the row id `viewer` sees it: a recipient knows its own proof already."""
    own = viewer == found.recipient.allotment.wallet_id
    hashes, values = (
        (found.path.hashes, _amounts(found.path.values))
        if isinstance(found, Delivery)
        else (found.hashes, None)
    )
    return {
        "merkle_proof": None if own else proof(found.recipient),
        "transfer_membership_chain": _hashes(hashes),
        "transfer_membership_trail": found.index,
        "transfer_membership_values": values,
    }


def transaction(
    row: Transfer, delivery: Delivery | OrderDelivery | None = None, viewer: int | None = None
) -> Object:
    """A transaction in full, §4.7. What only swaps have is null."""
    freezing = row.swap_freezing_signature
    return {
        "id": row.pk,
        "tx_id": str(row.tx_id),
        "amount": str(row.amount),
        "amount_swapped": _amount(row.amount_swapped),
        "wallet": wallet_ref(row.wallet),
        "recipient": wallet_ref(row.recipient),
        "nonce": str(row.nonce),
        "passive": row.passive,
        "position": _amount(row.position),
        "sender_active_state": active_state(row.sender_active_state),
        "recipient_active_state": state_or_none(row.recipient_active_state),
        "recipient_fulfillment_active_state": state_or_none(row.recipient_fulfillment_active_state),
        "recipient_finalization_active_state": state_or_none(row.recipient_finalization_active_state),
        "swap_freezing_signature": None if freezing is None else freezing.hex(),
        "sender_cancellation_active_state": state_or_none(row.sender_cancellation_active_state),
        "sender_finalization_active_state": None,
        "recipient_cancellation_active_state": state_or_none(row.recipient_cancellation_active_state),
        # What the wallets had when the order was placed, which takes all of one and needs the other empty.
        "sender_starting_balance": str(row.amount) if row.swap else None,
        "recipient_starting_balance": "0" if row.swap else None,
        "delivery_proof": None if delivery is None else delivery_proof(delivery, viewer),
        "eon_number": row.eon_number,
        "processed": row.processed,
        "complete": row.complete,
        "voided": row.voided,
        "cancelled": row.cancelled,
        "appended": row.appended,
        "swap": row.swap,
        "sell_order": row.sell_order,
        "matched_amounts": matched_amounts(row) if row.swap else None,
        "time": seconds(row.time),
    }


def matched_amounts(row: Transfer | Order) -> Object:
    """How far an order was filled by the end of the row's eon, §4.11."""
    return {
        "matched_in": str((row.prior_in or 0) + (row.matched_in or 0)),
        "matched_out": str((row.prior_out or 0) + (row.matched_out or 0)),
    }


def concise_transaction(row: Transfer) -> Object:
    """A transaction in a list, §4.8."""
    return {
        "wallet": _concise_ref(row.wallet),
        "recipient": _concise_ref(row.recipient),
        "time": seconds(row.time),
        "id": row.pk,
        "tx_id": str(row.tx_id),
        "eon_number": row.eon_number,
        "swap": row.swap,
        "passive": row.passive,
        "complete": row.complete,
        "cancelled": row.cancelled,
        "voided": row.voided,
        "nonce": str(row.nonce),
        "amount": str(row.amount),
        "amount_swapped": _amount(row.amount_swapped),
    }


def _concise_ref(wallet: Wallet) -> Object:
    return {"address": to_checksum(wallet.address), "token": to_checksum(wallet.token.address)}


def _chain_effect(row: Deposit | WithdrawalRequest | Withdrawal) -> Object:
    return {
        "txid": row.txid.hex(),
        "block": row.block,
        "eon_number": row.eon_number,
        "amount": str(row.amount),
        "time": seconds(row.time),
    }


def deposit(row: Deposit) -> Object:
    """§4.9; also the payload of CONFIRMED_DEPOSIT."""
    return _chain_effect(row)


def withdrawal_request(row: WithdrawalRequest) -> Object:
    """§4.9; also the payload of REQUESTED_WITHDRAWAL."""
    return {**_chain_effect(row), "slashed": row.slashed}


def withdrawal(row: Withdrawal) -> Object:
    """§4.9; also the payload of CONFIRMED_WITHDRAWAL."""
    return {**_chain_effect(row), "request": withdrawal_request(row.request)}


def wallet_state(history: WalletHistory) -> Object:
    """A wallet in an eon, §4.9; also the payload of CHECKPOINT_CREATED."""
    viewer = history.wallet.pk
    return {
        "registration": admission(history.wallet),
        "merkle_proof": None if history.proof is None else proof(history.proof),
        "transactions": [
            transaction(row, history.deliveries.get(row.pk), viewer) for row in history.transfers
        ],
        "deposits": [deposit(row) for row in history.deposits],
        "withdrawal_requests": [withdrawal_request(row) for row in history.requests],
        "withdrawals": [withdrawal(row) for row in history.withdrawals],
    }


def page(rows: Sequence[Transfer]) -> list[Object]:
    """The results of a page of the transaction list."""
    return [concise_transaction(row) for row in rows]
