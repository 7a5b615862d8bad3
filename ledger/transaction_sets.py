"""The transaction sets of states in force, rebuilt from the rows (`spec/crypto.md` §6 to §8)."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q

from ledger.models import Account, ActiveState, Transfer, Wallet
from nocust.leaves import COMPLETE_START, OPEN_POSITION, transfer_leaf
from nocust.merkle import MerkleTree
from nocust.swaps import SwapOrder


class ContradictorySetError(Exception):
    """The rows do not give the set that a state names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction in a wallet's set, as a state has it: its row, its leaf and, of an order, the start balance in
    the leaf."""

    row: Transfer
    leaf: bytes
    start: int | None = None


def set_of_state(state: ActiveState) -> list[Entry]:
    """All that the set of a state in force holds, in order; the wallet with its token must have been read along.
    Raises ContradictorySetError."""
    wallet = state.wallet
    rows = (
        Transfer.objects.filter(
            Q(wallet=wallet) | Q(recipient=wallet, swap=True), eon_number=state.eon_number
        )
        .filter(appended=True)
        .select_related("wallet__token", "recipient__token", "sender_active_state", "recipient_active_state")
    )
    found = sorted((_place(row, wallet), row.pk, row) for row in rows)
    found = [entry for entry in found if entry[0] <= state.tx_set_index]
    account = Account.objects.filter(wallet=wallet, eon_number=state.eon_number).first()
    opening = 0 if account is None else account.opening
    entries = [_entry(row, state, opening) for _, _, row in found]
    if MerkleTree([entry.leaf for entry in entries]).root != state.tx_set_hash:
        raise ContradictorySetError(
            f"the {len(entries)} transactions of wallet {wallet.pk} in eon {state.eon_number} do not give the set"
            f" of state {state.pk}"
        )
    return entries


def _place(row: Transfer, wallet: Wallet) -> int:
    """Its index in the wallet's set."""
    if row.wallet_id == wallet.pk:
        return row.sender_active_state.tx_set_index
    assert row.recipient_active_state is not None
    return row.recipient_active_state.tx_set_index


def _entry(row: Transfer, state: ActiveState, opening: int) -> Entry:
    """A transaction that another one follows is in its final form; the newest one is as the state was signed: a
    transfer open, an order with the start balance that its owner supposed when placing it."""
    if not row.swap:
        to = row.recipient
        newest = row.sender_active_state_id == state.pk
        position = OPEN_POSITION if newest else row.position or 0
        return Entry(row, transfer_leaf(to.address, row.amount, to.trail_identifier, row.nonce, position))
    if row.wallet_id == state.wallet_id:
        supposed = row.sender_starting_balance if row.sender_active_state_id == state.pk else opening
    else:
        supposed = (
            row.recipient_starting_balance if row.recipient_active_state_id == state.pk else COMPLETE_START
        )
    start = int(supposed or 0)
    return Entry(row, order_of(row).leaf(start), start)


def order_of(row: Transfer) -> SwapOrder:
    """The order in a row whose wallets and tokens were read along, as the protocol's functions take it."""
    return SwapOrder(
        contract=settings.HUB_LQD_CONTRACT_ADDRESS,
        owner=row.wallet.address,
        debit_token=row.wallet.token.address,
        credit_token=row.recipient.token.address,
        debit_trail=row.wallet.trail_identifier,
        credit_trail=row.recipient.trail_identifier,
        amount=row.amount,
        amount_swapped=row.amount_swapped or 0,
        nonce=row.nonce,
        eon=row.eon_number,
    )
