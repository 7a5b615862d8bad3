"""When a checkpoint is made, and that it gets to the chain."""

from __future__ import annotations

from django.db import transaction

from contractor.transactions import queue
from ledger.checkpoint import create_checkpoint
from ledger.models import ChainStatus, RootCommitment, Token


def create_due_checkpoint() -> int:
    """Make the latest eon's checkpoint, if there is none and all events of the eon before are applied, and queue
    its submission in the same transaction. Returns how many were made, 0 or 1.

    Raises what `ledger.checkpoint.create_checkpoint` raises; then nothing is kept.
    """
    status = ChainStatus.objects.first()
    if status is None or not is_due(status):
        return 0
    eon = status.eon
    with transaction.atomic():
        commitment = create_checkpoint(eon, status.head_block)
        queue("submitCheckpoint", {"eon": eon, "root": commitment.merkle_root.hex()}, tag=f"checkpoint/{eon}")
    return 1


def is_due(status: ChainStatus) -> bool:
    """Whether the latest eon's checkpoint can and should be made now."""
    eon = status.eon
    if RootCommitment.objects.filter(eon_number=eon).exists():
        return False
    if eon <= 1:
        return eon == 1 and Token.objects.exists()
    return status.confirmed_block >= status.first_block_of(eon) - 1
