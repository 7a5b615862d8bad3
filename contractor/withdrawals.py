"""Paying withdrawals that are mature, and cancelling those that take more than there is."""

from __future__ import annotations

from collections import defaultdict

from django.db import transaction
from django.db.models import Max

from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue
from ledger.accounts_sql import load_accounts
from ledger.directory import owner_of
from ledger.models import (
    ChainStatus,
    MinimumAvailableBalance,
    RootCommitment,
    Wallet,
    WithdrawalRequest,
)

PATIENCE = 3
"""Refusals of a cancellation after which nobody waits for it any more."""
SLASHABLE_MARKER_EONS = 3
"""A marker cancels requests up to this many eons, its own included (`spec/contract.md` §4)."""


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


def slash_overdrawn() -> int:
    """Queue the cancellation of requests that take more than their wallets have left, where the owner signed a
    balance marker that proves it. Returns how many were queued.

    The contract cancels requests of the eon before only until the latest eon's checkpoint is submitted.
    """
    status = ChainStatus.objects.first()
    if status is None:
        return 0
    eon = status.eon
    closed = RootCommitment.objects.filter(eon_number=eon).exists()
    requests: dict[int, list[WithdrawalRequest]] = defaultdict(list)
    for request in WithdrawalRequest.objects.filter(
        slashed=False, withdrawal__isnull=True, wallet__isnull=False, eon_number__gte=eon - 1
    ).order_by("id"):
        assert request.wallet_id is not None
        requests[request.wallet_id].append(request)
    slashes: dict[str, dict[str, object]] = {}
    for row in _overdrawn(list(requests), [eon] if closed else [eon - 1, eon]):
        made = requests[row.pk]
        marker = _smallest_marker(row.pk, eon)
        cancellable = [request.eon_number for request in made if not closed or request.eon_number == eon]
        if marker is None or marker.amount >= sum(request.amount for request in made) or not cancellable:
            continue
        slashes[f"slash/{row.pk}/{eon}/{made[-1].pk}"] = {
            "token": row.token.address.hex(),
            "holder": row.address.hex(),
            "eon": eon,
            "oldest_eon": min(cancellable),
            "marker_eon": marker.eon_number,
            "amount": str(marker.amount),
            "signature": marker.signature.hex(),
        }
    return _queue_new("slashWithdrawal", slashes)


def awaits_cancellation(eon: int) -> bool:
    """Whether cancellations of requests of `eon` are on their way, after which its ledger can be closed. Those that
    the contract keeps refusing are not waited for."""
    State = EthereumTransaction.State
    return EthereumTransaction.objects.filter(
        kind="slashWithdrawal",
        state__in=[State.QUEUED, State.SENT],
        arguments__oldest_eon__lte=eon,
        refusals__lt=PATIENCE,
    ).exists()


def _overdrawn(wallets: list[int], eons: list[int]) -> list[Wallet]:
    """Those of the wallets that ended one of the eons, or stand in it, below zero."""
    if not wallets:
        return []
    rows = {row.pk: row for row in Wallet.objects.filter(pk__in=wallets).select_related("token")}
    accounts = load_accounts({key: owner_of(row) for key, row in rows.items()}, eons)
    negative = {wallet for (wallet, _), account in accounts.items() if account.available < 0}
    return [row for key, row in sorted(rows.items()) if key in negative]


def _smallest_marker(wallet: int, eon: int) -> MinimumAvailableBalance | None:
    markers = MinimumAvailableBalance.objects.filter(
        wallet_id=wallet, eon_number__gt=eon - SLASHABLE_MARKER_EONS, eon_number__lte=eon
    )
    return markers.order_by("amount").first()


def _queue_new(kind: str, wanted: dict[str, dict[str, object]]) -> int:
    known = set(EthereumTransaction.objects.filter(tag__in=list(wanted)).values_list("tag", flat=True))
    fresh = {tag: arguments for tag, arguments in wanted.items() if tag not in known}
    with transaction.atomic():
        for tag, arguments in fresh.items():
            queue(kind, arguments, tag=tag)
    return len(fresh)
