"""The checkpoint of an eon: who owned what when the eon before it ended (`spec/crypto.md` §10, §11).

Balances are read set-wise, the trees built in bulk, and leaves and levels stored once; proofs are derived from
them when they are asked for. It all happens in one transaction, so it can be killed anywhere and begun again.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from django.conf import settings
from django.db import connection
from django.utils import timezone

from ledger.accounts_sql import AVAILABLE, lock_wallets
from ledger.carry_over import end_orders
from ledger.models import ChainStatus, Event, Outbox, RootCommitment, Token, TokenCommitment
from ledger.models.commitments import CHUNK_HASHES
from ledger.sql import Row, execute, fetch, write
from ledger.store import chain_status, notify_outbox
from nocust.balances import balance_inner_hash, balance_tree, token_leaf, token_tree
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalTree
from nocust.leaves import transfer_leaf
from nocust.messages import active_state_hash
from nocust.passive import passive_tree
from operator_api.locks import ReadWriteLock

logger = logging.getLogger(__name__)

CURSOR_ROWS = 10_000
"""Rows fetched at a time from a query that may return a million."""

NULL = "\\N"
"""A null in PostgreSQL's COPY format."""


class UnbalancedLedgerError(RuntimeError):
    """The wallets' balances do not add up to what the contract holds: no checkpoint is made of that."""


@dataclass(slots=True)
class Leaves:
    """One token's leaves in the making: account nodes, edges, and the rows of the allotments."""

    inner: list[bytes]
    bounds: list[int]
    rows: io.StringIO
    signed_total: int = 0
    overdrawn: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.bounds[-1]


def create_checkpoint(eon: int, head_block: int) -> RootCommitment:
    """Close the ledger of `eon - 1` and commit to it in the checkpoint of `eon`; the caller's transaction.

    All events of blocks before the eon must have been applied. Gives the one that exists when there is one.
    Raises UnbalancedLedgerError when balances and deposits do not add up.
    """
    status = chain_status()
    ReadWriteLock([eon - 1]).write()
    existing = RootCommitment.objects.filter(eon_number=eon).first()
    if existing is not None:
        return existing
    passive_roots = _passive_roots(eon - 1)
    tokens = list(Token.objects.order_by("trail"))
    commitments: list[TokenCommitment] = []
    trees: list[IntervalTree] = []
    overdrawn: list[int] = []
    for token in tokens:
        leaves = _collect(token, eon, passive_roots)
        wallets = len(leaves.inner)
        wallet_bound = leaves.total
        overdrawn += leaves.overdrawn
        _add_unclaimed(token, eon, status, leaves)
        tree = balance_tree(leaves.inner, leaves.bounds)
        _copy_allotments(leaves.rows)
        trees.append(tree)
        commitments.append(
            TokenCommitment(
                token=token,
                merkle_root=tree.root,
                upper_bound=tree.upper_bound,
                wallet_upper_bound=wallet_bound,
                wallet_count=wallets,
                leaf_count=tree.count,
                shortfall=wallet_bound - leaves.signed_total,
            )
        )
    _write_off(overdrawn, eon)
    commitment = _commit(eon, head_block, commitments, trees)
    carried = end_orders(eon - 1)
    Outbox.objects.bulk_create([Outbox(event=Event.SWAP_CONFIRMATION, object_id=row) for row in carried])
    return commitment


def _commit(
    eon: int, head_block: int, commitments: list[TokenCommitment], trees: list[IntervalTree]
) -> RootCommitment:
    roots = token_tree([token_leaf(tree.root, tree.upper_bound) for tree in trees])
    commitment = RootCommitment.objects.create(
        eon_number=eon, merkle_root=roots.root, block=head_block, time=timezone.now()
    )
    for index, token_commitment in enumerate(commitments):
        token_commitment.root_commitment = commitment
        token_commitment.membership_hashes = roots.proof(index)
    TokenCommitment.objects.bulk_create(commitments)
    for token_commitment, tree in zip(commitments, trees, strict=True):
        write(
            "INSERT INTO ledger_treechunk (commitment_id, level, chunk, hashes) VALUES %s",
            list(_chunks(token_commitment.pk, tree)),
        )
    Outbox.objects.create(event=Event.CHECKPOINT_CREATED, object_id=eon)
    notify_outbox()
    logger.info("checkpoint of eon %d: root %s", eon, roots.root.hex())
    return commitment


def _chunks(commitment: int, tree: IntervalTree) -> Iterator[Row]:
    for level, nodes in enumerate(tree.levels):
        for chunk in range(0, len(nodes), CHUNK_HASHES):
            hashes = b"".join(nodes[chunk : chunk + CHUNK_HASHES])
            yield commitment, level, chunk // CHUNK_HASHES, hashes


@contextmanager
def _stream(name: str, statement: str, parameters: list[object]) -> Iterator[Iterable[Row]]:
    """The rows of a large query through a cursor on the server, so that memory does not grow with them. It is
    closed before an error leaves the transaction, where it would be unknown."""
    connection.ensure_connection()
    with connection.connection.cursor(name=name) as cursor:
        cursor.itersize = CURSOR_ROWS
        cursor.execute(statement, parameters)
        yield cursor


def _passive_roots(eon: int) -> dict[int, bytes]:
    """By wallet id, the root of what each wallet received in the eon (`spec/crypto.md` §9, provable form)."""
    roots: dict[int, bytes] = {}
    with _stream(
        "passive",
        "SELECT t.recipient_id, r.trail_identifier, s.address, t.amount, t.nonce, t.position"
        " FROM ledger_transfer t JOIN ledger_wallet s ON s.id = t.wallet_id"
        " JOIN ledger_wallet r ON r.id = t.recipient_id"
        " WHERE t.eon_number = %s AND t.passive AND NOT t.voided ORDER BY t.recipient_id, t.position, t.id",
        [eon],
    ) as rows:
        for recipient, received in groupby(rows, key=itemgetter(0)):
            leaves, bounds = list[bytes](), [0]
            for _, trail, sender, amount, nonce, position in received:
                leaves.append(transfer_leaf(bytes(sender), int(amount), trail, int(nonce), int(position)))
                bounds.append(bounds[-1] + int(amount))
            roots[recipient] = passive_tree(leaves, bounds).root
    return roots


def _collect(token: Token, eon: int, passive_roots: dict[int, bytes]) -> Leaves:
    """The leaves of all wallets that were registered before the eon, in order of trail."""
    leaves = Leaves(inner=[], bounds=[0], rows=io.StringIO())
    with _stream(
        "wallets",
        f'SELECT w.id, w.address, w.trail_identifier, COALESCE({AVAILABLE}, p."right" - p."left", 0),'  # noqa: S608
        " COALESCE(a.received, 0), COALESCE(a.passive_marker, 0), a.active_state_id, s.updated_spendings,"
        " s.updated_gains, s.tx_set_hash FROM ledger_wallet w"
        " LEFT JOIN ledger_account a ON a.wallet_id = w.id AND a.eon_number = %s"
        " LEFT JOIN ledger_exclusivebalanceallotment p ON p.wallet_id = w.id AND p.eon_number = %s"
        " LEFT JOIN ledger_activestate s ON s.id = a.active_state_id"
        " WHERE w.token_id = %s AND w.registration_eon_number < %s ORDER BY w.trail_identifier",
        [eon - 1, eon - 1, token.pk, eon],
    ) as rows:
        for row in rows:
            _add_leaf(leaves, token, eon, row, passive_roots.get(row[0]))
    return leaves


def _add_leaf(leaves: Leaves, token: Token, eon: int, row: Row, passive_root: bytes | None) -> None:
    wallet, holder, trail, funds, received, marker, state, spent, gained, set_hash = row
    if trail != len(leaves.inner):
        raise UnbalancedLedgerError(f"trail {trail} of {token} stands in place {len(leaves.inner)}")
    contract = settings.HUB_LQD_CONTRACT_ADDRESS
    address = bytes(holder)
    checksum = ZERO_HASH
    if state is not None:
        checksum = active_state_hash(
            contract, token.address, address, trail, eon - 1, bytes(set_hash), int(spent), int(gained)
        )
    leaves.inner.append(
        balance_inner_hash(
            contract,
            token.address,
            address,
            passive_root or ZERO_HASH,
            int(received),
            int(marker),
            checksum,
        )
    )
    left = leaves.total
    leaves.signed_total += int(funds)
    if funds < 0:
        # It was requested on chain after it was spent, and nothing cancels that request any more.
        leaves.overdrawn.append(wallet)
    leaves.bounds.append(left + max(int(funds), 0))
    passive = NULL if passive_root is None else f"\\\\x{passive_root.hex()}"
    columns = (wallet, eon, left, leaves.total, passive, received, marker, NULL if state is None else state)
    leaves.rows.write("\t".join(map(str, columns)) + "\n")


def _write_off(wallets: list[int], eon: int) -> None:
    """Let wallets that were below zero begin the eon with nothing, as the checkpoint says: the contract knows no
    debts, and their owners could challenge what is subtracted from their later income."""
    if wallets:
        lock_wallets(sorted(wallets))
        execute(
            "UPDATE ledger_account SET opening = 0 WHERE eon_number = %s AND wallet_id = ANY(%s) AND opening < 0",
            [eon, wallets],
        )


def _add_unclaimed(token: Token, eon: int, status: ChainStatus, leaves: Leaves) -> None:
    """Check that wallets own exactly what the contract holds for them, and give the operator's address a last
    leaf over deposits whose address had not registered, less what was requested without a wallet."""
    first = status.first_block_of(eon)
    (deposits, waiting), (requests, foreign), (written_off,) = (
        fetch(
            "SELECT COALESCE(sum(amount), 0),"
            " COALESCE(sum(amount) FILTER (WHERE wallet_id IS NULL OR eon_number >= %s), 0)"
            " FROM ledger_deposit WHERE token_id = %s AND block < %s",
            [eon, token.pk, first],
        )[0],
        fetch(
            "SELECT COALESCE(sum(amount), 0), COALESCE(sum(amount) FILTER (WHERE wallet_id IS NULL), 0)"
            " FROM ledger_withdrawalrequest"
            " WHERE token_id = %s AND block < %s AND (slashed_eon_number IS NULL OR slashed_eon_number >= %s)",
            [token.pk, first, eon],
        )[0],
        fetch(
            "SELECT COALESCE(sum(shortfall), 0) FROM ledger_tokencommitment WHERE token_id = %s", [token.pk]
        )[0],
    )
    managed = int(deposits) - int(requests) + int(written_off)
    unclaimed = int(waiting) - int(foreign)
    if unclaimed < 0 or leaves.signed_total + unclaimed != managed:
        raise UnbalancedLedgerError(
            f"{token}: wallets own {leaves.signed_total}, {unclaimed} is unclaimed, but deposits less"
            f" withdrawal requests before eon {eon}, {written_off} written off, are {managed}"
        )
    if unclaimed:
        inner = balance_inner_hash(
            settings.HUB_LQD_CONTRACT_ADDRESS,
            token.address,
            settings.HUB_OWNER_ACCOUNT_ADDRESS,
            ZERO_HASH,
            0,
            0,
            ZERO_HASH,
        )
        leaves.inner.append(inner)
        leaves.bounds.append(leaves.total + unclaimed)


def _copy_allotments(rows: io.StringIO) -> None:
    rows.seek(0)
    with connection.cursor() as cursor:
        cursor.cursor.copy_expert(
            'COPY ledger_exclusivebalanceallotment (wallet_id, eon_number, "left", "right", passive_checksum,'
            " passive_amount, passive_marker, active_state_id) FROM STDIN",
            rows,
        )
