"""Paying withdrawals that are mature, and cancelling those that take more than there is."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max

from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue
from ledger.accounts_sql import load_accounts
from ledger.directory import owner_of
from ledger.models import ChainStatus, MinimumAvailableBalance, Wallet, WithdrawalRequest

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
    balance marker that proves it. Returns how many were queued."""
    status = ChainStatus.objects.first()
    if status is None:
        return 0
    eon = status.eon
    requests = (
        WithdrawalRequest.objects.filter(
            slashed=False, withdrawal__isnull=True, wallet__isnull=False, eon_number__gte=eon - 1
        )
        .order_by("id")
        .values_list("wallet_id", "id", "amount")
    )
    newest: dict[int, int] = {}
    total: dict[int, int] = {}
    for wallet, request, amount in requests:
        newest[wallet] = request
        total[wallet] = total.get(wallet, 0) + int(amount)
    slashes: dict[str, dict[str, object]] = {}
    for row in _overdrawn(list(newest), eon):
        marker = _smallest_marker(row.pk, eon)
        if marker is not None and marker.amount < total[row.pk]:
            slashes[f"slash/{row.pk}/{eon}/{newest[row.pk]}"] = {
                "token": row.token.address.hex(),
                "holder": row.address.hex(),
                "eon": eon,
                "marker_eon": marker.eon_number,
                "amount": str(marker.amount),
                "signature": marker.signature.hex(),
            }
    return _queue_new("slashWithdrawal", slashes)


def _overdrawn(wallets: list[int], eon: int) -> list[Wallet]:
    """Those of the wallets whose requests exceed what they had."""
    if not wallets:
        return []
    rows = {row.pk: row for row in Wallet.objects.filter(pk__in=wallets).select_related("token")}
    accounts = load_accounts({key: owner_of(row) for key, row in rows.items()}, [eon], eon)
    return [row for key, row in sorted(rows.items()) if accounts[key, eon].available < 0]


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
