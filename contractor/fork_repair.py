"""Changing the ledger to what a new branch holds, after `contractor.forks` has compared them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from itertools import chain

from django.db import transaction

from contractor.alarms import raise_alarm
from contractor.forks import Comparison, UnresolvableError, undefended
from contractor.models import ContractParameters, EthereumTransaction
from contractor.reorganisation import undo
from ledger import engine, store
from ledger.directory import owner_of
from ledger.engine import Command
from ledger.models import (
    ChainStatus,
    Challenge,
    DelegatedWithdrawal,
    Deposit,
    Event,
    Outbox,
    RootCommitment,
    Withdrawal,
)

logger = logging.getLogger(__name__)


def repair(found: Comparison, seen: ChainStatus, covered: bool = False) -> None:
    """Make the ledger what the new branch says, and let the follower go on from the common ancestor, all in one
    transaction. `covered`: the contract was sent what the missing deposits were. Raises UnresolvableError while
    there are problems, or when the chain was followed since it was compared."""
    if problems := found.problems(covered):
        raise UnresolvableError("; ".join(problems))
    with transaction.atomic():
        status = ChainStatus.objects.select_for_update().get(pk=seen.pk)
        if (status.confirmed_block, status.head_hash) != (seen.confirmed_block, seen.head_hash):
            raise UnresolvableError("the chain was followed meanwhile; compare again")
        _move(found, status)
        _undo_challenges(found, status)
        _undo_payments(found)
        commands = _give_back(found, status) + _debit_again(found, status)
        _watch_again(found.ancestor.number)
        undo(found.ancestor.number + 1, found.ancestor.hash, deep=True)
        status.confirmed_block = found.ancestor.number
        status.head_block = max(found.ancestor.number, status.first_block_of(status.eon))
        status.head_hash = found.ancestor.hash
        status.forked = False
        status.save()
        store.run(commands)
    for row in found.counted:
        raise_alarm("events differ", undefended(row), key=f"request {row.pk}")
    logger.warning("the fork below block %s is resolved", seen.confirmed_block)


def _move(found: Comparison, status: ChainStatus) -> None:
    """The rows get the places of their events on the new branch, by way of places that no event has: two may have
    changed theirs. Those without an event stay there: it may be mined again, at the same place of its block, and is
    another one then. A row whose event is in another eon now keeps its block, by which checkpoints count it, unless
    it is a deposit that waits for its wallet."""
    for row in chain(*(rows for rows, _ in found.moved), found.deposits, found.requests, found.challenges):
        row.log_index = -row.pk
        row.save(update_fields=["log_index"])
    for rows, place in found.moved:
        for row in rows:
            row.txid, row.log_index = place.txid, place.log_index
            eon = status.eon_of(place.block)
            if isinstance(row, Deposit) and row.wallet_id is None:
                row.eon_number = eon
            if eon == status.eon_of(row.block) or isinstance(row, Deposit):
                row.block, row.time = place.block, datetime.fromtimestamp(place.time, UTC)
            row.save(update_fields=["txid", "log_index", "block", "time", "eon_number"])


def _undo_challenges(found: Comparison, status: ChainStatus) -> None:
    """Those that are none any more are over; whether the others are won is read from the contract again, and who
    opened those that moved, since the parties of a transfer may have changed places. Answers that were not sent yet
    are queued anew after that."""
    eon = status.eon_of(found.ancestor.number)
    Challenge.objects.filter(eon_number__gte=eon - 1, log_index__gte=0).update(rebuted=False)
    Challenge.objects.filter(pk__in=[row.pk for row in found.challenges]).update(rebuted=True)
    parameters = ContractParameters.objects.get()
    State = EthereumTransaction.State
    for rows, place in found.moved:
        moved = [row.pk for row in rows if isinstance(row, Challenge)]
        EthereumTransaction.objects.filter(
            kind="answerChallenge", state=State.QUEUED, arguments__challenge__in=moved
        ).update(state=State.SUPERSEDED, note="the chain forked below the challenge's block")
        Challenge.objects.filter(pk__in=moved).update(
            block=place.block,
            eon_number=status.eon_of(place.block),
            deadline=parameters.last_answer_block(place.block),
            by_sender=None,
        )


def _undo_payments(found: Comparison) -> None:
    keys = [row.pk for row in found.payments]
    Outbox.objects.filter(event=Event.CONFIRMED_WITHDRAWAL, object_id__in=keys).delete()
    Withdrawal.objects.filter(pk__in=keys).delete()


def _open_eon(eon: int, status: ChainStatus) -> int:
    """The eon, or the latest one if its ledger is closed."""
    closed = RootCommitment.objects.filter(eon_number=eon + 1).exists()
    return status.eon if closed else eon


def _give_back(found: Comparison, status: ChainStatus) -> list[Command]:
    """Requests that are none, as if they had been cancelled. Those made for a delegated withdrawal wait again."""
    commands: list[Command] = []
    for row in found.requests:
        DelegatedWithdrawal.objects.filter(request=row).update(
            state=DelegatedWithdrawal.State.PENDING, request=None
        )
        if row.slashed:
            continue
        eon = _open_eon(row.eon_number, status)
        row.slashed, row.slashed_eon_number = True, eon
        row.save(update_fields=["slashed", "slashed_eon_number"])
        if row.wallet is not None:
            commands.append(engine.CancelWithdrawal(owner_of(row.wallet), eon, row.amount))
    return commands


def _debit_again(found: Comparison, status: ChainStatus) -> list[Command]:
    """Requests whose cancellation is none."""
    commands: list[Command] = []
    for row in found.slashes:
        assert row.slashed_eon_number is not None
        eon = _open_eon(row.slashed_eon_number, status)
        row.slashed, row.slashed_eon_number = False, None
        row.save(update_fields=["slashed", "slashed_eon_number"])
        if row.wallet is not None:
            commands.append(engine.RequestWithdrawal(owner_of(row.wallet), eon, row.amount))
    return commands


def _watch_again(block: int) -> None:
    """The operator's transactions that were confirmed above the block may have to be sent again."""
    State = EthereumTransaction.State
    keys = EthereumTransaction.objects.filter(state=State.CONFIRMED, attempts__mined__gt=block)
    EthereumTransaction.objects.filter(pk__in=list(keys.values_list("pk", flat=True))).update(
        state=State.SENT, missing_since=None, note="the chain forked below its block"
    )
