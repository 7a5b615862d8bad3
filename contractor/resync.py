"""Reading blocks again at the operator's wish: whether everything that the contract did in them is booked.

What is missing of an eon that is open yet is taken in, if the contract's own count then agrees (`cross_check.py`).
An eon whose ledger is closed never changes: there a difference is an alarm. An eon is read at a time, in the
follower's turn, and the row says how far it is, so that a restart goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from contractor import cross_check, effects, events
from contractor.alarms import raise_alarm
from contractor.chain import chain
from contractor.events import ContractEvent
from contractor.interface import Contract
from contractor.models import Resync
from ledger.models import ChainStatus, Challenge, Deposit, RootCommitment, Token, WithdrawalRequest

logger = logging.getLogger(__name__)


class ResyncError(Exception):
    """Why the blocks are not read again."""


@dataclass(frozen=True, slots=True)
class Found:
    """The events of some blocks, and how the ledger differs from them, in numbers."""

    read: int
    missing: int
    taken_in: int
    invented: int
    """Booked, but in no block."""


def ask(first: int) -> Resync:
    """Have the blocks from `first` up to the newest applied one read again. Raises ResyncError."""
    status = ChainStatus.objects.select_for_update().first()
    if status is None:
        raise ResyncError("the hub has not read the chain yet")
    if first < 0:
        raise ResyncError("blocks are counted from 0")
    first = max(first, status.genesis_block)
    if first > status.confirmed_block:
        raise ResyncError(f"block {first} is not applied yet; {status.confirmed_block} is the newest that is")
    if Resync.objects.filter(ended__isnull=True).exists():
        raise ResyncError("blocks are being read again already")
    return Resync.objects.create(first=first, last=status.confirmed_block, next=first)


def run() -> int:
    """Go on with what the operator asked for, by an eon. How many events were read. Raises NodeError."""
    row = Resync.objects.filter(ended__isnull=True).order_by("id").first()
    if row is None:
        return 0
    status = ChainStatus.objects.get()
    eon = status.eon_of(row.next)
    last = min(status.first_block_of(eon + 1) - 1, row.last, status.confirmed_block)
    if last < row.next:
        return 0  # a deep fork set the ledger back: these blocks are not applied yet
    found = _read(chain(), status, eon, row.next, last)
    row.next = last + 1
    row.read += found.read
    row.missing += found.missing
    row.taken_in += found.taken_in
    row.invented += found.invented
    if row.next > row.last:
        row.ended = timezone.now()
        logger.info("%s", row)
    row.save()
    return found.read


def _read(contract: Contract, status: ChainStatus, eon: int, first: int, last: int) -> Found:
    found = cross_check.read_again(contract, status, first, last)
    missing = _missing(found)
    taken_in = 0
    closed = RootCommitment.objects.filter(eon_number__gt=eon).exists()
    if missing and not closed and cross_check.take_in(contract, status, eon):
        taken_in = len(missing) - len(_missing(found))
    invented = _invented(found, first, last)
    if invented or taken_in < len(missing):
        raise_alarm(
            "events differ",
            f"of blocks {first} to {last}, {len(missing) - taken_in} events are not booked and {invented} that are"
            " booked are in no block",
            key=str(eon),
        )
    return Found(len(found), len(missing), taken_in, invented)


def _missing(found: Sequence[ContractEvent]) -> list[ContractEvent]:
    """Events that leave a row, and left none."""
    tokens = {bytes(address) for address in Token.objects.values_list("address", flat=True)}
    booking = [
        event
        for event in found
        if isinstance(event, events.ChallengeIssued)
        or (isinstance(event, events.Deposit | events.WithdrawalRequest) and event.token in tokens)
    ]
    return effects.not_booked(booking)


def _invented(found: Sequence[ContractEvent], first: int, last: int) -> int:
    places = {(event.place.txid, event.place.log_index) for event in found}
    rows = [
        (bytes(txid), log_index)
        for model in (Deposit, WithdrawalRequest, Challenge)
        for txid, log_index in model.objects.filter(
            block__gte=first, block__lte=last, log_index__gte=0
        ).values_list("txid", "log_index")
    ]
    return sum(row not in places for row in rows)
