"""Taking what the contract keeps for the operator: fees of answered challenges and of withdrawal requests."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from contractor.chain import chain
from contractor.models import ContractParameters, EthereumTransaction
from contractor.transactions import queue
from ledger.models import ChainStatus

_asked: tuple[int, int] | None = None


def claim_earned_fees() -> int:
    """Queue a claim if more than HUB_CLAIM_FEES_ABOVE wei have gathered. Returns how many were queued, 0 or 1.

    Looks once an eon, when half of it is over: its checkpoint is submitted by then, the answers are given, and one
    claim an eon is enough. Raises NodeError.
    """
    global _asked  # noqa: PLW0603 (spares asking each second)
    status, parameters = ChainStatus.objects.first(), ContractParameters.objects.first()
    if status is None or parameters is None or not settings.HUB_CLAIM_FEES_ABOVE:
        return 0
    if 2 * parameters.era_of(status.head_block) < parameters.blocks_per_eon:
        return 0
    place = parameters.genesis_block, status.eon
    if _asked == place:
        return 0
    enough = chain().claimable_fees() > settings.HUB_CLAIM_FEES_ABOVE
    _asked = place
    if not enough or EthereumTransaction.objects.filter(tag=_tag(status.eon)).exists():
        return 0
    with transaction.atomic():
        queue("claimFees", {}, tag=_tag(status.eon))
    return 1


def forget() -> None:
    """Ask again at the next beat, for tests."""
    global _asked  # noqa: PLW0603
    _asked = None


def _tag(eon: int) -> str:
    return f"claim-fees/{eon}"
