"""When a checkpoint is made, and that it gets to the chain."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import Min

from contractor import cross_check
from contractor.alarms import raise_alarm
from contractor.chain import chain
from contractor.errors import NodeError
from contractor.slashing import awaits_cancellation, give_up_cancelling, is_cancelling, slash_overdrawn
from contractor.transactions import queue
from ledger.checkpoint import create_checkpoint
from ledger.models import ChainStatus, Challenge, RootCommitment, Token
from nocust.addresses import to_checksum
from operator_api.locks import ReadWriteLock
from restoration.holds import bars_checkpoint

logger = logging.getLogger(__name__)

LONGEST_WAIT = 2
"""Nothing that could still be given up delays a checkpoint beyond the eon's length divided by this."""
ANSWER_TIME = 8
"""Nor beyond this part of the eon before the last block in which an open challenge can be answered with it: the
first is opened just after a quarter of the eon, and lost a quarter later."""


def create_due_checkpoint() -> int:
    """Make the latest eon's checkpoint, if there is none and all events of the eon before are applied, and queue
    its submission in the same transaction. Returns how many were made, 0 or 1.

    Requests of the eon before that take more than there was are cancelled first: the checkpoint would promise more
    than the contract holds, and once it is submitted the contract cancels them no more.

    So is one whose events are not those that the contract counted (`contractor.cross_check`): the contract does not
    notice, but it could not be defended. Half an eon is left for an operator to help, less where a challenge has to
    be answered; then it is made all the same, since without it the contract halts.

    Raises NodeError, and what `ledger.checkpoint.create_checkpoint` raises; then nothing is kept.
    """
    status = ChainStatus.objects.first()
    if status is None or not is_due(status) or not _events_known(status) or _must_wait(status):
        return 0
    eon = status.eon
    with transaction.atomic():
        ReadWriteLock([eon - 1]).write()  # no cancellation is sent from now on
        give_up_cancelling(eon - 1)
        if is_cancelling(eon - 1):  # sent since it was asked
            transaction.set_rollback(True)
            return 0
        commitment = create_checkpoint(eon, status.head_block)
        _tell_shortfalls(commitment)
        queue("submitCheckpoint", {"eon": eon, "root": commitment.merkle_root.hex()}, tag=f"checkpoint/{eon}")
    return 1


def _tell_shortfalls(commitment: RootCommitment) -> None:
    for row in commitment.tokens.filter(shortfall__gt=0).select_related("token"):
        raise_alarm(
            "overdraft",
            f"checkpoint {commitment.eon_number} allots {row.shortfall} of {to_checksum(row.token.address)} more"
            " than the contract holds: it will refuse every proof of this token until that is sent there without a"
            " deposit",
        )


def is_due(status: ChainStatus) -> bool:
    """Whether the latest eon's checkpoint is missing and everything it covers is known. After a deep fork the
    ledger is of another chain than the contract, so none is made until that is resolved."""
    eon = status.eon
    if status.forked or RootCommitment.objects.filter(eon_number=eon).exists() or bars_checkpoint(eon):
        return False
    if eon <= 1:
        return eon == 1 and Token.objects.exists()
    return status.confirmed_block >= status.first_block_of(eon) - 1


def _events_known(status: ChainStatus) -> bool:
    """Whether the ledger has what the contract has, or nothing else can be done any more. Not asked for an eon that
    is over: its checkpoint goes nowhere."""
    newest = status.head_block if status.node_block is None else status.node_block
    if status.eon <= 1 or status.halted or status.eon_of(newest) > status.eon:
        return True
    contract = chain()
    try:
        if cross_check.events_agree(contract, status, status.eon - 1):
            return True
        if _is_late(status):
            cross_check.give_in(contract, status, status.eon - 1)
            return True
    except NodeError:
        if not _is_late(status):
            raise
        return True
    return False


def _is_late(status: ChainStatus) -> bool:
    if status.head_block - status.first_block_of(status.eon) > status.blocks_per_eon // LONGEST_WAIT:
        return True
    needing = Challenge.objects.filter(eon_number=status.eon, rebuted=False)
    deadline: int | None = needing.aggregate(first=Min("deadline"))["first"]
    return deadline is not None and deadline - status.head_block <= status.blocks_per_eon // ANSWER_TIME


def _must_wait(status: ChainStatus) -> bool:
    """Whether cancellations are to take effect first. A problem with them does not keep the checkpoint back; one
    that was sent already does, since it is mined before the checkpoint can be."""
    try:
        with transaction.atomic():
            slash_overdrawn()
            waiting, sent = awaits_cancellation(status.eon - 1), is_cancelling(status.eon - 1)
    except Exception as error:
        logger.exception("cancelling withdrawals failed")
        raise_alarm("task failed", f"cancelling withdrawals: {type(error).__name__}: {error}")
        return False
    late = _is_late(status)
    if waiting and late:
        raise_alarm("late cancellation", f"checkpoint {status.eon} is late because of cancellations")
    return waiting and (sent or not late)
