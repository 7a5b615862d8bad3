"""Undoing what derives from blocks that left the chain. Everything that does is named here and nowhere else.

Effects of events are applied at the configured depth only, so an ordinary reorganisation finds nothing in the
ledger to undo: no deposit was credited, no request debited, no challenge noted. What derives from blocks that may
still be replaced is what `undo` changes. The tables in `APPLIED` derive from blocks that are as deep as the
confirmations; a fork that reaches those stops the hub until `contractor.forks` has matched them with the new
branch.
"""

from __future__ import annotations

import logging

from django.db import models

from contractor.models import Accumulator, ContractState, EthereumTransactionAttempt
from ledger.models import Challenge, Deposit, Event, Reorganisation, Withdrawal, WithdrawalRequest
from ledger.store import tell

logger = logging.getLogger(__name__)

UNDONE: dict[type[models.Model], str] = {
    ContractState: "block",
    EthereumTransactionAttempt: "mined",
    Accumulator: "block",
}
"""The tables whose rows derive from blocks of any depth, or are made again as the blocks are read again, with the
column that names the block."""

APPLIED: dict[type[models.Model], str] = {
    Deposit: "block",
    WithdrawalRequest: "block",
    Withdrawal: "block",
    Challenge: "block",
}
"""The tables whose rows derive from events, which are deep enough. They carry accounts, delegated withdrawals and
the outbox along."""


def undo(first_block: int, head_hash: bytes, deep: bool = False) -> int:
    """Forget what blocks from `first_block` on left behind, inside the caller's transaction, and note that it
    happened; `head_hash` is the newest block of the branch that won. Returns how many known blocks were replaced,
    0 for none."""
    abandoned = list(
        ContractState.objects.filter(block__gte=first_block)
        .order_by("block")
        .values_list("block_hash", flat=True)
    )
    if not abandoned:
        return 0
    ContractState.objects.filter(block__gte=first_block).delete()
    Accumulator.objects.filter(block__gte=first_block).delete()
    # The sender asks for the receipts again and decides on what it finds then.
    EthereumTransactionAttempt.objects.filter(mined__gte=first_block).update(mined=None, succeeded=None)
    note = Reorganisation.objects.create(
        first_block=first_block,
        blocks=len(abandoned),
        abandoned_hash=abandoned[-1],
        head_hash=head_hash,
        deep=deep,
    )
    tell((Event.REORGANISATION, note.pk))
    logger.warning(
        "the chain reorganised: %s blocks from %s on were replaced; 0x%s is the newest now",
        len(abandoned),
        first_block,
        head_hash.hex(),
    )
    return len(abandoned)
