"""One token's part of a checkpoint: its wallets' leaves, written while they are read, so that memory does not grow
with their number (`spec/crypto.md` §10)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final

from django.conf import settings
from django.db import connection

from ledger.accounts_sql import AVAILABLE, allotted_of_wallet
from ledger.managed import Managed, UnbalancedLedgerError
from ledger.models import Token, TokenCommitment
from ledger.models.commitments import CHUNK_HASHES
from ledger.sql import Row, execute, next_ids, write
from nocust.balances import balance_inner_hash, balance_leaves, balance_padding_leaf
from nocust.encoding import ZERO_HASH
from nocust.interval import GrowingIntervalTree
from nocust.leaves import transfer_leaf
from nocust.messages import active_state_hash
from nocust.passive import passive_tree

BATCH: Final = 8_192
"""Wallets that are read, hashed and written together."""

NULL: Final = "\\N"
"""A null in PostgreSQL's COPY format."""

ALLOTMENT_COLUMNS: Final = (
    'wallet_id, eon_number, "left", "right", passive_checksum, passive_amount,'
    " passive_marker, active_state_id"
)
"""Of an allotment, without the row's id."""


class Chunks:
    """The nodes of a token's tree, stored in rows of CHUNK_HASHES as soon as one is full."""

    def __init__(self, commitment: int) -> None:
        self._commitment = commitment
        self._open: list[bytearray] = []
        self._stored: list[int] = []

    def keep(self, level: int, nodes: Sequence[bytes]) -> None:
        """Take the next nodes of a level."""
        if level == len(self._open):
            self._open.append(bytearray())
            self._stored.append(0)
        self._open[level] += b"".join(nodes)
        full = len(self._open[level]) // (32 * CHUNK_HASHES) * 32 * CHUNK_HASHES
        if full:
            self._store(level, self._open[level][:full])
            del self._open[level][:full]

    def finish(self) -> None:
        """Store what is left, when all nodes are there."""
        for level, hashes in enumerate(self._open):
            if hashes:
                self._store(level, hashes)

    def _store(self, level: int, hashes: bytearray) -> None:
        size = 32 * CHUNK_HASHES
        rows: list[Row] = [
            (self._commitment, level, self._stored[level] + number, bytes(hashes[start : start + size]))
            for number, start in enumerate(range(0, len(hashes), size))
        ]
        self._stored[level] += len(rows)
        write("INSERT INTO ledger_treechunk (commitment_id, level, chunk, hashes) VALUES %s", rows)


@dataclass(slots=True)
class _Batch:
    """Consecutive leaves in the making: account nodes, edges, and the rows of the allotments."""

    inner: list[bytes]
    bounds: list[int]
    rows: list[str]


@dataclass(slots=True)
class Allotments:
    """A token's leaves as they are added. `signed_total` is what wallets have and owe together, in smallest units;
    `overdrawn` are the wallets that are below zero and are allotted nothing."""

    token: Token
    eon: int
    commitment: int = field(default_factory=lambda: next_ids("ledger_tokencommitment_id_seq", 1)[0])
    signed_total: int = 0
    overdrawn: list[int] = field(default_factory=list)
    chunks: Chunks = field(init=False)
    tree: GrowingIntervalTree = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = Chunks(self.commitment)
        self.tree = GrowingIntervalTree(self.chunks.keep)

    def add(self, rows: Iterable[Row], passive_roots: dict[int, bytes]) -> None:
        """The next wallets, as `_wallets` gives them. Raises UnbalancedLedgerError if a trail is missing."""
        batch = _Batch([], [self.tree.upper_bound], [])
        for row in rows:
            self._leaf(batch, row, passive_roots.get(row[0]))
        self._plant(batch)
        copy_allotments(batch.rows)

    def _plant(self, batch: _Batch) -> None:
        self.tree.add(balance_leaves(batch.inner, batch.bounds), batch.bounds)

    def _leaf(self, batch: _Batch, row: Row, passive_root: bytes | None) -> None:
        wallet, holder, trail, funds, received, marker, state, spent, gained, set_hash = row
        if trail != self.tree.count + len(batch.inner):
            place = self.tree.count + len(batch.inner)
            raise UnbalancedLedgerError(f"trail {trail} of {self.token} stands in place {place}")
        contract = settings.HUB_LQD_CONTRACT_ADDRESS
        token, address, available = self.token.address, bytes(holder), int(funds)
        checksum = ZERO_HASH
        if state is not None:
            checksum = active_state_hash(
                contract, token, address, trail, self.eon - 1, bytes(set_hash), int(spent), int(gained)
            )
        batch.inner.append(
            balance_inner_hash(
                contract,
                token,
                address,
                passive_root or ZERO_HASH,
                int(received),
                int(marker),
                checksum,
            )
        )
        self.signed_total += available
        if available < 0:
            # It was requested on chain after it was spent, and nothing cancels that request any more.
            self.overdrawn.append(wallet)
        left = batch.bounds[-1]
        right = left + max(available, 0)
        batch.bounds.append(right)
        passive = NULL if passive_root is None else f"\\\\x{passive_root.hex()}"
        known = NULL if state is None else state
        batch.rows.append(
            f"{wallet}\t{self.eon}\t{left}\t{right}\t{passive}\t{received}\t{marker}\t{known}\n"
        )

    def finish(self, managed: Managed) -> TokenCommitment:
        """The token's commitment, without its place in the tree of tokens, once all wallets are there. The
        operator's address gets a last leaf over what nobody claimed. Raises UnbalancedLedgerError unless wallets
        own exactly what the contract holds for them."""
        managed.check(self.token, self.eon, self.signed_total)
        wallets, bound = self.tree.count, self.tree.upper_bound
        if managed.unclaimed:
            inner = balance_inner_hash(
                settings.HUB_LQD_CONTRACT_ADDRESS,
                self.token.address,
                settings.HUB_OWNER_ACCOUNT_ADDRESS,
                ZERO_HASH,
                0,
                0,
                ZERO_HASH,
            )
            self._plant(_Batch([inner], [bound, bound + managed.unclaimed], []))
        root = self.tree.finish(balance_padding_leaf)
        self.chunks.finish()
        return TokenCommitment(
            pk=self.commitment,
            token=self.token,
            merkle_root=root,
            upper_bound=self.tree.upper_bound,
            wallet_upper_bound=bound,
            wallet_count=wallets,
            leaf_count=self.tree.count,
            shortfall=bound - self.signed_total,
        )


WALLETS: Final = (
    "SELECT w.id, w.address, w.trail_identifier,"  # noqa: S608  (constants)
    f" COALESCE({AVAILABLE}, {allotted_of_wallet('%(before)s')}, 0)::text,"
    " COALESCE(a.received, 0)::text, COALESCE(a.passive_marker, 0)::text, a.active_state_id,"
    " s.updated_spendings, s.updated_gains, s.tx_set_hash FROM ledger_wallet w"
    " LEFT JOIN LATERAL ("
    "SELECT * FROM ledger_account WHERE eon_number = %(before)s AND wallet_id = w.id LIMIT 1) a ON true"
    " LEFT JOIN LATERAL (SELECT * FROM ledger_activestate WHERE id = a.active_state_id LIMIT 1) s ON true"
    " WHERE w.token_id = %(token)s AND w.registration_eon_number < %(eon)s ORDER BY w.trail_identifier"
)
"""Wallets with what they had in the eon before. Rows come from the indexes whatever PostgreSQL takes an eon for
(`available_of_wallet`)."""


def read_wallets(token: Token, eon: int) -> Iterator[list[Row]]:
    """All wallets that were registered before the eon, in order of trail, some at a time, with what their leaves
    hold of the eon before."""
    with _stream(
        "wallets",
        WALLETS,
        {"token": token.pk, "eon": eon, "before": eon - 1},
    ) as batches:
        yield from batches


def passive_roots(eon: int) -> dict[int, bytes]:
    """By wallet id, the root of what each wallet received in the eon (`spec/crypto.md` §9, provable form)."""
    with _stream(
        "passive",
        "SELECT t.recipient_id, r.trail_identifier, s.address, t.amount, t.nonce, t.position"
        " FROM ledger_transfer t JOIN ledger_wallet s ON s.id = t.wallet_id"
        " JOIN ledger_wallet r ON r.id = t.recipient_id"
        " WHERE t.eon_number = %(eon)s AND t.passive AND NOT t.voided ORDER BY t.recipient_id, t.position, t.id",
        {"eon": eon},
    ) as batches:
        rows = (row for batch in batches for row in batch)
        return {wallet: _passive_root(received) for wallet, received in groupby(rows, key=itemgetter(0))}


def _passive_root(received: Iterable[Row]) -> bytes:
    leaves, bounds = list[bytes](), [0]
    for _, trail, sender, amount, nonce, position in received:
        leaves.append(transfer_leaf(bytes(sender), int(amount), trail, int(nonce), int(position)))
        bounds.append(bounds[-1] + int(amount))
    return passive_tree(leaves, bounds).root


@contextmanager
def _stream(name: str, statement: str, parameters: Mapping[str, int]) -> Iterator[Iterator[list[Row]]]:
    """The rows of a large query, some at a time, through a cursor on the server. It is closed before an error
    leaves the transaction, where it would be unknown."""
    connection.ensure_connection()
    # All rows will be read: without this, PostgreSQL plans for the first ones.
    execute("SET LOCAL cursor_tuple_fraction = 1")
    with connection.connection.cursor(name=name) as cursor:
        cursor.execute(statement, parameters)
        yield iter(lambda: cursor.fetchmany(BATCH), [])


def copy_allotments(rows: Sequence[str]) -> None:
    """Write rows of allotments, in PostgreSQL's COPY format."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.cursor.copy_expert(
            f"COPY ledger_exclusivebalanceallotment ({ALLOTMENT_COLUMNS}) FROM STDIN",
            io.StringIO("".join(rows)),
        )
