"""Paying withdrawals that are mature."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue
from ledger.models import ChainStatus, WithdrawalRequest


def confirm_due_withdrawals() -> int:
    """Queue the payment of all requests that are mature by the contract's rule, however old: one transaction a
    holder and token. Returns how many were queued."""
    status, parameters = ChainStatus.objects.first(), ContractParameters.objects.first()
    if status is None or parameters is None or status.halted:
        return 0
    due = (
        WithdrawalRequest.objects.filter(
            slashed=False,
            withdrawal__isnull=True,
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
    return _queue_new("confirmWithdrawal", payments)


def _queue_new(kind: str, wanted: dict[str, dict[str, object]]) -> int:
    known = set(EthereumTransaction.objects.filter(tag__in=list(wanted)).values_list("tag", flat=True))
    fresh = {tag: arguments for tag, arguments in wanted.items() if tag not in known}
    with transaction.atomic():
        for tag, arguments in fresh.items():
            queue(kind, arguments, tag=tag)
    return len(fresh)
