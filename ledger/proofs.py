"""Proofs of exclusive balance allotments, derived set-wise from stored trees (`spec/crypto.md` §10, §11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ledger.models import ExclusiveBalanceAllotment, TokenCommitment, Wallet
from ledger.models.commitments import CHUNK_HASHES
from ledger.sql import Row, fetch
from nocust.balances import balance_padding_leaf
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalProof, padding_nodes, proof_from_levels, tree_height
from nocust.messages import active_state_hash

Node = tuple[int, int, int]
"""(token commitment id, level, index in the level)."""

Edge = tuple[int, int]
"""(token commitment id, number of the edge): edge k is the left bound of the wallet with trail k."""


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


def proofs(keys: Iterable[ProofKey]) -> dict[ProofKey, Proof]:
    """The proofs that exist of the given wallets in the given eons; four queries, however many they are.

    There is none for a wallet that registered in the eon or later, and for an eon without checkpoint.
    """
    allotments = _allotments(set(keys))
    if not allotments:
        return {}
    commitments = _commitments(allotments)
    nodes, edges = _wanted(allotments, commitments)
    hashes = _read_nodes(nodes)
    bounds = _read_edges(edges, commitments)
    found = {}
    for allotment in allotments:
        commitment = commitments[allotment.eon_number, allotment.wallet.token_id]
        path = _path(
            allotment.wallet,
            commitment,
            lambda node: hashes[node],
            lambda edge: bounds[edge],
        )
        key = (allotment.wallet_id, allotment.eon_number)
        found[key] = Proof(allotment, path, commitment.membership_hashes)
    return found


def _allotments(keys: set[ProofKey]) -> list[ExclusiveBalanceAllotment]:
    if not keys:
        return []
    rows = ExclusiveBalanceAllotment.objects.filter(
        wallet__in={wallet for wallet, _ in keys}, eon_number__in={eon for _, eon in keys}
    ).select_related("wallet__token", "active_state")
    return [row for row in rows if (row.wallet_id, row.eon_number) in keys]


def _commitments(
    allotments: Sequence[ExclusiveBalanceAllotment],
) -> dict[tuple[int, int], TokenCommitment]:
    """The token commitments of the allotments by (eon, token id)."""
    rows = TokenCommitment.objects.filter(
        root_commitment__eon_number__in={row.eon_number for row in allotments},
        token__in={row.wallet.token_id for row in allotments},
    ).select_related("root_commitment")
    return {(row.root_commitment.eon_number, row.token_id): row for row in rows}


def _path(
    wallet: Wallet,
    commitment: TokenCommitment,
    read_node: Callable[[Node], bytes],
    read_edge: Callable[[Edge], int],
) -> IntervalProof:
    height = tree_height(commitment.leaf_count)
    return proof_from_levels(
        wallet.trail_identifier,
        commitment.leaf_count,
        lambda level, index: read_node((commitment.pk, level, index)),
        lambda number: read_edge((commitment.pk, number)),
        _padding(commitment.upper_bound, height),
    )


@lru_cache(maxsize=256)
def _padding(upper_bound: int, height: int) -> list[bytes]:
    return padding_nodes(balance_padding_leaf(upper_bound), upper_bound, height)


def _wanted(
    allotments: Sequence[ExclusiveBalanceAllotment], commitments: dict[tuple[int, int], TokenCommitment]
) -> tuple[set[Node], set[Edge]]:
    """What the proofs read, found by walking them with readers that only take notes."""
    nodes: set[Node] = set()
    edges: set[Edge] = set()

    def note_node(node: Node) -> bytes:
        nodes.add(node)
        return ZERO_HASH

    def note_edge(edge: Edge) -> int:
        edges.add(edge)
        return 0

    for allotment in allotments:
        commitment = commitments[allotment.eon_number, allotment.wallet.token_id]
        _path(allotment.wallet, commitment, note_node, note_edge)
    return nodes, edges


def _unzip(rows: Iterable[tuple[int, ...]], columns: int) -> list[list[int]]:
    """The columns of the rows, each as a list that becomes an array in PostgreSQL."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(columns)]


def _read_nodes(nodes: set[Node]) -> dict[Node, bytes]:
    if not nodes:
        return {}
    rows: list[Row] = fetch(
        "SELECT n.commitment, n.level, n.chunk * %s + n.place, substring(c.hashes FROM n.place * 32 + 1 FOR 32)"
        " FROM unnest(%s::bigint[], %s::smallint[], %s::integer[], %s::integer[])"
        " n(commitment, level, chunk, place)"
        " JOIN ledger_treechunk c ON c.commitment_id = n.commitment AND c.level = n.level AND c.chunk = n.chunk",
        [
            CHUNK_HASHES,
            *_unzip(
                ((commitment, level, *divmod(node, CHUNK_HASHES)) for commitment, level, node in nodes), 4
            ),
        ],
    )
    return {(commitment, level, node): bytes(found) for commitment, level, node, found in rows}


def _read_edges(edges: set[Edge], commitments: dict[tuple[int, int], TokenCommitment]) -> dict[Edge, int]:
    found: dict[Edge, int] = {}
    inner: list[tuple[int, int, int, int]] = []
    places = {row.pk: (eon, row) for (eon, _), row in commitments.items()}
    for commitment, number in edges:
        eon, row = places[commitment]
        if number < row.wallet_count:
            inner.append((commitment, eon, row.token_id, number))
        else:
            found[commitment, number] = (
                row.wallet_upper_bound if number == row.wallet_count else row.upper_bound
            )
    if inner:
        rows = fetch(
            'SELECT e.commitment, e.trail, a."left"'
            " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
            " e(commitment, eon, token, trail)"
            " JOIN ledger_wallet w ON w.token_id = e.token AND w.trail_identifier = e.trail"
            " JOIN ledger_exclusivebalanceallotment a ON a.wallet_id = w.id AND a.eon_number = e.eon",
            _unzip(inner, 4),
        )
        found.update({(commitment, trail): int(left) for commitment, trail, left in rows})
    return found
