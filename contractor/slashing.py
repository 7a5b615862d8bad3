"""Cancelling withdrawals that take more than there is (`spec/contract.md` §4).

The contract pays requests against allotments that do not know the newest transfers, so an owner can spend and
withdraw the same money. With each transfer it signed a balance marker, what it leaves itself; the contract cancels
requests that exceed a marker. It cancels those of the eon before only until the latest eon's checkpoint, which
counts on them, is submitted; then they stand. What an order still has to give is spoken for as well: with it the
owner signed markers of nothing, and it is matched on the strength of them.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from contractor.alarms import clear_alarm, raise_alarm
from contractor.events import WithdrawalSlashed
from contractor.models import EthereumTransaction, EthereumTransactionAttempt
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
from ledger.sql import fetch
from nocust.addresses import to_checksum
from operator_api.locks import Lock, try_share

logger = logging.getLogger(__name__)

PATIENCE = 3
"""Refusals of a cancellation after which nobody waits for it any more, unless it is the node that refuses."""
MARKER_EONS = 3
"""A marker cancels requests up to this many eons, its own included."""

State = EthereumTransaction.State


@dataclass(frozen=True, slots=True)
class Overdraft:
    """A wallet below zero, or below what its order still has to give: by how much, the oldest eon whose requests
    have to be cancelled, and the marker that lets the contract do so; or why it cannot."""

    wallet: Wallet
    missing: int
    oldest_eon: int
    newest_request: int
    marker: MinimumAvailableBalance | None
    explanation: str = ""


def slash_overdrawn() -> int:
    """Queue the cancellation of requests that take more than their wallets have left. Returns how many were queued.
    Those that cannot be cancelled raise an alarm."""
    status = ChainStatus.objects.first()
    if status is None or status.halted:
        return 0
    wanted: dict[str, dict[str, int]] = {}
    for case in overdrafts(status.eon):
        if case.marker is None:
            raise_alarm("overdraft", case.explanation)
            continue
        tag = f"slash/{case.wallet.pk}/{status.eon}/{case.oldest_eon}/{case.newest_request}"
        wanted[tag] = {"wallet": case.wallet.pk, "oldest_eon": case.oldest_eon}
    known = set(EthereumTransaction.objects.filter(tag__in=list(wanted)).values_list("tag", flat=True))
    with transaction.atomic():
        for tag in wanted.keys() - known:
            queue("slashWithdrawal", wanted[tag], tag=tag)
    return len(wanted.keys() - known)


def overdraft(wallet: Wallet, eon: int) -> Overdraft | None:
    """The wallet's overdraft while the chain is in `eon`, or None."""
    return next((case for case in overdrafts(eon) if case.wallet.pk == wallet.pk), None)


def overdrafts(eon: int) -> list[Overdraft]:
    """The wallets with requests of the eon or the one before that stand below zero, or below what an order still
    has to give, in an eon that is not closed."""
    requests: dict[int, list[WithdrawalRequest]] = defaultdict(list)
    standing = WithdrawalRequest.objects.filter(
        slashed=False, paid=False, wallet__isnull=False, eon_number__in=[eon - 1, eon]
    )
    for request in standing.order_by("id"):
        assert request.wallet_id is not None
        requests[request.wallet_id].append(request)
    if not requests:
        return []
    closed = RootCommitment.objects.filter(eon_number=eon).exists()
    wallets = Wallet.objects.filter(pk__in=list(requests)).select_related("token").order_by("id")
    accounts = load_accounts({row.pk: owner_of(row) for row in wallets}, [eon - 1, eon])
    promised = promised_to_orders(list(requests), eon)
    found = []
    for wallet in wallets:
        promise = promised.get(wallet.pk, 0)
        before, now = (accounts[wallet.pk, number].available - promise for number in (eon - 1, eon))
        made = requests[wallet.pk]
        without_newest = now + sum(request.amount for request in made if request.eon_number == eon)
        if not closed and min(before, without_newest) < 0:
            case = _case(wallet, -min(before, now), eon - 1, eon, made)
        elif now < 0:
            case = _case(wallet, -now, eon, eon, made)
        else:
            continue
        # Where only an order comes short and the contract cancels nothing, the order is not matched any more.
        if case.marker is not None or case.missing > promise:
            found.append(case)
    return found


PROMISED = """
    SELECT t.wallet_id, t.amount - t.prior_out - t.matched_out FROM ledger_transfer t
    WHERE t.swap AND t.appended AND NOT (t.processed OR t.complete OR t.cancelled) AND t.wallet_id = ANY(%s)
        AND (t.eon_number = %s OR t.eon_number = %s AND EXISTS (SELECT 1 FROM ledger_transfer l
            WHERE l.tx_id = t.tx_id AND l.eon_number = t.eon_number + 1 AND NOT l.processed))
"""


def promised_to_orders(wallets: Sequence[int], eon: int) -> dict[int, int]:
    """By wallet id, what orders on the market have still to give while the chain is in `eon`: those in force in it,
    or in the eon before, which is not closed then, and signed for this one. A frozen order gives nothing more."""
    return {wallet: int(rest) for wallet, rest in fetch(PROMISED, [list(wallets), eon, eon - 1])}


def _case(
    wallet: Wallet, missing: int, oldest: int, eon: int, requests: Sequence[WithdrawalRequest]
) -> Overdraft:
    marker, explanation = None, ""
    if any(request.eon_number >= oldest for request in requests):
        marker, explanation = usable_marker(wallet, requests, eon)
    else:
        explanation = "a checkpoint counts on its requests already"
    if marker is None:
        explanation = (
            f"{to_checksum(wallet.address)} withdraws {missing} of {to_checksum(wallet.token.address)} more than it"
            f" has, and the contract will not cancel that: {explanation}. The contract lacks {missing} until it is"
            " sent there without a deposit"
        )
    return Overdraft(wallet, missing, oldest, requests[-1].pk, marker, explanation)


def usable_marker(
    wallet: Wallet, requests: Sequence[WithdrawalRequest], eon: int
) -> tuple[MinimumAvailableBalance | None, str]:
    """The owner's marker that lets the contract cancel, in `eon`, the requests of that eon and the one before: one
    that leaves less than they sum up to. Of a marker two eons old the requests of its own eon count, too; a
    contract that does not count them refuses. None with the reason if there is no such marker."""
    marker = smallest_marker(wallet, eon)
    requested = sum(request.amount for request in requests)
    if marker is None:
        return None, f"it signed no balance marker in the last {MARKER_EONS} eons"
    if marker.amount < requested:
        return marker, ""
    oldest = MinimumAvailableBalance.objects.filter(wallet=wallet, eon_number=eon - 2).first()
    earlier = WithdrawalRequest.objects.filter(
        wallet=wallet, eon_number=eon - 2, slashed=False, paid=False
    ).aggregate(total=Sum("amount"))["total"]
    if oldest is not None and oldest.amount < requested + int(earlier or 0):
        return oldest, ""
    return None, (
        f"its smallest marker leaves it {marker.amount}, not less than the {requested} it requested in this eon and"
        " the one before"
    )


def smallest_marker(wallet: Wallet, eon: int) -> MinimumAvailableBalance | None:
    """Of the owner's markers that the contract takes in `eon`, the one that cancels most easily."""
    markers = MinimumAvailableBalance.objects.filter(
        wallet=wallet, eon_number__gt=eon - MARKER_EONS, eon_number__lte=eon
    )
    return markers.order_by("amount", "-eon_number").first()


# ---- the checkpoint waits ---------------------------------------------------------------------------------------


def awaits_cancellation(eon: int) -> bool:
    """Whether cancellations of requests of `eon` should take effect before its ledger is closed. Those that the
    contract keeps refusing are not waited for. A node that takes too many questions for a moment, or finds the
    operator's account empty, refuses, too: the checkpoint would promise what is withdrawn for good."""
    worth = Q(refusals__lt=PATIENCE) | Q(refused_by_node=True)
    waiting = _cancellations(eon).filter(worth, state=State.QUEUED)
    return waiting.exists() or is_cancelling(eon)


def is_cancelling(eon: int) -> bool:
    """Whether a cancellation of requests of `eon` is on its way. It has to end before the ledger of the eon is
    closed: the checkpoint, which is sent after it, would count on requests that are gone."""
    return _cancellations(eon).filter(state=State.SENT).exists()


def may_be_sent(row: EthereumTransaction) -> bool:
    """Whether no checkpoint counts on the requests that a cancellation is about, nor is one being made that would;
    it stays so until the caller's transaction ends. Other transactions may be sent at any time."""
    if row.kind != "slashWithdrawal":
        return True
    oldest = row.arguments["oldest_eon"]
    return try_share(Lock.EON, oldest) and not RootCommitment.objects.filter(eon_number__gt=oldest).exists()


def end_cancelling(found: Sequence[WithdrawalSlashed]) -> int:
    """Confirm the operator's transactions that these events, which are applied in the caller's transaction, are of:
    the checkpoint does not wait for a receipt that the node withholds. Returns how many ended.

    One that was given another nonce since is on its way with that. The attempt gets the block as from a receipt, so
    that a deep fork which takes it away has the transaction watched again."""
    blocks = {event.place.txid: event.place.block for event in found}
    made = EthereumTransactionAttempt.objects.filter(
        hash__in=list(blocks),
        nonce=F("transaction__nonce"),
        transaction__kind="slashWithdrawal",
        transaction__state=State.SENT,
    ).select_related("transaction")
    for attempt in made:
        attempt.mined, attempt.succeeded = blocks[attempt.hash], True
        attempt.save(update_fields=["mined", "succeeded"])
        row = attempt.transaction
        row.state, row.note = State.CONFIRMED, f"block {attempt.mined}"
        row.missing_since, row.wish = None, EthereumTransaction.Wish.NONE
        row.save(update_fields=["state", "note", "missing_since", "wish"])
        clear_alarm("stuck transaction", row.tag)
        clear_alarm("fee cap", row.tag)
        logger.info("%s: %s, %s", row.tag, row.state, row.note)
    return len(made)


def give_up_cancelling(eon: int) -> int:
    """End the cancellations that were not sent yet, so that none contradicts the checkpoint that the caller's
    transaction makes. Returns how many."""
    return (
        _cancellations(eon)
        .filter(state=State.QUEUED)
        .update(state=State.FAILED, note=f"the checkpoint of eon {eon + 1} is made without it")
    )


def _cancellations(eon: int) -> QuerySet[EthereumTransaction]:
    return EthereumTransaction.objects.filter(kind="slashWithdrawal", arguments__oldest_eon__lte=eon)
