"""Signed transactions: made and stored, then handed to a node. What is stored is sent again after a restart."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db.models import Max

from contractor.alarms import raise_alarm
from contractor.errors import ChainError, NodeRefusedError, RevertedError
from contractor.fees import Fee, Limits, Market, raised
from contractor.headers import Header
from contractor.interface import Contract
from contractor.models import ContractParameters, EthereumTransaction, EthereumTransactionAttempt
from contractor.nodes import nodes
from ledger.store import operator

logger = logging.getLogger(__name__)

TRANSFER_GAS = 21_000
"""Gas of a plain payment, as of nothing to oneself."""
KNOWN = ("already known", "alreadyknown", "already imported", "known transaction")
USED = ("nonce too low", "nonce is too low", "invalid nonce", "oldnonce")


def limits() -> Limits:
    """What the operator allows transactions to cost, from the settings."""
    return Limits(
        settings.HUB_FEE_FLOOR,
        settings.HUB_FEE_CAP,
        settings.HUB_PRIORITY_FEE_FLOOR,
        settings.HUB_BUMP_PERCENT,
    )


def fee_of(attempt: EthereumTransactionAttempt) -> Fee:
    """What an attempt offers."""
    return Fee(attempt.gas_price, attempt.priority_fee)


def market(contract: Contract) -> Market:
    """The fees of the moment. Raises NodeError."""
    return contract.node.fee_market()


def more(contract: Contract, row: EthereumTransaction, newest: EthereumTransactionAttempt) -> Fee | None:
    """The next offer for an attempt's nonce; None, with an alarm about the row, where the cap leaves no room."""
    fee = raised(fee_of(newest), market(contract), limits())
    if fee is None:
        raise_alarm(
            "fee cap",
            f"{row.tag}: {fee_of(newest)} can't be raised, HUB_FEE_CAP is {settings.HUB_FEE_CAP} wei",
            key=row.tag,
        )
    return fee


def sign(
    row: EthereumTransaction, nonce: int, data: bytes, gas: int, fee: Fee, head: Header
) -> EthereumTransactionAttempt:
    """A stored attempt of a call of the contract; the caller's transaction must commit before it is sent."""
    return _store(row, nonce, ContractParameters.objects.get().contract, data, gas, fee, head, cancels=False)


def sign_cancellation(
    row: EthereumTransaction, nonce: int, fee: Fee, head: Header
) -> EthereumTransactionAttempt:
    """A stored attempt that takes the nonce and does nothing: the operator pays itself nothing."""
    to = settings.HUB_OWNER_ACCOUNT_ADDRESS
    return _store(row, nonce, to, b"", TRANSFER_GAS, fee, head, cancels=True)


def sign_again(
    row: EthereumTransaction, before: EthereumTransactionAttempt, fee: Fee, head: Header
) -> EthereumTransactionAttempt:
    """A stored attempt of the same for another fee."""
    if before.cancels:
        return sign_cancellation(row, before.nonce, fee, head)
    return sign(row, before.nonce, bytes(before.data), before.gas, fee, head)


def _store(
    row: EthereumTransaction,
    nonce: int,
    to: bytes,
    data: bytes,
    gas: int,
    fee: Fee,
    head: Header,
    cancels: bool,
) -> EthereumTransactionAttempt:
    fields: dict[str, Any] = {
        "nonce": nonce,
        "gas": gas,
        "to": to,
        "value": 0,
        "data": data,
        "chainId": ContractParameters.objects.get().chain_id,
    }
    if fee.priority is None:
        fields["gasPrice"] = fee.maximum
    else:
        fields |= {"type": 2, "maxFeePerGas": fee.maximum, "maxPriorityFeePerGas": fee.priority}
    signed = operator().sign_transaction(fields)
    # After a fork the same nonce may be given to the same call again, which is the same transaction.
    attempt, _ = EthereumTransactionAttempt.objects.update_or_create(
        hash=signed.hash,
        defaults={
            "transaction": row,
            "nonce": nonce,
            "data": data,
            "gas": gas,
            "gas_price": fee.maximum,
            "priority_fee": fee.priority,
            "cancels": cancels,
            "signed_attempt": signed.raw,
            "block": head.number,
            "mined": None,
            "succeeded": None,
        },
    )
    return attempt


def send(contract: Contract, row: EthereumTransaction, attempt: EthereumTransactionAttempt) -> None:
    """Hand a stored attempt to the node. What it refuses is noted and looked after by `contractor.sender`. Raises
    NodeError when the node does not answer."""
    try:
        contract.node.send(bytes(attempt.signed_attempt))
    except (NodeRefusedError, RevertedError) as error:
        text = str(error).lower()
        if any(phrase in text for phrase in KNOWN):
            return
        if not any(phrase in text for phrase in USED):
            raise_alarm("transaction refused", f"{row.tag}: {error}", key=row.tag)
        EthereumTransaction.objects.filter(pk=row.pk).update(note=str(error))


def send_everywhere(
    contract: Contract, row: EthereumTransaction, attempt: EthereumTransactionAttempt
) -> None:
    """Hand an attempt to all nodes that answer: one may keep what it takes to itself. What the others say of it
    does not matter."""
    send(contract, row, attempt)
    for other in nodes().others(contract.node):
        try:
            other.send(bytes(attempt.signed_attempt))
        except ChainError as error:
            logger.info("%s: %s: %s", row.tag, other.name, error)


def send_unless_known(
    contract: Contract,
    row: EthereumTransaction,
    attempt: EthereumTransactionAttempt,
    known: bool | None = None,
) -> None:
    """Hand an attempt to a node that does not have it, or can't tell: what it has already does no harm. `known`:
    whether it has it, where that was asked before."""
    try:
        known = contract.node.knows(attempt.hash) if known is None else known
    except NodeRefusedError:
        known = False
    if not known:
        send(contract, row, attempt)


def next_nonce(count: int) -> int:
    """Beyond what the node counts and beyond what was given out and it may not have seen yet."""
    given = EthereumTransaction.objects.filter(state=EthereumTransaction.State.SENT)
    mined = EthereumTransactionAttempt.objects.filter(nonce__gte=count, mined__isnull=False)
    found = count
    for rows in (given, mined):
        newest: int | None = rows.aggregate(newest=Max("nonce"))["newest"]
        if newest is not None:
            found = max(found, newest + 1)
    return found
