"""Proofs that transfers reached their recipients: paths in the recipients' passive interval trees
(`spec/crypto.md` §9, the form that the contract verifies)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditor.proofs import Proof, ProofKey, proofs
from ledger.models import Transfer
from ledger.sql import fetch
from nocust.interval import IntervalProof
from nocust.leaves import transfer_leaf
from nocust.passive import passive_tree, transfer_bounds


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a transfer stands in its recipient's passive tree, and the recipient's proof of the next eon,
    which commits to that tree."""

    recipient: Proof
    index: int
    path: IntervalProof


def deliveries(transfers: Iterable[Transfer]) -> dict[int, Delivery]:
    """By transfer id, the deliveries that a checkpoint proves; the number of queries is constant.

    A transfer has none before the checkpoint of the eon after its own.
    """
    wanted: dict[ProofKey, set[int]] = defaultdict(set)
    for transfer in transfers:
        if transfer.passive and not transfer.voided:
            wanted[transfer.recipient_id, transfer.eon_number].add(transfer.pk)
    found = proofs((wallet, eon + 1) for wallet, eon in wanted)
    if not found:
        return {}
    result: dict[int, Delivery] = {}
    received = _received([(wallet, eon - 1) for wallet, eon in found])
    for (wallet, eon), proof in found.items():
        ids = wanted[wallet, eon - 1]
        result.update(_paths(proof, received[wallet, eon - 1], ids))
    return result


Received = list[tuple[int, bytes, int, int, int]]
"""(transfer id, sender's address, amount, nonce, position) in order of position."""


def _received(keys: Sequence[ProofKey]) -> dict[ProofKey, Received]:
    """All that the wallets received passively in the eons."""
    wallets, eons = zip(*keys, strict=True)
    rows = fetch(
        "SELECT t.recipient_id, t.eon_number, t.id, s.address, t.amount, t.nonce, t.position"
        " FROM unnest(%s::bigint[], %s::bigint[]) k(wallet, eon)"
        " JOIN ledger_transfer t ON t.recipient_id = k.wallet AND t.eon_number = k.eon"
        " JOIN ledger_wallet s ON s.id = t.wallet_id"
        " WHERE t.passive AND NOT t.voided ORDER BY t.position, t.id",
        [list(wallets), list(eons)],
    )
    received: dict[ProofKey, Received] = defaultdict(list)
    for wallet, eon, transfer, sender, amount, nonce, position in rows:
        received[wallet, eon].append((transfer, bytes(sender), int(amount), int(nonce), int(position)))
    return received


def _paths(proof: Proof, received: Received, wanted: set[int]) -> dict[int, Delivery]:
    trail = proof.allotment.wallet.trail_identifier
    leaves = [
        transfer_leaf(sender, amount, trail, nonce, position)
        for _, sender, amount, nonce, position in received
    ]
    tree = passive_tree(leaves, transfer_bounds([amount for _, _, amount, _, _ in received]))
    return {
        transfer: Delivery(proof, index, tree.proof(index))
        for index, (transfer, *_) in enumerate(received)
        if transfer in wanted
    }
