"""What all proofs of a token in a checkpoint share: the token's path, the tree's measures and its upper levels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock

from ledger.models import TokenCommitment
from ledger.sql import fetch
from nocust.balances import balance_padding_leaf
from nocust.interval import level_size, padding_nodes, tree_height

LOWER_LEVELS = 9
"""Levels of which a proof's nodes and bounds are read each time: subtrees of 512 leaves."""

HASH = 32
"""Bytes of a hash, and of a bound."""


EDGES = (
    'SELECT a."left" FROM unnest(%s::bigint[]) n(trail)'
    " CROSS JOIN LATERAL (SELECT * FROM ledger_wallet WHERE token_id = %s AND trail_identifier = n.trail LIMIT 1) w"
    " CROSS JOIN LATERAL (SELECT * FROM ledger_exclusivebalanceallotment"
    " WHERE eon_number = %s AND wallet_id = w.id LIMIT 1) a ORDER BY n.trail"
)
"""Left bounds of a token's wallets in an eon, by their trails."""


@dataclass(frozen=True, slots=True)
class TreeKey:
    """Names a tree by what it is, so that nothing remembered outlives a checkpoint that was replaced: the row of
    the token's commitment, its root, and that of the checkpoint."""

    commitment: int
    root: bytes
    checkpoint: bytes


@dataclass(frozen=True)
class Tree:
    """A token's balance tree in a checkpoint. `upper` are the nodes of the levels from LOWER_LEVELS on, joined for
    each level; `edges` are the left bounds of every 2**LOWER_LEVELS-th wallet, joined."""

    key: TreeKey
    leaf_count: int
    wallet_count: int
    upper_bound: int
    wallet_upper_bound: int
    membership: list[bytes]
    upper: list[bytes]
    edges: bytes

    @cached_property
    def height(self) -> int:
        """Levels above the leaves."""
        return tree_height(self.leaf_count)

    @property
    def padding(self) -> list[bytes]:
        """The padding node of each level."""
        return _padding(self.upper_bound, self.height)

    @property
    def size(self) -> int:
        """Bytes that it takes, nearly."""
        return 1000 + len(self.edges) + sum(len(level) for level in self.upper)

    def node(self, level: int, index: int) -> bytes:
        """A real node of a level that is held here."""
        return self.upper[level - LOWER_LEVELS][HASH * index : HASH * (index + 1)]

    def bound(self, number: int) -> int:
        """The left bound of leaf `number`, a multiple of 2**LOWER_LEVELS or one behind the wallets."""
        if number >= self.wallet_count:
            return self.wallet_upper_bound if number == self.wallet_count else self.upper_bound
        place = HASH * (number >> LOWER_LEVELS)
        return int.from_bytes(self.edges[place : place + HASH], "big")


@lru_cache(maxsize=256)
def _padding(upper_bound: int, height: int) -> list[bytes]:
    return padding_nodes(balance_padding_leaf(upper_bound), upper_bound, height)


class Trees:
    """The trees last used, up to `room` bytes of them, or a single larger one."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._trees: OrderedDict[TreeKey, Tree] = OrderedDict()
        self._lock = Lock()
        self._reading = Lock()

    def get(self, key: TreeKey) -> Tree:
        """The tree with this key, which the database has. Raises LookupError if it has another one by now."""
        tree = self._find(key)
        if tree is None:
            with self._reading:  # everybody asks as an eon begins, and one of them reads
                tree = self._find(key)
                if tree is None:
                    tree = _read(key)
                    self._add(tree)
        return tree

    def clear(self) -> None:
        """Forget all, for tests that undo their database."""
        with self._lock:
            self._room += sum(tree.size for tree in self._trees.values())
            self._trees.clear()

    def _find(self, key: TreeKey) -> Tree | None:
        with self._lock:
            tree = self._trees.get(key)
            if tree is not None:
                self._trees.move_to_end(key)
            return tree

    def _add(self, tree: Tree) -> None:
        with self._lock:
            self._trees[tree.key] = tree
            self._room -= tree.size
            while self._room < 0 and len(self._trees) > 1:
                _, oldest = self._trees.popitem(last=False)
                self._room += oldest.size


remembered = Trees(room=64 * 2**20)
"""Those of this process: some 350 of a million wallets each."""


def _read(key: TreeKey) -> Tree:
    row = TokenCommitment.objects.select_related("root_commitment").filter(pk=key.commitment).first()
    if row is None or (row.merkle_root, row.root_commitment.merkle_root) != (key.root, key.checkpoint):
        raise LookupError(f"token commitment {key.commitment} is not that of root {key.root.hex()} any more")
    return Tree(
        key,
        leaf_count=row.leaf_count,
        wallet_count=row.wallet_count,
        upper_bound=row.upper_bound,
        wallet_upper_bound=row.wallet_upper_bound,
        membership=row.membership_hashes,
        upper=_read_upper(row),
        edges=_read_edges(row),
    )


def _read_upper(row: TokenCommitment) -> list[bytes]:
    chunks = fetch(
        "SELECT level, hashes FROM ledger_treechunk WHERE commitment_id = %s AND level >= %s"
        " ORDER BY level, chunk",
        [row.pk, LOWER_LEVELS],
    )
    levels = [bytearray() for _ in range(LOWER_LEVELS, tree_height(row.leaf_count) + 1)]
    for level, hashes in chunks:
        levels[level - LOWER_LEVELS] += hashes
    for level, nodes in enumerate(levels, LOWER_LEVELS):
        if len(nodes) != HASH * level_size(row.leaf_count, level):
            raise LookupError(f"level {level} of token commitment {row.pk} is not whole")
    return [bytes(nodes) for nodes in levels]


def _read_edges(row: TokenCommitment) -> bytes:
    numbers = range(0, row.wallet_count, 1 << LOWER_LEVELS)
    bounds = fetch(EDGES, [list(numbers), row.token_id, row.root_commitment.eon_number])
    if len(bounds) != len(numbers):
        raise LookupError(f"allotments of token commitment {row.pk} are missing")
    return b"".join(int(bound).to_bytes(HASH, "big") for (bound,) in bounds)
