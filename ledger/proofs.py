"""Proofs of exclusive balance allotments, derived from stored trees (`spec/crypto.md` §10, §11).

One statement reads, for each wallet, its allotment and what no other wallet's proof needs: nodes and bounds of the
lowest levels. The rest of the path is remembered (`ledger.trees`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ledger import trees
from ledger.columns import Columns
from ledger.fields import split_hashes
from ledger.models import ActiveState, ExclusiveBalanceAllotment, Token, Wallet
from ledger.models.commitments import CHUNK_HASHES
from ledger.prepared import PreparedRead, given
from ledger.sql import Row
from ledger.trees import HASH, LOWER_LEVELS, Tree, TreeKey
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalProof, proof_from_levels
from nocust.messages import active_state_hash


@dataclass(frozen=True, slots=True)
class Proof:
    """A wallet's allotment (wallet, token and active state read along) with its path to the checkpoint."""

    allotment: ExclusiveBalanceAllotment
    path: IntervalProof
    membership: Sequence[bytes]


ProofKey = tuple[int, int]
"""(wallet id, eon)."""


def active_state_checksum(contract: bytes, proof: Proof) -> bytes:
    """The signed hash of the last active state of the eon before the allotment's, zero when there is none."""
    allotment = proof.allotment
    state = allotment.active_state
    if state is None:
        return ZERO_HASH
    return active_state_hash(
        contract,
        allotment.wallet.token.address,
        allotment.wallet.address,
        allotment.wallet.trail_identifier,
        allotment.eon_number - 1,
        state.tx_set_hash,
        state.updated_spendings,
        state.updated_gains,
    )


_WALLET = Columns(Wallet, "w")
_TOKEN = Columns(Token, "t")
_ALLOTMENT = Columns(ExclusiveBalanceAllotment, "a")
_STATE = Columns(ActiveState, "s")

WALLET_COLUMNS = f"{_WALLET.text}, {_TOKEN.text}"
"""What `read_wallet` takes, of a statement that calls a wallet w and its token t."""

COLUMNS = (
    f"{WALLET_COLUMNS}, {_ALLOTMENT.text}, {_STATE.text},"
    " c.id, c.merkle_root, r.merkle_root, lower.hashes, lower.bounds"
)
"""What `read_proof` takes, of a statement that joins PROOF, too."""

# Subqueries of one row each hold the planner to the indexes, however few eons or chunks there are. The bound that a
# node does not share with its sibling is the left one of a left sibling, the right one of a right one.
PROOF = f"""
LEFT JOIN LATERAL (
    SELECT * FROM ledger_exclusivebalanceallotment WHERE eon_number = k.eon AND wallet_id = w.id LIMIT 1
) a ON true
LEFT JOIN ledger_activestate s ON s.id = a.active_state_id
LEFT JOIN ledger_rootcommitment r ON r.eon_number = a.eon_number
LEFT JOIN ledger_tokencommitment c ON c.root_commitment_id = r.id AND c.token_id = w.token_id
LEFT JOIN LATERAL (
    SELECT string_agg((
        SELECT substring(h.hashes FROM (n.sibling % {CHUNK_HASHES})::integer * {HASH} + 1 FOR {HASH})
        FROM ledger_treechunk h
        WHERE h.commitment_id = c.id AND h.level = n.level AND h.chunk = n.sibling / {CHUNK_HASHES} LIMIT 1
    ), '' ORDER BY n.level) AS hashes, array_agg((
        SELECT e."left" FROM ledger_wallet v, ledger_exclusivebalanceallotment e
        WHERE v.token_id = w.token_id AND v.trail_identifier = (n.sibling + (n.sibling & 1)) << n.level
        AND e.eon_number = a.eon_number AND e.wallet_id = v.id LIMIT 1
    ) ORDER BY n.level) AS bounds
    FROM (
        SELECT level, (w.trail_identifier >> level) # 1 AS sibling
        FROM generate_series(0, {LOWER_LEVELS - 1}) level
    ) n WHERE a.id IS NOT NULL
) lower ON true
"""  # noqa: S608  (constants)
"""Joins to a wallet w what its proof of eon k.eon is made of, as far as there is one."""

_PROOFS = PreparedRead(
    "proofs",
    ["bigint[]", "bigint[]"],
    f"SELECT {COLUMNS} FROM {given('wallet', 'eon')}"  # noqa: S608  (constants)
    f" JOIN ledger_wallet w ON w.id = k.wallet JOIN ledger_token t ON t.id = w.token_id {PROOF}",
)


def proofs(keys: Iterable[ProofKey]) -> dict[ProofKey, Proof]:
    """The proofs that exist of the given wallets in the given eons; one query, however many they are, and some more
    for a tree of which no proof was asked before.

    There is none for a wallet that registered in the eon or later, and for an eon without checkpoint.
    """
    wanted = list(set(keys))
    if not wanted:
        return {}
    found = {}
    for row in _PROOFS.fetch([wallet for wallet, _ in wanted], [eon for _, eon in wanted]):
        wallet, proof = read_proof(row)
        if proof is not None:
            found[wallet.pk, proof.allotment.eon_number] = proof
    return found


def read_wallet(row: Row, start: int = 0) -> Wallet:
    """The wallet, its token read along, from the WALLET_COLUMNS that begin at `start` of a row."""
    wallet = _WALLET.get(row, start)
    wallet.token = _TOKEN.get(row, start + _WALLET.width)
    return wallet


def read_proof(row: Row, start: int = 0) -> tuple[Wallet, Proof | None]:
    """The wallet and its proof, from the COLUMNS that begin at `start` of a row. Raises LookupError if the stored
    tree is not whole."""
    wallet = read_wallet(row, start)
    start += _WALLET.width + _TOKEN.width
    allotment = _ALLOTMENT.read(row, start)
    if allotment is None:
        return wallet, None
    allotment.wallet = wallet
    allotment.active_state = _STATE.read(row, start + _ALLOTMENT.width)
    commitment, root, checkpoint, hashes, bounds = row[start + _ALLOTMENT.width + _STATE.width :][:5]
    tree = trees.remembered.get(TreeKey(commitment, bytes(root), bytes(checkpoint)))
    path = _path(wallet.trail_identifier, tree, bytes(hashes or b""), bounds or [])
    return wallet, Proof(allotment, path, tree.membership)


def _path(trail: int, tree: Tree, hashes: bytes, bounds: Sequence[Decimal | None]) -> IntervalProof:
    """The path of a leaf, from the real siblings of the lowest levels and their bounds within the wallets, from the
    leaf upwards, and from the tree."""
    siblings = iter(split_hashes(hashes))
    edges = (int(bound) for bound in bounds if bound is not None)

    def read_node(level: int, index: int) -> bytes:
        return next(siblings) if level < LOWER_LEVELS else tree.node(level, index)

    def read_bound(number: int) -> int:
        edge = next(edges, None) if number < tree.wallet_count else None
        return tree.bound(number) if edge is None else edge

    try:
        return proof_from_levels(trail, tree.leaf_count, read_node, read_bound, tree.padding)
    except StopIteration:
        raise LookupError(f"nodes of token commitment {tree.key.commitment} are missing") from None
