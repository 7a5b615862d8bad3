"""Paying withdrawals that are mature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Q

from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue, queue_again
from ledger.models import ChainStatus, WithdrawalRequest

FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 86_400
"""A payment that was mined without paying costs gas each time: the second follows soon, later ones once a day."""

State = EthereumTransaction.State


def confirm_due_withdrawals() -> int:
    """Queue the payment of all requests that are mature by the contract's rule, however old: one transaction a
    holder and token. One that ended without paying, or whose payment a fork took back, is queued again, at a rate
    that falls. Returns how many were queued."""
    status, parameters = ChainStatus.objects.first(), ContractParameters.objects.first()
    if status is None or parameters is None or status.halted:
        return 0
    due = (
        WithdrawalRequest.objects.filter(
            slashed=False,
            paid=False,
            eon_number__lte=parameters.matured_eon(status.head_block),
        )
        .order_by()
        .values_list("token__address", "address")
        .annotate(newest=Max("id"))
    )
    payments: dict[str, dict[str, object]] = {
        f"confirm-withdrawal/{token.hex()}/{holder.hex()}/{newest}": {
            "token": token.hex(),
            "holder": holder.hex(),
            "newest_request": newest,
        }
        for token, holder, newest in due
    }
    return _queue(payments) if payments else 0


def _queue(payments: Mapping[str, dict[str, Any]]) -> int:
    """A row is final only once the events of its block are applied, so one that is final and due did not pay."""
    known = dict(EthereumTransaction.objects.filter(tag__in=list(payments)).values_list("tag", "state"))
    ended = [tag for tag, state in known.items() if state not in (State.QUEUED, State.SENT)]
    with transaction.atomic():
        for tag in payments.keys() - known.keys():
            queue("confirmWithdrawal", payments[tag], tag=tag)
        mined = Count("attempts", filter=Q(attempts__mined__isnull=False))
        for row in EthereumTransaction.objects.filter(tag__in=ended).annotate(mined=mined):
            queue_again(row, "what is due was not paid", seconds=retry_seconds(row.mined))
    return len(payments) - len(known) + len(ended)


def retry_seconds(mined: int) -> int:
    """How long to wait after so many transactions that were mined and paid nothing."""
    if mined == 0:
        return 0
    return min(FIRST_RETRY_SECONDS << min(mined - 1, 32), LONGEST_RETRY_SECONDS)
