"""The checkpoint of an eon: who owned what when the eon before it ended (`spec/crypto.md` §10, §11).

Balances are read set-wise, the trees built as they are read, and leaves and levels stored once; proofs are derived
from them when they are asked for. It all happens in one transaction, so it can be killed anywhere and begun again.

Who writes to the eon that has begun goes on meanwhile. What could stop them comes last: the locks on wallets, after
everything whose time depends on how many wallets there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.utils import timezone

from ledger.accounts_sql import lock_wallets
from ledger.allotments import Allotments, passive_roots, read_wallets
from ledger.carry_over import end_orders
from ledger.managed import managed
from ledger.models import Event, Outbox, RootCommitment, Token, TokenCommitment
from ledger.sql import execute
from ledger.store import chain_status, notify_outbox
from nocust.balances import token_leaf, token_tree
from operator_api.locks import ReadWriteLock

logger = logging.getLogger(__name__)


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
    roots = passive_roots(eon - 1)
    commitments: list[TokenCommitment] = []
    overdrawn: list[int] = []
    for token in Token.objects.order_by("trail"):
        allotments = Allotments(token, eon)
        for rows in read_wallets(token, eon):
            allotments.add(rows, roots)
        commitments.append(allotments.finish(managed(token, eon, status)))
        overdrawn += allotments.overdrawn
    commitment = _commit(eon, head_block, commitments)
    _write_off(overdrawn, eon)
    carried = end_orders(eon - 1)
    Outbox.objects.bulk_create([Outbox(event=Event.SWAP_CONFIRMATION, object_id=row) for row in carried])
    return commitment


def _commit(eon: int, head_block: int, commitments: Sequence[TokenCommitment]) -> RootCommitment:
    roots = token_tree([token_leaf(row.merkle_root, row.upper_bound) for row in commitments])
    commitment = RootCommitment.objects.create(
        eon_number=eon, merkle_root=roots.root, block=head_block, time=timezone.now()
    )
    for index, row in enumerate(commitments):
        row.root_commitment = commitment
        row.membership_hashes = roots.proof(index)
    TokenCommitment.objects.bulk_create(commitments)
    Outbox.objects.create(event=Event.CHECKPOINT_CREATED, object_id=eon)
    notify_outbox()
    logger.info("checkpoint of eon %d: root %s", eon, roots.root.hex())
    return commitment


def _write_off(wallets: list[int], eon: int) -> None:
    """Let wallets that were below zero begin the eon with nothing, as the checkpoint says: the contract knows no
    debts, and their owners could challenge what is subtracted from their later income."""
    if wallets:
        lock_wallets(sorted(wallets))
        execute(
            "UPDATE ledger_account SET opening = 0 WHERE eon_number = %s AND wallet_id = ANY(%s) AND opening < 0",
            [eon, wallets],
        )
