"""Proofs that orders are in what their owners receive in: paths in the transaction sets of the receiving wallets'
last states of the eon (`spec/http-api.md` §4.14)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.models import Transfer
from ledger.proofs import Proof, proofs
from ledger.transaction_sets import sets_of_states
from nocust.merkle import MerkleTree


@dataclass(frozen=True, slots=True)
class OrderDelivery:
    """Where an order stands in the set of the wallet that it receives in, and that wallet's proof of the next eon,
    which commits to the set."""

    recipient: Proof
    index: int
    hashes: Sequence[bytes]


def order_deliveries(rows: Iterable[Transfer]) -> dict[int, OrderDelivery]:
    """By row id, the deliveries of orders that a checkpoint proves; the number of queries is constant.

    There is none before the checkpoint of the eon after the row's own, and none of a row that was in no set.
    """
    wanted = {(row.recipient_id, row.eon_number) for row in rows if row.swap and row.appended}
    found = proofs((wallet, eon + 1) for wallet, eon in wanted)
    states = [proof.allotment.active_state for proof in found.values()]
    sets = sets_of_states([state for state in states if state is not None])
    result: dict[int, OrderDelivery] = {}
    for proof in found.values():
        state = proof.allotment.active_state
        entries = sets.get(state.pk, []) if state is not None else []
        tree = MerkleTree([entry.leaf for entry in entries])
        for index, entry in enumerate(entries):
            if entry.row.swap and entry.row.recipient_id == proof.allotment.wallet_id:
                result[entry.row.pk] = OrderDelivery(proof, index, tree.proof(index))
    return result
