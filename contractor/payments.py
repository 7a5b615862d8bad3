"""Payments of withdrawals whose events the node left out.

The contract has no running hash of payments, but pays nothing twice: if as of the newest applied block it has less
to pay than the requests that were mature for long sum up to, it has paid some of them. Left alone, they
would be due for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import accumulate

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from contractor import cross_check, effects, events
from contractor.errors import NodeRefusedError
from contractor.interface import Contract
from contractor.models import ContractParameters
from ledger.models import ChainStatus, WithdrawalRequest

logger = logging.getLogger(__name__)

SURELY_MATURE = 3
"""Eons after which a request can be paid whatever the block and the checkpoints (`spec/contract.md` §1)."""
EONS_READ = 3
"""Eons that are read again at a time, from the first in which a request could be paid: the hub pays it at once. The
ones after them are read the next time, and so on: who is paid while the hub is away waits for long."""

_next: dict[tuple[bytes, bytes], tuple[int, int]] = {}
"""By token and holder, the eon of the oldest request that is due, and the first eon to be read next for it."""


def find_unseen(contract: Contract, token: bytes, holder: bytes) -> bool:
    """Book what the contract paid the holder and the ledger does not know, if the node gives the events now.
    Whether there is still something after that. Raises NodeError."""
    status = ChainStatus.objects.get()
    mature = status.eon_of(status.confirmed_block) - SURELY_MATURE
    due = WithdrawalRequest.objects.filter(
        token__address=token, address=holder, slashed=False, paid=False, eon_number__lte=mature
    )
    oldest = due.order_by("eon_number").first()
    amount = int(due.aggregate(total=Sum("amount"))["total"] or 0)
    if status.forked or oldest is None or _can_pay(contract, status, token, holder, amount):
        return False
    first, last = _stretch(status, (token, holder), oldest.eon_number)
    found = [
        event
        for event in effects.not_booked(cross_check.read_again(contract, status, first, last))
        if isinstance(event, events.WithdrawalConfirmation)
        and (event.token, event.requestor) == (token, holder)
        and event.amount
    ]
    if not _is_what_was_due(found, token, holder):
        return True
    with transaction.atomic():
        current = ChainStatus.objects.select_for_update().get(pk=status.pk)
        if current.forked or current.confirmed_block != status.confirmed_block:
            return False
        effects.apply_events(found, current, ContractParameters.objects.get())
    logger.warning("%s payments to 0x%s were missing and are booked now", len(found), holder.hex())
    return due.exists()


def _stretch(status: ChainStatus, pair: tuple[bytes, bytes], requested: int) -> tuple[int, int]:
    """The blocks to read again now, for requests of the eon `requested` and later: after the newest applied block
    the first ones again."""
    before, begin = _next.get(pair, (requested, requested + 2))
    if before != requested or status.first_block_of(begin) > status.confirmed_block:
        begin = requested + 2
    _next[pair] = requested, begin + EONS_READ
    last = status.first_block_of(begin + EONS_READ) - 1
    return status.first_block_of(begin), min(last, status.confirmed_block)


def _is_what_was_due(found: Sequence[events.WithdrawalConfirmation], token: bytes, holder: bytes) -> bool:
    """Whether payments that were not booked, in the chain's order, sum up to the oldest requests that are not
    settled: each payment takes all requests of the eons up to one."""
    if not found:
        return False
    mature = ContractParameters.objects.get().matured_eon(found[-1].place.block)
    waiting = WithdrawalRequest.objects.filter(
        token__address=token, address=holder, slashed=False, paid=False, eon_number__lte=mature
    )
    sums = waiting.order_by("eon_number").values("eon_number").annotate(total=Sum("amount"))
    return sum(event.amount for event in found) in accumulate(int(row["total"]) for row in sums)


def _can_pay(contract: Contract, status: ChainStatus, token: bytes, holder: bytes, amount: int) -> bool:
    """Whether the contract has as much to pay as of the newest applied block. True too when the node has no state
    of it: then nothing is proven."""
    sender = settings.HUB_OWNER_ACCOUNT_ADDRESS
    try:
        return contract.payable_now(token, holder, sender, block=status.confirmed_block) >= amount
    except NodeRefusedError:
        return True
