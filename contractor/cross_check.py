"""Whether the events that the hub was given are all that there were: the contract itself keeps count.

A node can leave logs out, or invent some, without contradicting a block's hash. The contract has a running hash of
each eon's deposits, requests and cancellations (`spec/contract.md` §2) and the number of open challenges. The hub
keeps the same hash over the events it applies, and compares both as of the newest applied block. What is missing is
read again and taken in if it makes the hash the contract's; anything else is an alarm.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import transaction

from contractor import effects, events
from contractor.alarms import raise_alarm
from contractor.chain import is_known_branch
from contractor.errors import ChainError, NodeError, NodeRefusedError, RevertedError
from contractor.events import ContractEvent
from contractor.interface import EONS_KEPT, Contract
from contractor.logs import kept_headers, read_events
from contractor.models import Accumulator, ContractParameters
from ledger.models import ChainStatus, Challenge, Deposit, WithdrawalRequest
from nocust.accumulator import CANCELLATION, DEPOSIT, WITHDRAWAL_REQUEST, accumulate
from nocust.encoding import ZERO_HASH

logger = logging.getLogger(__name__)

TAKEN_IN = events.Deposit | events.WithdrawalRequest | events.ChallengeIssued
"""Events that can be applied after later ones."""


# ---- the hub's own hash -----------------------------------------------------------------------------------------


def begin(block: int) -> None:
    """Before the contract's first block all hashes are zero. A ledger that was begun without them has none, and
    checks nothing."""
    Accumulator.objects.bulk_create(
        Accumulator(slot=slot, block=block, value=ZERO_HASH) for slot in range(EONS_KEPT)
    )


def note(found: Sequence[ContractEvent], status: ChainStatus, first: int) -> None:
    """Go on with the hashes over all events from block `first` on, inside the caller's transaction."""
    Accumulator.objects.filter(block__gte=first).delete()
    if not found:
        return
    newest = Accumulator.objects.order_by("slot", "-block").distinct("slot")
    values = {row.slot: bytes(row.value) for row in newest}
    changed: dict[tuple[int, int], bytes] = {}
    for event in found:
        for eon, token, holder, operation, amount in _operations(event, status.eon_of(event.place.block)):
            slot = eon % EONS_KEPT
            if slot in values:
                values[slot] = accumulate(values[slot], eon, token, holder, operation, amount)
                changed[slot, event.place.block] = values[slot]
    Accumulator.objects.bulk_create(
        Accumulator(slot=slot, block=block, value=value) for (slot, block), value in changed.items()
    )


def _operations(event: ContractEvent, eon: int) -> list[tuple[int, bytes, bytes, int, int]]:
    """What the contract adds for an event: eon, token, holder, operation, amount."""
    if isinstance(event, events.Deposit):
        return [(eon, event.token, event.recipient, DEPOSIT, event.amount)]
    if isinstance(event, events.WithdrawalRequest):
        return [(eon, event.token, event.requestor, WITHDRAWAL_REQUEST, event.amount)]
    if isinstance(event, events.WithdrawalSlashed):
        sums = ((eon, event.current_eon_amount), (eon - 1, event.previous_eon_amount))
        return [(at, event.token, event.withdrawer, CANCELLATION, amount) for at, amount in sums if amount]
    return []


def forget_old(block: int) -> None:
    """Keep what a fork down to `block` may need: of each slot the newest up to there, and all after it."""
    for slot in range(EONS_KEPT):
        rows = Accumulator.objects.filter(slot=slot, block__lte=block)
        newest = rows.order_by("-block").first()
        if newest is not None:
            rows.exclude(pk=newest.pk).delete()


# ---- comparing --------------------------------------------------------------------------------------------------


def events_agree(contract: Contract, status: ChainStatus, eon: int) -> bool:
    """Whether the events of `eon` are those that the contract counted, after having taken in what was missing. True
    too when it can't be known: the node has no state of the block any more. Raises NodeError."""
    if _agree(contract, status, eon):
        return True
    logger.warning("the events of eon %s are not those that the contract counted; reading them again", eon)
    if take_in(contract, status, eon) and _agree(contract, status, eon):
        return True
    raise_alarm(
        "events differ",
        f"the deposits, requests and cancellations of eon {eon} up to block {status.confirmed_block} are not those"
        " that the contract counted: the node leaves logs out or invents some",
        key=str(eon),
    )
    return False


def _agree(contract: Contract, status: ChainStatus, eon: int) -> bool:
    ours = _newest(eon % EONS_KEPT)
    if ours is None:
        return True
    try:
        return _counted(contract, status, eon) == bytes(ours.value)
    except (NodeRefusedError, RevertedError) as error:
        logger.info("the events of eon %s can't be compared: %s", eon, error)
        return True


def _counted(contract: Contract, status: ChainStatus, eon: int) -> bytes:
    """What the contract counted up to the newest applied block. Raises NodeRefusedError or RevertedError if the
    node has no state of it, NodeError if that can't be known, as while the node refuses everything."""
    try:
        return contract.accumulator(eon, block=status.confirmed_block)
    except (NodeRefusedError, RevertedError) as error:
        try:
            contract.accumulator(eon)
        except ChainError:
            raise NodeError(f"the events of eon {eon} can't be compared now: {error}") from error
    return contract.accumulator(eon, block=status.confirmed_block)


def _newest(slot: int) -> Accumulator | None:
    return Accumulator.objects.filter(slot=slot).order_by("-block").first()


def give_in(contract: Contract, status: ChainStatus, eon: int) -> None:
    """Go on from the contract's hash, so that one difference is not told again with every fifth eon."""
    value = contract.accumulator(eon, block=status.confirmed_block)
    Accumulator.objects.update_or_create(
        slot=eon % EONS_KEPT, block=status.confirmed_block, defaults={"value": value}
    )


def challenges_agree(contract: Contract, status: ChainStatus) -> bool:
    """Whether all challenges of the eon that are open as of the newest applied block are known, after having taken
    in what was missing. True too when it can't be known now."""
    block = status.confirmed_block
    if block < status.genesis_block:
        return True
    try:
        return _challenges_agree(contract, status, block)
    except (NodeError, RevertedError) as error:
        logger.info("the challenges of block %s can't be compared: %s", block, error)
        return True


def _challenges_agree(contract: Contract, status: ChainStatus, block: int) -> bool:
    eon = status.eon_of(block)
    live = contract.server_state(block).live_challenges
    known = Challenge.objects.filter(eon_number=eon, rebuted=False)
    if live <= known.count():
        return True
    logger.info("block %s has %s open challenges, perhaps not all of them known; reading again", block, live)
    take_in(contract, status, eon)
    if live <= known.count():
        return True
    raise_alarm(
        "challenge unseen",
        f"the contract has {live} open challenges in eon {eon} as of block {block}, the hub knows"
        f" {known.count()} of them: the node leaves logs out",
        key=str(eon),
    )
    return False


# ---- taking in what was missing ---------------------------------------------------------------------------------


def take_in(contract: Contract, status: ChainStatus, eon: int) -> bool:
    """Read the eon's events again and apply those that are missing, all or nothing. Whether there were some. Raises
    NodeError."""
    first, last = status.first_block_of(eon), min(status.first_block_of(eon + 1) - 1, status.confirmed_block)
    found = read_again(contract, status, first, status.confirmed_block)
    missing = effects.not_booked([event for event in found if event.place.block <= last])
    late = [event for event in missing if isinstance(event, TAKEN_IN)]
    if not late or _contradicts(found, late, first, status.confirmed_block):
        return False
    with transaction.atomic():
        current = ChainStatus.objects.select_for_update().get(pk=status.pk)
        if current.confirmed_block != status.confirmed_block:
            return False
        note(found, current, first)
        if not all(_agree(contract, current, at) for at in (eon - 1, eon) if at > 0):
            transaction.set_rollback(True)
            return False
        effects.apply_events(late, current, ContractParameters.objects.get())
    logger.warning("%s events of eon %s were missing and are applied now", len(late), eon)
    return True


def _contradicts(
    found: Sequence[ContractEvent], late: Sequence[ContractEvent], first: int, last: int
) -> bool:
    """Whether effects were applied that no event has, or a late request was cancelled since, maybe with others."""
    places = {(event.place.txid, event.place.log_index) for event in found}
    for model in (Deposit, WithdrawalRequest):
        booked = model.objects.filter(block__gte=first, block__lte=last, log_index__gte=0)
        rows = booked.values_list("txid", "log_index")
        if any((bytes(txid), log_index) not in places for txid, log_index in rows):
            return True
    cancelled = {(e.token, e.withdrawer) for e in found if isinstance(e, events.WithdrawalSlashed)}
    return any(isinstance(e, events.WithdrawalRequest) and (e.token, e.requestor) in cancelled for e in late)


def read_again(contract: Contract, status: ChainStatus, first: int, last: int) -> list[ContractEvent]:
    """All events of the contract in some applied blocks, in order. Raises NodeError, also while the node is on
    another branch than the one that was applied."""
    _check_branch(contract, status)
    first = max(first, status.genesis_block)
    found = read_events(contract, kept_headers(first, last), first, last)
    _check_branch(contract, status)  # once more: it may have gone there meanwhile
    return found


def _check_branch(contract: Contract, status: ChainStatus) -> None:
    if not is_known_branch(contract, status.confirmed_block):
        raise NodeError(f"the node has another block {status.confirmed_block} than the one that was applied")
