"""The transaction sets of states in force, rebuilt from the rows (`spec/crypto.md` §6 to §8)."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from ledger.models import ActiveState, Transfer
from ledger.prepared import PreparedRead, given
from ledger.proofs import ProofKey
from ledger.transfer_rows import add_order_states, transfers_of
from nocust.leaves import COMPLETE_START, OPEN_POSITION, transfer_leaf
from nocust.merkle import MerkleTree
from nocust.swaps import SwapOrder

logger = logging.getLogger(__name__)


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
    """All that the set of a state in force holds, in order. Raises ContradictorySetError."""
    (entries,) = _sets([state])
    if not _is_set_of(entries, state):
        raise ContradictorySetError(_contradiction(entries, state))
    return entries


def sets_of_states(states: Sequence[ActiveState]) -> dict[int, list[Entry]]:
    """The sets of several states in force, by their row ids, in three queries. One that the rows do not give
    raises an alarm and is left out."""
    found = {}
    for state, entries in zip(states, _sets(states), strict=True):
        if _is_set_of(entries, state):
            found[state.pk] = entries
        else:
            logger.error("ALARM: %s", _contradiction(entries, state))
    return found


_OPENINGS = PreparedRead(
    "set_openings",
    ["bigint[]", "bigint[]"],
    f"SELECT a.wallet_id, a.eon_number, a.opening FROM {given('wallet', 'eon')}, LATERAL ("  # noqa: S608  (constants)
    " SELECT * FROM ledger_account WHERE wallet_id = k.wallet AND eon_number = k.eon OFFSET 0) a",
)


def _sets(states: Sequence[ActiveState]) -> list[list[Entry]]:
    """What the rows give for each state."""
    if not states:
        return []
    places = {(state.wallet_id, state.eon_number) for state in states}
    rows = transfers_of(places, received=False)
    add_order_states(rows, ["recipient_active_state"])
    owned: dict[ProofKey, list[Transfer]] = defaultdict(list)
    for row in rows:
        for wallet in (row.wallet_id, row.recipient_id) if row.swap else (row.wallet_id,):
            owned[wallet, row.eon_number].append(row)
    opened = _OPENINGS.fetch([wallet for wallet, _ in places], [eon for _, eon in places])
    openings = {(wallet, eon): int(opening) for wallet, eon, opening in opened}
    found = []
    for state in states:
        place = (state.wallet_id, state.eon_number)
        placed = sorted((_place(row, state.wallet_id), row.pk, row) for row in owned[place])
        opening = openings.get(place, 0)
        found.append([_entry(row, state, opening) for at, _, row in placed if at <= state.tx_set_index])
    return found


def _is_set_of(entries: Sequence[Entry], state: ActiveState) -> bool:
    return MerkleTree([entry.leaf for entry in entries]).root == bytes(state.tx_set_hash)


def _contradiction(entries: Sequence[Entry], state: ActiveState) -> str:
    return (
        f"the {len(entries)} transactions of wallet {state.wallet_id} in eon {state.eon_number} do not give the set"
        f" of state {state.pk}"
    )


def _place(row: Transfer, wallet: int) -> int:
    """Its index in the wallet's set."""
    if row.wallet_id == wallet:
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
