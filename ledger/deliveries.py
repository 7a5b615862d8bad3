"""Proofs that transfers reached their recipients: paths in the recipients' passive interval trees
(`spec/crypto.md` §9, the form that the contract verifies)."""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from ledger.models import Transfer
from ledger.prepared import PreparedRead, given
from ledger.proofs import Proof, ProofKey, proofs
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalProof, IntervalTree
from nocust.leaves import transfer_leaf
from nocust.passive import passive_tree, transfer_bounds

logger = logging.getLogger(__name__)


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
    trees = _trees(list(found.values()))
    result: dict[int, Delivery] = {}
    for (wallet, eon), proof in found.items():
        tree = trees.get(_key(proof))
        if tree is not None:
            for row_id in wanted[wallet, eon - 1]:
                index = tree.places[row_id]
                result[row_id] = Delivery(proof, index, tree.tree.proof(index))
    return result


@dataclass(frozen=True, slots=True)
class ReceivedTree:
    """All that a wallet received in an eon: the interval tree, and the leaf of each transfer id."""

    tree: IntervalTree
    places: Mapping[int, int]


TreeKey = tuple[int, int, bytes]
"""A wallet, the eon of its proof, and the root. A root alone names no tree: leaves tell neither token nor eon, so
that the same payments with the same nonces have it again."""


class Trees:
    """The trees last used. They never change once a checkpoint commits to them, and everybody who paid a wallet
    asks for a path in its tree as the next eon begins. Holds up to `leaves` leaves, 300 bytes each, or a single
    larger tree."""

    def __init__(self, leaves: int) -> None:
        self._room = leaves
        self._trees: OrderedDict[TreeKey, ReceivedTree] = OrderedDict()
        self._lock = Lock()

    def get(self, key: TreeKey) -> ReceivedTree | None:
        with self._lock:
            found = self._trees.get(key)
            if found is not None:
                self._trees.move_to_end(key)
            return found

    def add(self, key: TreeKey, tree: ReceivedTree) -> None:
        with self._lock:
            if key not in self._trees:
                self._trees[key] = tree
                self._room -= tree.tree.count
            while self._room < 0 and len(self._trees) > 1:
                _, oldest = self._trees.popitem(last=False)
                self._room += oldest.tree.count


remembered = Trees(leaves=100_000)


def _key(proof: Proof) -> TreeKey:
    row = proof.allotment
    return row.wallet_id, row.eon_number, row.passive_checksum or ZERO_HASH


def _trees(found: Sequence[Proof]) -> dict[TreeKey, ReceivedTree]:
    """The trees that the recipients' proofs commit to. A tree that the transfers do not give raises an
    alarm and is left out: wallets can still read the rest of their state."""
    trees: dict[TreeKey, ReceivedTree] = {}
    unknown: list[Proof] = []
    for proof in found:
        tree = remembered.get(_key(proof))
        if tree is None:
            unknown.append(proof)
        else:
            trees[_key(proof)] = tree
    received = _received(unknown)
    for proof in unknown:
        key = _key(proof)
        tree = _build(proof, received[proof.allotment.wallet_id, proof.allotment.eon_number - 1])
        if tree.tree.root == key[2]:
            trees[key] = tree
            remembered.add(key, tree)
        else:
            logger.error(
                "ALARM: what wallet %d received contradicts its checkpoint", proof.allotment.wallet_id
            )
    return trees


Received = list[tuple[int, bytes, int, int, int]]
"""(transfer id, sender's address, amount, nonce, position) in order of position."""


_RECEIVED = PreparedRead(
    "received",
    ["bigint[]", "bigint[]"],
    "SELECT k.wallet, k.eon, x.id, s.address, x.amount, x.nonce, x.position"  # noqa: S608  (constants)
    f" FROM {given('wallet', 'eon')}, LATERAL ("
    " SELECT * FROM ledger_transfer"
    " WHERE recipient_id = k.wallet AND eon_number = k.eon AND passive AND NOT voided OFFSET 0"
    ") x JOIN ledger_wallet s ON s.id = x.wallet_id ORDER BY x.position, x.id",
)


def _received(found: Sequence[Proof]) -> dict[ProofKey, Received]:
    """All that the wallets received passively in the eons before those of their proofs."""
    received: dict[ProofKey, Received] = defaultdict(list)
    if not found:
        return received
    allotments = [proof.allotment for proof in found]
    rows = _RECEIVED.fetch([row.wallet_id for row in allotments], [row.eon_number - 1 for row in allotments])
    for wallet, eon, transfer, sender, amount, nonce, position in rows:
        received[wallet, eon].append((transfer, bytes(sender), int(amount), int(nonce), int(position)))
    return received


def _build(proof: Proof, received: Received) -> ReceivedTree:
    trail = proof.allotment.wallet.trail_identifier
    leaves = [
        transfer_leaf(sender, amount, trail, nonce, position)
        for _, sender, amount, nonce, position in received
    ]
    tree = passive_tree(leaves, transfer_bounds([amount for _, _, amount, _, _ in received]))
    return ReceivedTree(tree, {transfer: index for index, (transfer, *_) in enumerate(received)})
