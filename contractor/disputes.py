"""Winning the challenges that the hub is right in, without anybody's help.

Each open challenge has a transaction in the queue, whose call is derived when it is sent (`contractor.builders`).
It is won once the contract's record is empty at a block that is as deep as the confirmations and applied. An
answer that is on its way or mined in the newest blocks proves nothing yet, nor does what a node says while it is
on a branch that the hub does not follow. A record that is still live although its answer was mined, since a
challenge of the other party about the same transfer took it, gets another one.
"""

from __future__ import annotations

import logging

from django.conf import settings
from django.db import transaction

from contractor.alarms import clear_alarm, raise_alarm
from contractor.chain import chain, is_known_branch
from contractor.conduits import subject
from contractor.errors import ChainError
from contractor.interface import ChallengeEntry, ChallengeKind, Contract
from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue
from contractor.turns import each
from ledger.models import ChainStatus, Challenge
from nocust.addresses import to_checksum

logger = logging.getLogger(__name__)

State = EthereumTransaction.State


def step() -> int:
    """Look after every open challenge: have it answered, note that it is won, tell when it is at risk or lost.
    Returns how many answers were queued. Raises NodeError when the node does not answer."""
    status, parameters = ChainStatus.objects.first(), ContractParameters.objects.first()
    if status is None or parameters is None or status.halted:
        return 0
    rows = open_challenges(status)
    if not rows:
        return 0
    contract = chain()
    head = contract.node.head().number
    return each(rows, lambda row: _look_after(contract, status, parameters, row, head))


def open_challenges(status: ChainStatus) -> list[Challenge]:
    """Those that are neither won nor so old that the eon after them decided."""
    return list(Challenge.objects.filter(rebuted=False, eon_number__gte=status.eon - 1).order_by("id"))


def answers(challenge: Challenge) -> list[EthereumTransaction]:
    """The transactions that answer a challenge, oldest first: one, unless the first answered another."""
    tags = f"answer/{challenge.pk}/"
    return list(EthereumTransaction.objects.filter(tag__startswith=tags).order_by("id"))


def describe(challenge: Challenge) -> str:
    """A challenge in words for the operator."""
    sender, recipient = to_checksum(challenge.sender), to_checksum(challenge.recipient)
    parties = sender if sender == recipient else f"{sender} to {recipient}"
    return f"challenge {challenge.pk} (block {challenge.block}, {parties} in {subject(challenge.token)})"


def _look_after(
    contract: Contract, status: ChainStatus, parameters: ContractParameters, row: Challenge, head: int
) -> bool:
    """Whether an answer was queued. No challenge's trouble reaches another one."""
    try:
        with transaction.atomic():
            queued = _settle_or_answer(contract, row, head, status.confirmed_block)
    except ChainError:
        _warn(parameters, row, head)
        raise
    except Exception as error:
        logger.exception("%s", describe(row))
        text = f"{describe(row)}: {type(error).__name__}: {error}"
        raise_alarm("challenge unanswerable", text, key=str(row.pk))
        queued = False
    _warn(parameters, row, head)
    return queued


def _settle_or_answer(contract: Contract, row: Challenge, head: int, applied: int) -> bool:
    """`applied` is the newest block whose events are."""
    sent = answers(row)
    answering = any(one.state in (State.QUEUED, State.SENT) and not _is_mined(one) for one in sent)
    if answering and row.by_sender is not None:
        return False
    deep = head - settings.HUB_LQD_CONTRACT_CONFIRMATIONS
    if deep < row.block:
        return False
    found = _find(contract, row, deep)
    if (found is None or row.by_sender is None) and not _holds(contract, row, found, deep, applied):
        return False
    if found is None:
        row.rebuted = True
        if deep <= applied:  # only then a fork that took the answer away would be noticed
            row.save(update_fields=["rebuted"])
            logger.info("%s is won", describe(row))
        return False
    if row.by_sender is None:
        row.by_sender = found[0]
        row.save(update_fields=["by_sender"])
    if answering or head >= row.deadline or _find(contract, row, None) is None:
        return False
    queue("answerChallenge", {"challenge": row.pk}, tag=f"answer/{row.pk}/{len(sent) + 1}")
    return True


Record = tuple[bool, ChallengeEntry]
"""Whether the sender opened it, and what the contract says."""


def _find(contract: Contract, row: Challenge, block: int | None) -> Record | None:
    """The contract's live record of the challenge at a block, or None. Where nobody knows yet who opened it, both
    sides are asked: of two opened in one block, each row takes one."""
    sides = [row.by_sender] if row.by_sender is not None else [False, True]
    if row.sender == row.recipient:
        sides = [False]
    taken = Challenge.objects.filter(
        token=row.token, sender=row.sender, recipient=row.recipient, block=row.block, by_sender__isnull=False
    ).exclude(pk=row.pk)
    others = set(taken.values_list("by_sender", flat=True))
    for by_sender in sides:
        if by_sender in others:
            continue
        entry = contract.challenge(row.token, row.sender, row.recipient, by_sender, block)
        if entry.kind != ChallengeKind.NONE and entry.open_block == row.block:
            return by_sender, entry
    return None


def _holds(contract: Contract, row: Challenge, found: Record | None, deep: int, applied: int) -> bool:
    """Whether what was found at block `deep` is so on the branch that the hub follows, and not on another one where
    the node was for a while: it may have come back since, so the record is read once more."""
    return is_known_branch(contract, min(deep, applied)) and _find(contract, row, deep) == found


def _is_mined(answer: EthereumTransaction) -> bool:
    """Whether the contract took it, in whatever block."""
    return answer.attempts.filter(mined__isnull=False, succeeded=True).exists()


def _warn(parameters: ContractParameters, row: Challenge, head: int) -> None:
    """Tell while somebody can still do something, and when nobody can any more."""
    newest = answers(row)[-1:]
    if row.rebuted or any(_is_mined(one) for one in newest):
        clear_alarm("challenge unanswerable", str(row.pk))
        clear_alarm("challenge at risk", str(row.pk))
        return
    left = row.deadline - head
    if left > risk_blocks(parameters):
        return
    note = "".join(f": {one.note}" for one in newest if one.note)
    if left > 0:
        text = f"{describe(row)} must be answered by block {row.deadline}{note}"
        raise_alarm("challenge at risk", text, key=str(row.pk))
    else:
        text = f"{describe(row)} was not answered by block {row.deadline}{note}"
        raise_alarm("challenge lost", text, key=str(row.pk))


def risk_blocks(parameters: ContractParameters) -> int:
    """Blocks before the deadline from which an unanswered challenge is at risk."""
    return settings.HUB_CHALLENGE_RISK_BLOCKS or parameters.blocks_per_epoch // 3
