"""Payments of withdrawals whose events the node left out.

The contract has no running hash of payments, but pays nothing twice: if as of the newest applied block it has
nothing to pay for requests that were mature for long, it has paid them. Left alone, the next payment of the holder
would settle the old requests instead of its own.
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
"""Eons that are read again from the first in which a request could be paid: the hub pays it at once."""


def find_unseen(contract: Contract, token: bytes, holder: bytes) -> bool:
    """Book what the contract paid the holder and the ledger does not know, if the node gives the events now.
    Whether there is still something after that. Raises NodeError."""
    status = ChainStatus.objects.get()
    mature = status.eon_of(status.confirmed_block) - SURELY_MATURE
    due = WithdrawalRequest.objects.filter(
        token__address=token, address=holder, slashed=False, paid=False, eon_number__lte=mature
    )
    oldest = due.order_by("eon_number").first()
    if status.forked or oldest is None or _is_payable(contract, status, token, holder):
        return False
    first = status.first_block_of(oldest.eon_number + 2)
    last = min(status.first_block_of(oldest.eon_number + 2 + EONS_READ) - 1, status.confirmed_block)
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


def _is_payable(contract: Contract, status: ChainStatus, token: bytes, holder: bytes) -> bool:
    """Whether the contract has something to pay as of the newest applied block. True too when the node has no state
    of it: then nothing is proven."""
    sender = settings.HUB_OWNER_ACCOUNT_ADDRESS
    try:
        return contract.payable_now(token, holder, sender, block=status.confirmed_block) > 0
    except NodeRefusedError:
        return True
