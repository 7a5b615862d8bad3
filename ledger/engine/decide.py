"""What a command causes: an event, or a refusal."""

from __future__ import annotations

from ledger.engine.accounts import Account, Accounts
from ledger.engine.commands import (
    ChainEffect,
    Command,
    Deposit,
    PlaceOrder,
    RequestWithdrawal,
    Transfer,
)
from ledger.engine.events import (
    Deposited,
    Event,
    Refusal,
    Transferred,
    WithdrawalCancelled,
    WithdrawalRequested,
)
from ledger.engine.rules import HIGHEST_COUNTER, Facts, Rules
from ledger.engine.swaps import decide_action, decide_place, ordered, used
from nocust.encoding import MAX_UINT256
from nocust.leaves import OPEN_POSITION, transfer_leaf
from nocust.messages import active_state_hash, balance_marker_hash


def decide(accounts: Accounts, command: Command, facts: Facts, rules: Rules) -> Event | Refusal:
    """The event that `command` causes on `accounts`, or why it causes none. Raises ValueError for a fact of the
    chain that contradicts the ledger (an eon that is closed, more cancelled than was requested)."""
    if isinstance(command, Transfer):
        return _decide_transfer(accounts, command, facts, rules)
    if isinstance(command, ChainEffect):
        return _chain_effect(command, facts)
    if isinstance(command, PlaceOrder):
        return decide_place(accounts, command, facts, rules)
    return decide_action(accounts, command, facts, rules)


def _chain_effect(command: ChainEffect, facts: Facts) -> Event:
    if command.eon in facts.closed:
        raise ValueError(f"the ledger of eon {command.eon} is closed")
    if isinstance(command, Deposit):
        return Deposited(command.owner, command.eon, command.amount)
    if isinstance(command, RequestWithdrawal):
        return WithdrawalRequested(command.owner, command.eon, command.amount)
    return WithdrawalCancelled(command.owner, command.eon, command.amount)


def _decide_transfer(
    accounts: Accounts, command: Transfer, facts: Facts, rules: Rules
) -> Transferred | Refusal:
    refusal = _out_of_place(command, facts)
    if refusal is not None:
        return refusal
    sender = accounts[command.sender.wallet, command.eon]
    recipient = accounts[command.recipient.wallet, command.eon]
    return (
        _service_level(command, sender, recipient, rules)
        or _funds(command, sender, recipient, facts)
        or _signed_marker(command, rules)
        or _signed_transfer(command, sender, recipient, rules)
    )


def _out_of_place(command: Transfer, facts: Facts) -> Refusal | None:
    """Why the wallets cannot have this transfer now, whatever they hold."""
    if refusal := used(command.sender, command.eon, command.nonce, facts):
        return refusal
    if facts.stopped:
        return Refusal(facts.stopped)
    if command.eon != facts.eon or command.eon in facts.closed:
        return Refusal("EON_NUMBER_OUT_OF_SYNC", f"the latest eon is {facts.eon}")
    if command.sender.wallet == command.recipient.wallet:
        return Refusal("DEBIT_CREDIT_WALLET_ADDRESS_MATCH")
    if command.sender.token != command.recipient.token:
        return Refusal("DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH")
    return ordered(command.sender, command.recipient, facts)


def _service_level(command: Transfer, sender: Account, recipient: Account, rules: Rules) -> Refusal | None:
    """Each side's entries in its own set are limited unless it, or the other side, is exempt."""
    addresses = {command.sender.address, command.recipient.address}
    if addresses & rules.exempt:
        return None
    if sender.set_size >= rules.sla_threshold and not command.sender_subscribed:
        return Refusal("DEBIT_WALLET_EXCEEDED_SLA", f"{sender.set_size} transactions in this eon")
    if recipient.set_size > rules.sla_threshold and not command.recipient_subscribed:
        return Refusal("CREDIT_WALLET_EXCEEDED_SLA", f"{recipient.set_size} transactions in this eon")
    return None


def _funds(command: Transfer, sender: Account, recipient: Account, facts: Facts) -> Refusal | None:
    spendable = sender.available - facts.reserved.get(command.sender.wallet, 0)
    if command.amount > spendable:
        return Refusal("DEBIT_WALLET_OVERSPENDING", f"{command.amount} of {max(spendable, 0)}")
    if command.marker > spendable - command.amount:
        return Refusal(
            "DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE",
            f"{command.marker} claimed, {spendable - command.amount} would be left",
        )
    if sender.spent + command.amount > HIGHEST_COUNTER or recipient.received + command.amount > MAX_UINT256:
        return Refusal("DEBIT_WALLET_OVERSPENDING", "the contract cannot judge counters beyond 2**128 - 1")
    return None


def _signed_marker(command: Transfer, rules: Rules) -> Refusal | None:
    """The balance that the sender claims to keep."""
    sender = command.sender
    message = balance_marker_hash(rules.contract, sender.token, sender.address, command.eon, command.marker)
    if not rules.verify(message, command.marker_signature, sender.address):
        return Refusal("INVALID_DEBIT_BALANCE_SIGNATURE")
    return None


def _signed_transfer(
    command: Transfer, sender: Account, recipient: Account, rules: Rules
) -> Transferred | Refusal:
    """The state that the sender must have signed: its set with this transfer, whose position it could not know
    and left open (`spec/crypto.md` §6)."""
    to = command.recipient
    position = recipient.received
    opened = transfer_leaf(to.address, command.amount, to.trail, command.nonce, OPEN_POSITION)
    closed = sender.closed_set()
    root = closed.root_with(opened)
    spent = sender.spent + command.amount
    message = active_state_hash(
        rules.contract,
        command.sender.token,
        command.sender.address,
        command.sender.trail,
        command.eon,
        root,
        spent,
        sender.gained,
    )
    if not rules.verify(message, command.signature, command.sender.address):
        return Refusal("INVALID_DEBIT_SIGNATURE")
    return Transferred(
        sender=command.sender,
        recipient=to,
        eon=command.eon,
        amount=command.amount,
        nonce=command.nonce,
        position=position,
        marker=command.marker,
        marker_signature=command.marker_signature,
        spent=spent,
        gained=sender.gained,
        tx_set_hash=root,
        tx_set_index=closed.size,
        tx_set_proof=tuple(closed.proof_of_next(opened)),
        message=message,
        signature=command.signature,
        closed=closed,
        leaf=transfer_leaf(to.address, command.amount, to.trail, command.nonce, position),
    )
