"""Following the chain: which blocks there are, and what the contract did in those that are deep enough.

A step reads the chain without holding anything, then, in one transaction, replaces the headers, applies the events
and moves the cursor (`ledger.ChainStatus`), provided nobody moved it meanwhile. So a step may fail or be repeated
at any point.

* Headers are kept with hash and parent. Where the node's chain departs from them they are replaced back to the
  common ancestor (`contractor.reorganisation`). Events are applied at the configured depth only; a fork below an
  applied block stops the follower and all writes with an alarm, until `manage.py resolve_fork`.
* Of several nodes the others must have the same newest blocks (`contractor.nodes`), else nothing is read.
* The head may go down when a shorter branch wins, but the latest eon never goes back: `head_block` stays at
  least the first block of the eon that was reached, since wallets may have signed in it.
* The head never goes beyond the eon after the newest checkpoint, so that after an outage every eon is closed, one
  after the other, before the next one's events are applied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from contractor import checkpoints, cross_check, effects, progress
from contractor.alarms import clear_alarm, raise_alarm
from contractor.chain import chain, check_chain
from contractor.errors import ForkTooDeepError, NodeError, NodesDisagreeError
from contractor.events import ContractEvent
from contractor.headers import Advance, Header, advance
from contractor.interface import Contract, ServerState
from contractor.logs import read_logs
from contractor.models import ContractParameters, ContractState
from contractor.nodes import nodes
from contractor.reorganisation import undo
from ledger.models import ChainStatus, Event, RootCommitment
from ledger.store import stopped, tell
from operator_api.error_codes import ErrorCode

logger = logging.getLogger(__name__)

STEP_BLOCKS = 2000
"""Most blocks read and applied in one step."""
CATCH_UP_SECONDS = 5.0
KEPT_BLOCKS = 256
"""Applied blocks whose headers are kept."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one step read: how the headers change and what they are then, the newest block to apply, the events
    up to it, and the contract at the head."""

    headers: tuple[Header, ...]
    change: Advance | None
    confirmed: int
    events: tuple[ContractEvent, ...]
    state: ServerState
    halted: bool
    head: int


def step(limit: int = STEP_BLOCKS) -> int:
    """Follow the chain by at most `limit` blocks. Returns how many blocks were seen first or applied now.

    Raises NodeError (nothing happened), ForkTooDeepError, NodesDisagreeError and WrongChainError (with an alarm).
    """
    contract = chain()
    status = start(contract)
    try:
        return _follow(contract, status, limit)
    except ForkTooDeepError as error:
        ChainStatus.objects.filter(pk=status.pk).update(forked=True)
        raise_alarm("deep fork", f"{error}; the hub stops following the chain and accepts nothing new")
        raise
    except NodesDisagreeError as error:
        raise_alarm("nodes disagree", f"{error}; the hub stops following the chain")
        raise
    except NodeError as error:
        contract.node.note_failure(error)
        raise


def run(seconds: float = CATCH_UP_SECONDS) -> int:
    """Steps until the head is reached, for about `seconds` at most. Returns the blocks seen or applied; raises what
    `step` raises.

    The eons that are passed on the way are closed as they come: the ledger takes in no block beyond the eon after
    the newest checkpoint.
    """
    deadline = time.monotonic() + seconds
    done = 0
    try:
        while True:
            blocks = step()
            done += blocks
            behind = ChainStatus.objects.filter(node_block__gt=F("head_block")).exists()
            closed = checkpoints.create_due_checkpoint() if behind else 0
            if (blocks < STEP_BLOCKS and not closed) or time.monotonic() > deadline:
                return done
    finally:
        _watch_progress()


def _watch_progress() -> None:
    """Tell when wallets are refused because the hub does not keep up."""
    status = ChainStatus.objects.first()
    if status is None:
        return
    if stopped(status) == ErrorCode.CHAIN_BEHIND:
        raise_alarm(
            "chain behind",
            f"the newest block read is {status.head_block}, seen at {status.progressed:%Y-%m-%d %H:%M:%S} UTC, the"
            f" node is at {status.node_block}; nothing new is accepted from wallets",
            key="",
        )
    else:
        clear_alarm("chain behind", "")


def _follow(contract: Contract, status: ChainStatus, limit: int) -> int:
    known = _known_headers(status)
    head = contract.node.head()
    if head.hash == known[-1].hash and head.number - status.confirmed_block <= _depth():
        now = timezone.now()
        ChainStatus.objects.filter(pk=status.pk).update(updated=now, node_block=head.number, forked=False)
        return 0
    if head.hash != known[-1].hash and not nodes().agree(contract.node, head, _depth()):
        logger.info("the nodes have different newest blocks; waiting until they agree")
        return 0
    reading = _read(contract, status, known, head, limit)
    done = _write(status, reading)
    if done and reading.head - reading.confirmed <= _depth():
        cross_check.challenges_agree(contract, ChainStatus.objects.get(pk=status.pk))
    progress.tell(status.head_block, reading.headers[-1].number, head.number)
    return done


def start(contract: Contract) -> ChainStatus:
    """The chain's status; made from the contract before its first block the first time."""
    status = ChainStatus.objects.first()
    if status is not None:
        return status
    parameters = check_chain()
    before, first = contract.node.headers(parameters.genesis_block - 1, parameters.genesis_block)
    with transaction.atomic():
        status, created = ChainStatus.objects.get_or_create(
            id=1,
            defaults={
                "genesis_block": parameters.genesis_block,
                "blocks_per_eon": parameters.blocks_per_eon,
                "confirmations": _depth(),
                "head_block": first.number,
                "head_hash": first.hash,
                "confirmed_block": before.number,
                "updated": timezone.now(),
            },
        )
        if created:
            ContractState.objects.bulk_create([_row(before, True), _row(first, False)])
            cross_check.begin(before.number)
    return status


def _known_headers(status: ChainStatus) -> list[Header]:
    """The newest applied block and all after it."""
    rows = ContractState.objects.filter(block__gte=status.confirmed_block)
    return [row.header for row in rows]


def _row(header: Header, confirmed: bool) -> ContractState:
    return ContractState(
        block=header.number,
        block_hash=header.hash,
        parent_hash=header.parent_hash,
        timestamp=header.timestamp,
        logs_possible=header.logs_possible,
        confirmed=confirmed,
    )


def highest_block(status: ChainStatus) -> int:
    """The last block the ledger may take in now: that of the eon after the newest checkpoint's."""
    newest = RootCommitment.objects.order_by("-eon_number").values_list("eon_number", flat=True).first() or 0
    return status.first_block_of(max(newest + 1, status.eon) + 1) - 1


def _depth() -> int:
    return settings.HUB_LQD_CONTRACT_CONFIRMATIONS


def _read(
    contract: Contract, status: ChainStatus, known: Sequence[Header], head: Header, limit: int
) -> Reading:
    """What changes; nothing is written."""
    node = contract.node
    state, halted = contract.server_state(), contract.halted()
    ceiling = min(highest_block(status), known[-1].number + limit)
    change = advance(known, head, ceiling, node.headers)
    if change is not None and change.fresh[-1].number == head.number and change.fresh[-1].hash != head.hash:
        # What the contract said in between may be of either branch.
        raise NodeError(f"the node has another block {head.number} than a moment ago")
    headers = _after(known, change)
    tip = headers[-1].number
    confirmed = max(status.confirmed_block, min(max(head.number, tip) - _depth(), tip))
    events = _events(contract, headers, status.confirmed_block + 1, confirmed)
    return Reading(tuple(headers), change, confirmed, events, state, halted, head.number)


def _after(known: Sequence[Header], change: Advance | None) -> list[Header]:
    if change is None:
        return list(known)
    return [header for header in known if header.number < change.drop_from] + list(change.fresh)


def _events(
    contract: Contract, headers: Sequence[Header], first: int, last: int
) -> tuple[ContractEvent, ...]:
    """The events of blocks `first` to `last`, each proven to be of the block that is known by that number."""
    if last < first:
        return ()
    found = {header.number: header for header in headers if first <= header.number <= last}
    logs = read_logs(contract, found)
    return tuple(contract.decode(log, found[log.block].timestamp) for log in logs)


def _write(status: ChainStatus, reading: Reading) -> int:
    with transaction.atomic():
        current = ChainStatus.objects.select_for_update().get(id=status.pk)
        before = (status.head_block, status.head_hash, status.confirmed_block)
        if (current.head_block, current.head_hash, current.confirmed_block) != before:
            logger.info("another follower was faster")
            return 0
        fresh = _replace_headers(reading)
        _save_status(current, reading)
        applied = _apply(current, reading)
    return max(fresh, applied)


def _replace_headers(reading: Reading) -> int:
    if reading.change is None:
        return 0
    undo(reading.change.drop_from, reading.change.fresh[-1].hash)
    # Blocks so deep that they are never looked at again need not be kept.
    rows = [
        _row(header, False)
        for header in reading.change.fresh
        if header.number >= reading.confirmed - KEPT_BLOCKS or header is reading.change.fresh[-1]
    ]
    state = reading.state
    newest = rows[-1]
    newest.last_checkpoint_submission_eon = state.last_submission_eon
    newest.last_checkpoint = state.last_root
    newest.is_checkpoint_submitted_for_current_eon = state.submitted_this_eon
    newest.has_missed_checkpoint_submission = state.missed_submission
    newest.live_challenge_count = state.live_challenges
    ContractState.objects.bulk_create(rows)
    return len(reading.change.fresh)


def _save_status(status: ChainStatus, reading: Reading) -> None:
    """Before the events are applied: the ledger must know the eon they fall in."""
    tip = reading.headers[-1]
    if reading.halted and not status.halted:
        raise_alarm("halted", "the contract refuses to go on: users can only recover their funds", key="")
    before = status.eon
    status.head_block = max(tip.number, status.first_block_of(status.eon))
    if status.eon > before:
        tell(*((Event.EON_STARTED, eon) for eon in range(before + 1, status.eon + 1)))
    status.updated = timezone.now()
    if status.head_hash != tip.hash:
        status.head_hash, status.progressed = tip.hash, status.updated
    status.node_block = reading.head
    status.confirmations = _depth()
    status.halted = reading.halted
    if reading.change is not None:
        status.forked = False  # fresh blocks joined the applied ones: the node is back on the known branch
    status.save()


def _apply(status: ChainStatus, reading: Reading) -> int:
    count = reading.confirmed - status.confirmed_block
    if count <= 0:
        return 0
    _keep_genesis(status, reading)
    effects.apply_events(reading.events, status, ContractParameters.objects.get())
    cross_check.note(reading.events, status, status.confirmed_block + 1)
    if reading.events:
        cross_check.forget_old(status.first_block_of(max(status.eon_of(reading.confirmed) - 2, 1)) - 1)
    ContractState.objects.filter(block__lte=reading.confirmed, confirmed=False).update(confirmed=True)
    ContractState.objects.filter(block__lt=reading.confirmed - KEPT_BLOCKS).delete()
    status.confirmed_block = reading.confirmed
    status.save(update_fields=["confirmed_block"])
    return count


def _keep_genesis(status: ChainStatus, reading: Reading) -> None:
    """By its hash the chain is known from now on."""
    if status.confirmed_block < status.genesis_block <= reading.confirmed:
        (genesis,) = (header for header in reading.headers if header.number == status.genesis_block)
        ContractParameters.objects.update(genesis_hash=genesis.hash)
