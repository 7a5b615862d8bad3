"""The queue of what the operator wants done on chain. Rows are queued in the transaction that decides on them; the
sender (`contractor.sender`) builds, signs and watches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from contractor.models import EthereumTransaction

PRIORITY = {
    "submitCheckpoint": 0,
    "slashWithdrawal": 1,
    "answerChallenge": 2,
    "registerERC20": 3,
    "requestDelegatedWithdrawal": 4,
    "confirmWithdrawal": 5,
    "claimFees": 6,
}
"""The kinds of transaction and which goes first; within a kind, what was queued first. Arguments:

submitCheckpoint: eon, root (64 hexadecimal digits). slashWithdrawal: wallet (row id), oldest_eon (of the requests
that have to be cancelled). answerChallenge: challenge (row id). registerERC20: token (40 hexadecimal digits).
requestDelegatedWithdrawal: delegated_withdrawal (row id). confirmWithdrawal: token, holder, newest_request (row
id). claimFees: none.
"""

URGENT = {kind for kind, place in PRIORITY.items() if place <= PRIORITY["answerChallenge"]}
"""Kinds that have to be mined in time, or the contract halts or pays what it should not."""


def queue(kind: str, arguments: dict[str, Any], tag: str) -> EthereumTransaction:
    """Have a transaction sent, once for each `tag`; it is sent after the caller's transaction commits, and not at
    all when that fails. `arguments` are JSON. Raises ValueError for an unknown kind or outside a transaction."""
    if kind not in PRIORITY:
        raise ValueError(f"there is no transaction of kind {kind!r}")
    if not connection.in_atomic_block:
        raise ValueError("a transaction is queued inside transaction.atomic() only")
    row, _ = EthereumTransaction.objects.get_or_create(
        tag=tag, defaults={"kind": kind, "arguments": arguments}
    )
    return row


def in_turn(rows: Sequence[EthereumTransaction]) -> list[EthereumTransaction]:
    """The rows in another order: the first of each kind, the most urgent one before, then the second of each. Many
    of a kind that have to wait, as cancellations do for the checkpoint and that for answers, leave the others room.
    """
    seen: Counter[str] = Counter()
    places: dict[int, int] = {}
    for row in rows:
        places[row.pk] = seen[row.kind]
        seen[row.kind] += 1
    return sorted(rows, key=lambda row: (places[row.pk], PRIORITY[row.kind]))


def unmined(used: int) -> int:
    """How many are on their way and not mined, where the operator's nonces below `used` are: the node may have no
    receipt of what it has mined."""
    return EthereumTransaction.objects.filter(state=EthereumTransaction.State.SENT, nonce__gte=used).count()


def queue_again(row: EthereumTransaction, note: str, seconds: float = 0) -> None:
    """Have a transaction built and sent anew, under another nonce, in `seconds` at the earliest."""
    row.state, row.nonce, row.missing_since, row.note = EthereumTransaction.State.QUEUED, None, None, note
    row.retry_at = timezone.now() + timedelta(seconds=seconds)
    row.save()
