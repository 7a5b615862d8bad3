"""Sending the queued transactions, one nonce after the other, and watching them until they are deep enough.

A signed attempt is stored and committed before it is sent, so a restart sends the same one again. A nonce is given
only to what the contract would accept now, so a transaction that is refused holds up no other. One that is not
mined is offered for more, or replaced by a payment of nothing where the operator wishes so
(`manage.py transactions`).
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, transaction
from django.utils import timezone

from contractor import attempts, gaps, outcomes
from contractor.alarms import clear_alarm, raise_alarm
from contractor.builders import (
    DISPENSABLE,
    REBUILT,
    REBUILT_WHEN_DEEP,
    ImpossibleError,
    NotYetError,
    RefusedError,
    SupersededError,
    build,
    give_up,
    release,
)
from contractor.chain import chain
from contractor.errors import ChainError, NodeError, NodeRefusedError, RevertedError
from contractor.fees import offer
from contractor.headers import Header
from contractor.interface import Contract
from contractor.models import EthereumTransaction, EthereumTransactionAttempt
from contractor.node import Receipt
from contractor.outcomes import Outcomes
from contractor.slashing import may_be_sent
from contractor.transactions import PRIORITY, URGENT, in_turn, queue, queue_again, unmined
from contractor.turns import each
from ledger.models import ChainStatus
from nocust.addresses import to_checksum
from operator_api.locks import Lock, lock_exclusive

logger = logging.getLogger(__name__)

State, Wish = EthereumTransaction.State, EthereumTransaction.Wish

IN_FLIGHT = 50
"""Most transactions on their way at once. Those that can wait take half of them at most, so that what is urgent
never waits for them to be mined."""
LONGEST_RETRY_SECONDS = 30
FAILED_SECONDS = 5
ALARM_REFUSALS = 5

_watched: tuple[bytes, int] | None = None


def step() -> int:
    """Watch what is on its way, then send what is queued. Returns how many rows changed. Raises NodeError when the
    node does not answer, WrongChainError."""
    global _watched  # noqa: PLW0603 (spares asking for receipts when no block came)
    contract = chain()
    head = contract.node.head()
    confirmed = ChainStatus.objects.values_list("confirmed_block", flat=True).first() or 0
    changed, failure = 0, None
    if _watched != (head.hash, confirmed):
        _watch_balance(contract)
        try:
            changed = watch(contract, head, confirmed)
        except NodeError as error:
            failure = error
    changed += fulfil_wishes(contract, head)
    changed += submit(contract, head)
    if failure is not None:
        raise failure
    left_alone = EthereumTransaction.objects.filter(state=State.SENT, retry_at__gt=timezone.now())
    _watched = None if left_alone.exists() else (head.hash, confirmed)
    return changed


def _watch_balance(contract: Contract) -> None:
    """Tell in time that the operator can't pay for transactions soon."""
    balance, threshold = (
        contract.node.balance(settings.HUB_OWNER_ACCOUNT_ADDRESS),
        settings.OWNER_BALANCE_THRESHOLD,
    )
    if balance < threshold:
        raise_alarm(
            "low balance",
            f"{to_checksum(settings.HUB_OWNER_ACCOUNT_ADDRESS)} holds {balance} wei, less than {threshold}",
            key="",
        )
    else:
        clear_alarm("low balance", "")


# ---- watching ---------------------------------------------------------------------------------------------------


def watch(contract: Contract, head: Header, confirmed: int) -> int:
    """Look after everything sent: confirmed, failed, lost, or to be sent again. Returns how many rows ended."""
    rows = EthereumTransaction.objects.filter(state=State.SENT).order_by("nonce")
    if not rows:
        return 0
    used = contract.node.transaction_count(settings.HUB_OWNER_ACCOUNT_ADDRESS)
    gaps.fill(contract, list(rows), used, head)
    now = timezone.now()
    due = [row for row in rows if row.retry_at <= now]
    seen = outcomes.look_up(contract, due, confirmed, used)
    return each(due, lambda row: _watch_in_turn(contract, row, head, seen))


def _watch_in_turn(contract: Contract, row: EthereumTransaction, head: Header, seen: Outcomes) -> bool:
    """Watch a row. One that the node fails at is left alone for a moment."""
    try:
        return _watch_row(contract, row, head, seen)
    except NodeError as error:
        _postpone(row, str(error), FAILED_SECONDS)
        raise


def _watch_row(contract: Contract, row: EthereumTransaction, head: Header, seen: Outcomes) -> bool:
    assert row.nonce is not None
    made = seen.made[row.pk]
    try:
        for attempt in reversed(made):
            receipt = seen.receipt(attempt)
            if receipt is not None:
                return _mined(row, attempt, receipt, seen.confirmed)
    except NodeError as error:
        if seen.used <= row.nonce and not isinstance(error, NodeRefusedError):
            raise
        # One that still makes its index of transactions can't tell; what it counts as free is not mined.
        if seen.used > row.nonce:
            return _unknown(contract, row, seen, error)
    # The follower ends a cancellation by its event, maybe meanwhile.
    sent = row.attempts.filter(nonce=row.nonce, mined__isnull=False, transaction__state=State.SENT)
    sent.update(mined=None, succeeded=None)
    if seen.used > row.nonce:
        return _lost(row, head, seen)
    _found_again(row)
    first, newest = made[0], made[-1]
    if head.number - first.block >= settings.HUB_BUMP_BLOCKS:
        fee = attempts.fee_of(newest)
        text = f"{row.tag}: nonce {row.nonce} is not mined since block {first.block}, now at {fee}"
        raise_alarm("stuck transaction", text, key=row.tag)
    if head.number - newest.block >= settings.HUB_BUMP_BLOCKS:
        _bump(contract, row, newest, head)
    else:
        attempts.send_unless_known(contract, row, newest, seen.known.get(newest.hash))
    return False


def _unknown(contract: Contract, row: EthereumTransaction, seen: Outcomes, error: NodeError) -> bool:
    """The nonce is used up, and the node does not say whether by this transaction. Once that is deep, what the
    contract and its events say decides: one that took effect is left for its receipt, any other is built again,
    since the contract's deadlines do not wait for the node."""
    logger.info("%s: whether it is mined is not known: %s", row.tag, error)
    _found_again(row)
    if not seen.is_used_up(row) or not _is_wanted(contract, row):
        if not isinstance(error, NodeRefusedError):
            raise error
        return False
    logger.warning("%s was mined without effect and is built again", row.tag)
    return _again(row, "mined without effect, as it seems")


def _is_wanted(contract: Contract, row: EthereumTransaction) -> bool:
    """Whether there is something to decide about one whose nonce is used up in applied blocks. Cancellations have
    events, which end them (`contractor.slashing.end_cancelling`): one that stands had none."""
    if row.kind in REBUILT_WHEN_DEEP:
        return True
    try:
        _build(contract, row)
    except ImpossibleError:
        return True  # which ends it
    except (NotYetError, SupersededError, RefusedError, RevertedError):
        return False
    return True


def _again(row: EthereumTransaction, note: str) -> bool:
    """Have it built anew, unless the follower ended it meanwhile."""
    if not EthereumTransaction.objects.filter(pk=row.pk, state=State.SENT).exists():
        return False
    queue_again(row, note)
    return True


def _found_again(row: EthereumTransaction) -> None:
    """Nothing says now that it is lost: one of several nodes behind an address may lack its block for a moment."""
    if row.missing_since is not None:
        row.missing_since = None
        row.save(update_fields=["missing_since"])


def _mined(
    row: EthereumTransaction, attempt: EthereumTransactionAttempt, receipt: Receipt, confirmed: int
) -> bool:
    if (attempt.mined, attempt.succeeded) != (receipt.block, receipt.succeeded):
        attempt.mined, attempt.succeeded = receipt.block, receipt.succeeded
        attempt.save(update_fields=["mined", "succeeded"])
        clear_alarm("stuck transaction", row.tag)
        clear_alarm("fee cap", row.tag)
    _found_again(row)
    if not receipt.succeeded and not attempt.cancels and row.kind in REBUILT:
        logger.warning("%s was reverted in block %s and is built again", row.tag, receipt.block)
        queue_again(row, f"reverted in block {receipt.block}")
        return True
    if not outcomes.is_deep(receipt, confirmed):
        return False
    if attempt.cancels:
        _end_cancelled(row, f"cancelled in block {receipt.block}")
    elif receipt.succeeded:
        _end(row, State.CONFIRMED, f"block {receipt.block}")
    elif row.kind in REBUILT_WHEN_DEEP:
        logger.warning("%s was reverted in block %s and is built again", row.tag, receipt.block)
        queue_again(row, f"reverted in block {receipt.block}")
    else:
        _end(row, State.FAILED, f"reverted in block {receipt.block}")
    return True


def _lost(row: EthereumTransaction, head: Header, seen: Outcomes) -> bool:
    """The nonce is used up, but none of our attempts has a receipt: another transaction of this account took it.
    Once that is deep and the events up to there are applied, ours is built again under a new nonce."""
    if row.missing_since is None or row.missing_since > head.number:
        row.missing_since = head.number
        row.save(update_fields=["missing_since"])
        return False
    if head.number - row.missing_since < settings.HUB_LQD_CONTRACT_CONFIRMATIONS:
        return False
    nonce = row.nonce
    if not seen.is_used_up(row) or not _again(row, f"nonce {nonce} was taken"):
        return False
    raise_alarm("nonce taken", f"{row.tag}: nonce {nonce} of the operator was used by another transaction")
    return True


def _end(row: EthereumTransaction, state: EthereumTransaction.State, note: str) -> None:
    with transaction.atomic():
        row.state, row.note, row.wish = state, note, Wish.NONE
        row.save(update_fields=["state", "note", "wish"])
        if state == State.FAILED:
            give_up(row)
    logger.info("%s: %s, %s", row.tag, state, note)


def _end_cancelled(row: EthereumTransaction, note: str) -> None:
    """Free what waited for it, and have it built anew where the hub can't do without. The tag is free for another
    row, under which others look for it."""
    tag = row.tag
    with transaction.atomic():
        release(row)
        row.tag = f"cancelled/{row.pk}/{tag}"
        row.state, row.note, row.wish = State.CANCELLED, note, Wish.NONE
        row.save(update_fields=["tag", "state", "note", "wish"])
        if row.kind not in DISPENSABLE:
            queue(row.kind, row.arguments, tag=tag)
    logger.info("%s: %s", tag, note)


def _bump(
    contract: Contract, row: EthereumTransaction, newest: EthereumTransactionAttempt, head: Header
) -> None:
    """Offer more for the same nonce; the call stays what it was."""
    fee = attempts.more(contract, row, newest)
    if fee is None:
        attempts.send_everywhere(contract, row, newest)
        return
    with transaction.atomic():
        attempt = attempts.sign_again(row, newest, fee, head)
        _end_wish(row, Wish.BUMP)
    attempts.send_everywhere(contract, row, attempt)


# ---- the operator's wishes --------------------------------------------------------------------------------------


def fulfil_wishes(contract: Contract, head: Header) -> int:
    """Bump and cancel what the operator asked for. Returns how many rows that were."""
    unfinished = EthereumTransaction.objects.filter(state__in=(State.QUEUED, State.SENT))
    rows = unfinished.exclude(wish=Wish.NONE).order_by("nonce", "pk")
    return sum(_fulfil(contract, row, head) for row in rows)


def _fulfil(contract: Contract, row: EthereumTransaction, head: Header) -> int:
    """The wish stands while the node fails. It is over with what is signed for it, which is sent until it is mined:
    signed once more with each try, it would soon offer the most that is allowed."""
    wish = Wish(row.wish)
    if row.state == State.QUEUED and wish == Wish.CANCEL:
        _end_cancelled(row, "cancelled before it was sent")
    elif row.state == State.QUEUED:
        row.retry_at = timezone.now()
        row.save(update_fields=["retry_at"])
    elif row.state == State.SENT and row.nonce is not None:
        made = list(row.attempts.filter(nonce=row.nonce))
        if any(attempt.mined is not None for attempt in made):
            logger.info("%s: too late for the wish: %s", row.tag, wish)
        elif wish == Wish.BUMP:
            _bump(contract, row, made[-1], head)
        elif not made[-1].cancels:
            _replace(contract, row, made[-1], head)
    _end_wish(row, wish)
    return 1


def _end_wish(row: EthereumTransaction, wish: EthereumTransaction.Wish) -> None:
    """Unless there is another one by now."""
    EthereumTransaction.objects.filter(pk=row.pk, wish=wish).update(wish=Wish.NONE)


def _replace(
    contract: Contract, row: EthereumTransaction, newest: EthereumTransactionAttempt, head: Header
) -> None:
    """Put a payment of nothing in the place of what was sent. Which of them is mined decides."""
    fee = attempts.more(contract, row, newest)
    if fee is None:
        return
    with transaction.atomic():
        attempt = attempts.sign_cancellation(row, newest.nonce, fee, head)
        _end_wish(row, Wish.CANCEL)
    attempts.send(contract, row, attempt)


# ---- sending ----------------------------------------------------------------------------------------------------


def submit(contract: Contract, head: Header) -> int:
    """Sign and send what is queued, the most urgent first. Returns how many rows left the queue."""
    due = EthereumTransaction.objects.filter(state=State.QUEUED, retry_at__lte=timezone.now())
    # Within a kind the one that was tried longest ago: some that can't be sent keep no others from their turn.
    rows = sorted(due, key=lambda row: (PRIORITY[row.kind], row.retry_at, row.pk))
    if not rows:
        return 0
    used = contract.node.transaction_count(settings.HUB_OWNER_ACCOUNT_ADDRESS)
    urgent = in_turn([row for row in rows if row.kind in URGENT])[: max(IN_FLIGHT - unmined(used), 0)]
    changed = each(urgent, lambda row: _submit_row(contract, row, head))
    others = in_turn([row for row in rows if row.kind not in URGENT])[
        : max(IN_FLIGHT // 2 - unmined(used), 0)
    ]
    return changed + each(others, lambda row: _submit_row(contract, row, head))


def _submit_row(contract: Contract, row: EthereumTransaction, head: Header) -> bool:
    try:
        data = _build(contract, row)
        estimate = contract.node.estimate_gas(settings.HUB_OWNER_ACCOUNT_ADDRESS, contract.address, data)
        if estimate > settings.HUB_GAS_CAP:
            raise RefusedError(f"it needs {estimate} gas, HUB_GAS_CAP is {settings.HUB_GAS_CAP}")
    except NotYetError as error:
        _postpone(row, str(error))
        return False
    except SupersededError as error:
        _end(row, State.SUPERSEDED, str(error))
        return True
    except ImpossibleError as error:
        _end(row, State.FAILED, str(error))
        return True
    except (RevertedError, NodeRefusedError, RefusedError) as error:
        _refused(row, str(error), by_node=isinstance(error, NodeRefusedError))
        return False
    except NodeError as error:
        _postpone(row, str(error), FAILED_SECONDS)
        raise
    gas = min(estimate * settings.HUB_GAS_MARGIN_PERCENT // 100, settings.HUB_GAS_CAP)
    count = contract.node.transaction_count(settings.HUB_OWNER_ACCOUNT_ADDRESS, pending=True)
    fee = offer(attempts.market(contract), attempts.limits())
    with transaction.atomic():
        lock_exclusive(Lock.SENDER)
        locked = EthereumTransaction.objects.select_for_update().get(pk=row.pk)
        if locked.state != State.QUEUED or not may_be_sent(locked):
            return False
        nonce = attempts.next_nonce(count)
        # One that ended has it still where a deep fork took away what was mined of it.
        EthereumTransaction.objects.filter(nonce=nonce).exclude(state=State.SENT).update(nonce=None)
        locked.state, locked.nonce, locked.refusals, locked.note = State.SENT, nonce, 0, ""
        locked.save()
        attempt = attempts.sign(locked, nonce, data, gas, fee, head)
    logger.info("%s: sent with nonce %s at %s", locked.tag, nonce, fee)
    if row.refusals >= ALARM_REFUSALS:
        clear_alarm("transaction held up", row.tag)
    attempts.send(contract, locked, attempt)
    return True


def _build(contract: Contract, row: EthereumTransaction) -> bytes:
    """The call. What goes wrong with one in a way that nobody expects keeps no other from being sent."""
    try:
        return build(contract, row)
    except (NotYetError, SupersededError, RefusedError, ImpossibleError, ChainError):
        raise
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        if row.refusals == 0:
            logger.exception("%s can't be built", row.tag)
        raise RefusedError(f"it can't be built: {type(error).__name__}: {error}") from error


def _postpone(row: EthereumTransaction, note: str, seconds: float = 2) -> None:
    row.note = note
    row.retry_at = timezone.now() + timedelta(seconds=seconds)
    row.save(update_fields=["note", "retry_at"])


def _refused(row: EthereumTransaction, note: str, by_node: bool) -> None:
    """Try again later, less and less often, checkpoints always soon; tell after some refusals in a row."""
    row.refusals += 1
    row.note, row.refused_by_node = note, by_node
    seconds = 1 if row.kind in REBUILT else min(2**row.refusals, LONGEST_RETRY_SECONDS)
    row.retry_at = timezone.now() + timedelta(seconds=seconds)
    row.save(update_fields=["refusals", "refused_by_node", "note", "retry_at"])
    logger.warning("%s: refused, again in %s s: %s", row.tag, seconds, note)
    if row.refusals < ALARM_REFUSALS:
        return
    if row.kind == "answerChallenge":
        raise_alarm("challenge unanswerable", f"{row.tag}: {note}", key=str(row.arguments["challenge"]))
    else:
        raise_alarm("transaction held up", f"{row.tag}: {note}", key=row.tag)
