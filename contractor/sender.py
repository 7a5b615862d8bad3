"""Sending the queued transactions, one nonce after the other, and watching them until they are deep enough.

A signed attempt is stored and committed before it is sent, so a restart sends the same one again. A nonce is given
only to what the contract would accept now, so a transaction that is refused holds up no other.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from contractor.alarms import raise_alarm
from contractor.builders import (
    REBUILT,
    ImpossibleError,
    NotYetError,
    RefusedError,
    SupersededError,
    build,
    give_up,
)
from contractor.chain import chain
from contractor.errors import NodeRefusedError, RevertedError
from contractor.headers import Header
from contractor.interface import Contract
from contractor.models import (
    ContractParameters,
    ContractState,
    EthereumTransaction,
    EthereumTransactionAttempt,
)
from contractor.node import Receipt
from contractor.transactions import PRIORITY
from ledger.models import ChainStatus
from operator_api.locks import Lock, lock_exclusive

logger = logging.getLogger(__name__)

State = EthereumTransaction.State

GAS_MARGIN = 1.3
GAS_LIMIT = 5_000_000
LOWEST_GAS_PRICE = 10**8  # wei
HIGHEST_GAS_PRICE = 500 * 10**9  # wei
BUMP_BLOCKS = 10
"""Blocks after which an attempt that is not mined is sent again at a higher price."""
BUMP_PERCENT = 125
IN_FLIGHT = 50
"""Most transactions on their way at once."""
LONGEST_RETRY_SECONDS = 30
ALARM_REFUSALS = 5

KNOWN = ("already known", "already imported", "known transaction")
USED = ("nonce too low", "nonce is too low", "invalid nonce")

_watched: tuple[bytes, int] | None = None


def step() -> int:
    """Watch what is on its way, then send what is queued. Returns how many rows changed. Raises NodeError when the
    node does not answer, WrongChainError."""
    global _watched  # noqa: PLW0603 (spares asking for receipts when no block came)
    contract = chain()
    head = contract.node.head()
    confirmed = ChainStatus.objects.values_list("confirmed_block", flat=True).first() or 0
    changed = 0
    if _watched != (head.hash, confirmed):
        changed = watch(contract, head, confirmed)
    changed += submit(contract, head)
    _watched = head.hash, confirmed
    return changed


# ---- watching ---------------------------------------------------------------------------------------------------


def watch(contract: Contract, head: Header, confirmed: int) -> int:
    """Look after everything sent: confirmed, failed, lost, or to be sent again. Returns how many rows ended."""
    rows = EthereumTransaction.objects.filter(state=State.SENT).order_by("nonce")
    if not rows:
        return 0
    used = contract.node.transaction_count(settings.HUB_OWNER_ACCOUNT_ADDRESS)
    return sum(_watch_row(contract, row, head, confirmed, used) for row in rows)


def _watch_row(contract: Contract, row: EthereumTransaction, head: Header, confirmed: int, used: int) -> bool:
    assert row.nonce is not None
    attempts = list(row.attempts.filter(nonce=row.nonce))
    for attempt in reversed(attempts):
        receipt = contract.node.receipt(attempt.hash)
        if receipt is not None:
            return _mined(row, attempt, receipt, confirmed)
    row.attempts.filter(nonce=row.nonce, mined__isnull=False).update(mined=None, succeeded=None)
    if used > row.nonce:
        return _lost(row, head)
    if row.missing_since is not None:
        row.missing_since = None
        row.save(update_fields=["missing_since"])
    newest = attempts[-1]
    if head.number - newest.block >= BUMP_BLOCKS:
        _bump(contract, row, newest, head)
    elif not contract.node.knows(newest.hash):
        _send(contract, row, newest)
    return False


def _mined(
    row: EthereumTransaction, attempt: EthereumTransactionAttempt, receipt: Receipt, confirmed: int
) -> bool:
    if (attempt.mined, attempt.succeeded) != (receipt.block, receipt.succeeded):
        attempt.mined, attempt.succeeded = receipt.block, receipt.succeeded
        attempt.save(update_fields=["mined", "succeeded"])
    if not receipt.succeeded and row.kind in REBUILT:
        logger.warning("%s was reverted in block %s and is built again", row.tag, receipt.block)
        _requeue(row, f"reverted in block {receipt.block}")
        return True
    if not _is_deep(receipt, confirmed):
        return False
    if receipt.succeeded:
        _end(row, State.CONFIRMED, f"block {receipt.block}")
    else:
        _end(row, State.FAILED, f"reverted in block {receipt.block}")
    return True


def _is_deep(receipt: Receipt, confirmed: int) -> bool:
    """Whether the follower has applied the receipt's block, and it is the block that the receipt means."""
    if receipt.block > confirmed:
        return False
    known = ContractState.objects.filter(block=receipt.block).values_list("block_hash", flat=True).first()
    return known is None or known == receipt.block_hash


def _lost(row: EthereumTransaction, head: Header) -> bool:
    """The nonce is used up, but none of our attempts has a receipt: another transaction of this account took it.
    Once that is deep, ours is built again under a new nonce."""
    if row.missing_since is None or row.missing_since > head.number:
        row.missing_since = head.number
        row.save(update_fields=["missing_since"])
        return False
    if head.number - row.missing_since < settings.HUB_LQD_CONTRACT_CONFIRMATIONS:
        return False
    raise_alarm(
        "nonce taken", f"{row.tag}: nonce {row.nonce} of the operator was used by another transaction"
    )
    _requeue(row, f"nonce {row.nonce} was taken")
    return True


def _requeue(row: EthereumTransaction, note: str) -> None:
    row.state, row.nonce, row.missing_since, row.note = State.QUEUED, None, None, note
    row.retry_at = timezone.now()
    row.save()


def _end(row: EthereumTransaction, state: EthereumTransaction.State, note: str) -> None:
    with transaction.atomic():
        row.state, row.note = state, note
        row.save(update_fields=["state", "note"])
        if state == State.FAILED:
            give_up(row)
    logger.info("%s: %s, %s", row.tag, state, note)


def _bump(
    contract: Contract, row: EthereumTransaction, newest: EthereumTransactionAttempt, head: Header
) -> None:
    """Offer more for the same nonce; the call stays what it was."""
    price = min(max(-(-newest.gas_price * BUMP_PERCENT // 100), _gas_price(contract)), HIGHEST_GAS_PRICE)
    raise_alarm(
        "stuck transaction",
        f"{row.tag}: nonce {row.nonce} is not mined since block {newest.block} at {newest.gas_price} wei",
    )
    if price <= newest.gas_price:
        _send(contract, row, newest)
        return
    with transaction.atomic():
        assert row.nonce is not None
        attempt = _signed(row, row.nonce, bytes(newest.data), newest.gas, price, head)
    _send(contract, row, attempt)


# ---- sending ----------------------------------------------------------------------------------------------------


def submit(contract: Contract, head: Header) -> int:
    """Sign and send what is queued, the most urgent first. Returns how many rows left the queue."""
    sent = EthereumTransaction.objects.filter(state=State.SENT)
    room = IN_FLIGHT - sent.exclude(attempts__mined__isnull=False).count()
    due = EthereumTransaction.objects.filter(state=State.QUEUED, retry_at__lte=timezone.now())
    rows = sorted(due, key=lambda row: (PRIORITY[row.kind], row.pk))
    return sum(_submit_row(contract, row, head) for row in rows[: max(room, 0)])


def _submit_row(contract: Contract, row: EthereumTransaction, head: Header) -> bool:
    try:
        data = build(contract, row)
        estimate = contract.node.estimate_gas(settings.HUB_OWNER_ACCOUNT_ADDRESS, contract.address, data)
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
        _refused(row, str(error))
        return False
    gas = min(int(estimate * GAS_MARGIN), GAS_LIMIT)
    count = contract.node.transaction_count(settings.HUB_OWNER_ACCOUNT_ADDRESS, pending=True)
    price = _gas_price(contract)
    with transaction.atomic():
        lock_exclusive(Lock.SENDER)
        locked = EthereumTransaction.objects.select_for_update().get(pk=row.pk)
        if locked.state != State.QUEUED:
            return False
        nonce = _next_nonce(count)
        locked.state, locked.nonce, locked.refusals, locked.note = State.SENT, nonce, 0, ""
        locked.save()
        attempt = _signed(locked, nonce, data, gas, price, head)
    logger.info("%s: sent with nonce %s", locked.tag, nonce)
    _send(contract, locked, attempt)
    return True


def _next_nonce(count: int) -> int:
    """Beyond what the node counts and beyond what we gave out and it may not have seen yet."""
    given = EthereumTransaction.objects.filter(state=State.SENT)
    mined = EthereumTransactionAttempt.objects.filter(nonce__gte=count, mined__isnull=False)
    next_nonce = count
    for rows in (given, mined):
        newest: int | None = rows.aggregate(newest=Max("nonce"))["newest"]
        if newest is not None:
            next_nonce = max(next_nonce, newest + 1)
    return next_nonce


def _gas_price(contract: Contract) -> int:
    return min(max(contract.node.gas_price(), LOWEST_GAS_PRICE), HIGHEST_GAS_PRICE)


def _signed(
    row: EthereumTransaction, nonce: int, data: bytes, gas: int, price: int, head: Header
) -> EthereumTransactionAttempt:
    """A stored attempt, signed with the operator's key; the caller's transaction must commit before it is sent."""
    from eth_account import Account

    parameters = ContractParameters.objects.get()
    signed = Account.sign_transaction(
        {
            "nonce": nonce,
            "gasPrice": price,
            "gas": gas,
            "to": parameters.contract,
            "value": 0,
            "data": data,
            "chainId": parameters.chain_id,
        },
        settings.HUB_OWNER_ACCOUNT_KEY,
    )
    return EthereumTransactionAttempt.objects.create(
        transaction=row,
        nonce=nonce,
        data=data,
        gas=gas,
        gas_price=price,
        signed_attempt=bytes(signed.raw_transaction),
        hash=bytes(signed.hash),
        block=head.number,
    )


def _send(contract: Contract, row: EthereumTransaction, attempt: EthereumTransactionAttempt) -> None:
    """Hand a stored attempt to the node. What it refuses is noted and looked after by `watch`."""
    try:
        contract.node.send(bytes(attempt.signed_attempt))
    except (NodeRefusedError, RevertedError) as error:
        text = str(error).lower()
        if any(phrase in text for phrase in KNOWN):
            return
        if not any(phrase in text for phrase in USED):
            raise_alarm("transaction refused", f"{row.tag}: {error}")
        EthereumTransaction.objects.filter(pk=row.pk).update(note=str(error))


def _postpone(row: EthereumTransaction, note: str) -> None:
    row.note = note
    row.retry_at = timezone.now() + timedelta(seconds=2)
    row.save(update_fields=["note", "retry_at"])


def _refused(row: EthereumTransaction, note: str) -> None:
    """Try again later, less and less often, checkpoints always soon; tell after some refusals in a row."""
    row.refusals += 1
    row.note = note
    seconds = 1 if row.kind in REBUILT else min(2**row.refusals, LONGEST_RETRY_SECONDS)
    row.retry_at = timezone.now() + timedelta(seconds=seconds)
    row.save(update_fields=["refusals", "note", "retry_at"])
    logger.warning("%s: refused, again in %s s: %s", row.tag, seconds, note)
    if row.refusals >= ALARM_REFUSALS:
        raise_alarm("transaction held up", f"{row.tag}: {note}")
