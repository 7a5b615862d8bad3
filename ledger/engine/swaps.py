"""Decisions about orders (`spec/ledger.md` §7, `spec/crypto.md` §7).

While an order is in force its wallets' signed counters stand still: the debit wallet's say that the whole amount
is spent, the credit wallet's that nothing came. What was matched is kept beside them, and becomes part of the
counters when the order is finalised or cancelled, or of the next eon's balance when the eon ends. Every state
that the operator signs here can be justified to the contract at the end of its eon, whatever is matched until
then.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from ledger.engine.accounts import Account, Accounts, Owner
from ledger.engine.commands import CancelOrder, Fill, FinalizeOrder, FreezeOrder, OrderAction, PlaceOrder
from ledger.engine.events import Refusal
from ledger.engine.order_events import (
    Filled,
    OrderCancelled,
    OrderCarried,
    OrderEon,
    OrderEvent,
    OrderFinalized,
    OrderFrozen,
    OrderPlaced,
    OrderVoided,
    Side,
)
from ledger.engine.orders import Order, SignedState
from ledger.engine.rules import HIGHEST_ORDERED, Facts, Rules
from nocust.encoding import ZERO_HASH
from nocust.matching_orders import within_limits
from nocust.messages import freeze_hash
from nocust.swaps import (
    EonStates,
    State,
    SwapOrder,
    WalletPosition,
    credit_cancellation_messages,
    debit_cancellation_messages,
    empty_marker,
    finalization_messages,
    order_states,
)

NOT_STORED = UUID(int=0)
"""The `tx_id` of an order that the store has not given one yet."""


def decide_place(accounts: Accounts, command: PlaceOrder, facts: Facts, rules: Rules) -> OrderEvent | Refusal:
    """The order in force, or why it is not accepted."""
    if refusal := used(command.debit, command.eon, command.nonce, facts):
        return refusal
    if facts.stopped:
        return Refusal(facts.stopped)
    refusal = _out_of_sync(command.eon, facts)
    if refusal is not None:
        return refusal
    refusal = ordered(command.debit, command.credit, facts)
    if refusal is not None:
        return refusal
    debit = accounts[command.debit.wallet, command.eon]
    credit = accounts[command.credit.wallet, command.eon]
    return _order_funds(command, debit, credit, facts) or _signed_order(command, debit, credit, rules)


def used(sender: Owner, eon: int, nonce: int, facts: Facts) -> Refusal | None:
    """Why a transfer or order cannot be new. It is asked first: who sends one again in a later eon, and hears of
    that, would sign it anew and pay twice (`spec/http-api.md` §6)."""
    if (sender.wallet, eon, nonce) in facts.used_nonces:
        return Refusal("unique", "The sender has used this nonce in this eon already.")
    return None


def ordered(debit: Owner, credit: Owner, facts: Facts) -> Refusal | None:
    """Why an order that holds one of the wallets keeps a transaction out of it."""
    if debit.wallet in facts.ordered:
        return Refusal("DEBIT_WALLET_CANNOT_ADD_TRANSACTION", "an order holds the wallet")
    if credit.wallet in facts.ordered:
        return Refusal("CREDIT_WALLET_CANNOT_ADD_TRANSACTION", "an order holds the wallet")
    return None


def _out_of_sync(eon: int, facts: Facts) -> Refusal | None:
    """Orders wait for the checkpoint that closes the eon before: their states start from balances that are
    final."""
    if eon != facts.eon or eon in facts.closed:
        return Refusal("EON_NUMBER_OUT_OF_SYNC", f"the latest eon is {facts.eon}")
    if eon > 1 and eon - 1 not in facts.closed:
        return Refusal("EON_NUMBER_OUT_OF_SYNC", f"the ledger of eon {eon - 1} is not closed yet")
    return None


def _order_funds(command: PlaceOrder, debit: Account, credit: Account, facts: Facts) -> Refusal | None:
    spendable = debit.available - facts.reserved.get(command.debit.wallet, 0)
    if command.amount > spendable:
        return Refusal("DEBIT_WALLET_OVERSPENDING", f"{command.amount} of {max(spendable, 0)}")
    if command.amount != spendable:
        return Refusal(
            "DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH", f"an order takes all of the wallet's {spendable}"
        )
    if credit.available:
        return Refusal("CREDIT_WALLET_BALANCE_NOT_ZERO", f"the wallet has {credit.available}")
    return _countable(command, debit, credit)


def _countable(command: PlaceOrder, debit: Account, credit: Account) -> Refusal | None:
    """Why the owner could not challenge the states that end the order: they count its amounts once more, what was
    wanted even if nothing was matched."""
    for wallet, amount, code in (
        (debit, command.amount, "INVALID_DEBIT_AMOUNT"),
        (credit, command.amount_swapped, "INVALID_CREDIT_AMOUNT"),
    ):
        if max(wallet.spent, wallet.gained) + 2 * amount > HIGHEST_ORDERED:
            return Refusal(
                code, "the wallet's counters of an eon would be beyond what the contract can judge"
            )
    return None


def _signed_order(
    command: PlaceOrder, debit: Account, credit: Account, rules: Rules
) -> OrderPlaced | Refusal:
    order = Order(
        row=0,
        tx_id=NOT_STORED,
        debit=command.debit,
        credit=command.credit,
        eon=command.eon,
        last_eon=command.eon + len(command.debit_signatures) - 1,
        amount=command.amount,
        amount_swapped=command.amount_swapped,
        sell=command.sell,
        nonce=command.nonce,
        fulfillment=(0, 0, ZERO_HASH),
    )
    protocol = order.protocol(rules.contract)
    positions = _position(debit), _position(credit)
    states = order_states(protocol, *positions, order.eons_left)
    refusal = _first_signatures(command, protocol, states[0], rules)
    if refusal is not None:
        return refusal
    complete = states[0].fulfillment
    order = replace(order, fulfillment=(complete.spent, complete.gained, complete.tx_set_root))
    leaves = protocol.leaf(debit.opening), protocol.leaf(credit.opening)
    return OrderPlaced(order, _eons(command, states, positions, leaves), leaves)


def _position(account: Account) -> WalletPosition:
    return WalletPosition(
        start=account.opening, spent=account.spent, gained=account.gained, transactions=account.closed_set()
    )


def _first_signatures(
    command: PlaceOrder, protocol: SwapOrder, states: EonStates, rules: Rules
) -> Refusal | None:
    """Why the first eon's signatures are not the owner's. What the later eons' are worth is found out before they
    are needed (`ledger.verification`)."""
    debit_marker = empty_marker(protocol, protocol.debit_token, command.eon)
    credit_marker = empty_marker(protocol, protocol.credit_token, command.eon)
    signed = (
        (debit_marker, command.debit_marker_signatures, "INVALID_DEBIT_BALANCE_SIGNATURE"),
        (credit_marker, command.credit_marker_signatures, "INVALID_CREDIT_BALANCE_SIGNATURE"),
        (states.debit.message, command.debit_signatures, "INVALID_DEBIT_SIGNATURE"),
        (states.credit.message, command.credit_signatures, "INVALID_CREDIT_SIGNATURE"),
        (states.fulfillment.message, command.fulfillment_signatures, "INVALID_CREDIT_FULFILLMENT_SIGNATURE"),
    )
    for message, signatures, code in signed:
        if not rules.verify(message, signatures[0], command.debit.address):
            return Refusal(code)
    return None


def _eons(
    command: PlaceOrder,
    states: list[EonStates],
    positions: tuple[WalletPosition, WalletPosition],
    leaves: tuple[bytes, bytes],
) -> tuple[OrderEon, ...]:
    made = []
    later = WalletPosition(start=command.amount), WalletPosition(start=0)
    first, others = _paths(positions, leaves), _paths(later, leaves)
    for index, state in enumerate(states):
        debit, credit = later if index else positions
        given, got = others if index else first
        made.append(
            OrderEon(
                debit=_signed(command.debit, state.debit, command.debit_signatures[index], given),
                credit=_signed(command.credit, state.credit, command.credit_signatures[index], got),
                fulfillment=_signed(
                    command.credit, state.fulfillment, command.fulfillment_signatures[index], got
                ),
                debit_start=debit.start,
                credit_start=credit.start,
                debit_marker_signature=command.debit_marker_signatures[index],
                credit_marker_signature=command.credit_marker_signatures[index],
            )
        )
    return tuple(made)


_Path = tuple[int, tuple[bytes, ...]]
"""The index of an entry of a set, and the hashes beside its path."""


def _paths(
    positions: tuple[WalletPosition, WalletPosition], leaves: tuple[bytes, bytes]
) -> tuple[_Path, _Path]:
    """Where an order stands in the sets of its two wallets: the newest entry's path is the same whatever it is."""
    debit, credit = (
        (position.transactions.size, tuple(position.transactions.proof_of_next(leaf)))
        for position, leaf in zip(positions, leaves, strict=True)
    )
    return debit, credit


def _signed(owner: Owner, state: State, signature: bytes, path: _Path) -> SignedState:
    return SignedState(
        owner=owner,
        eon=state.eon,
        spent=state.spent,
        gained=state.gained,
        tx_set_hash=state.tx_set_root,
        tx_set_index=path[0],
        tx_set_proof=path[1],
        message=state.message,
        signature=signature,
    )


# ---- orders that exist ------------------------------------------------------------------------------------------


def decide_action(
    accounts: Accounts, command: OrderAction, facts: Facts, rules: Rules
) -> OrderEvent | Refusal:
    """What `command` does to its order or orders, or why nothing."""
    if facts.stopped:
        return Refusal(facts.stopped)
    if isinstance(command, Fill):
        return _decide_fill(accounts, command, facts, rules)
    order = facts.orders.get(command.order)
    if order is None:
        return Refusal("SWAP_ALREADY_CLOSED", "the order's last eon is over")
    if isinstance(command, FreezeOrder):
        return _decide_freeze(order, command, rules)
    refusal = _out_of_sync(order.eon, facts)
    if isinstance(command, CancelOrder):
        return _why_not_cancelled(order, command) or refusal or _cancel(accounts, order, command, rules)
    assert isinstance(command, FinalizeOrder)
    return _why_not_finalized(order, command) or refusal or _finalize(accounts, order, command, rules)


def _decide_freeze(order: Order, command: FreezeOrder, rules: Rules) -> OrderFrozen | Refusal:
    if order.complete:
        return Refusal("SWAP_ALREADY_FULFILLED")
    refusal = _why_over(order)
    if refusal is not None:
        return refusal
    message = freeze_hash(order.debit.token, order.credit.token, order.nonce)
    if not rules.verify(message, command.signature, order.debit.address):
        return Refusal("INVALID_FREEZING_SIGNATURE")
    return OrderFrozen(replace(order, frozen=True), command.signature)


def _why_over(order: Order) -> Refusal | None:
    if order.frozen:
        return Refusal("SWAP_ALREADY_FROZEN")
    if order.voided:
        return Refusal("SWAP_ALREADY_VOIDED", order.void_reason)
    if order.processed:
        return Refusal("SWAP_ALREADY_CLOSED")
    return None


def _why_not_cancelled(order: Order, command: CancelOrder) -> Refusal | None:
    if not order.frozen:
        return Refusal("SWAP_NOT_FROZEN")
    if order.processed:
        return Refusal("SWAP_ALREADY_CLOSED", order.void_reason)
    if len(command.debit_signatures) != order.eons_left:
        return Refusal("WRONG_NUMBER_OF_DEBIT_SIGNATURES", f"{order.eons_left} eons are left")
    if len(command.credit_signatures) != order.eons_left:
        return Refusal("WRONG_NUMBER_OF_CREDIT_SIGNATURES", f"{order.eons_left} eons are left")
    return None


def _cancel(accounts: Accounts, order: Order, command: CancelOrder, rules: Rules) -> OrderCancelled | Refusal:
    """The rest comes back to the debit wallet's counters, what was matched to the credit wallet's."""
    protocol = order.protocol(rules.contract)
    debit = accounts[order.debit.wallet, order.eon]
    credit = accounts[order.credit.wallet, order.eon]
    debit_leaf, done_leaf = order.debit_leaf(debit, rules.contract), order.done_leaf(rules.contract)
    debit_root, credit_root = debit.closed.root_with(debit_leaf), credit.closed.root_with(done_leaf)
    debit_messages = debit_cancellation_messages(
        protocol, debit_root, debit.spent, debit.gained, order.matched_out, order.eon, order.eons_left
    )
    credit_messages = credit_cancellation_messages(
        protocol, credit_root, credit.spent, credit.gained, order.matched_in, order.eon, order.eons_left
    )
    future = ""
    for debit_message, credit_message, debit_signature, credit_signature in zip(
        debit_messages, credit_messages, command.debit_signatures, command.credit_signatures, strict=True
    ):
        if not rules.verify(debit_message, debit_signature, order.debit.address):
            return Refusal(f"INVALID_{future}DEBIT_SIGNATURE")
        if not rules.verify(credit_message, credit_signature, order.credit.address):
            return Refusal(f"INVALID_{future}CREDIT_SIGNATURE")
        future = "FUTURE_"
    rest = order.amount - order.matched_out
    return OrderCancelled(
        replace(order, processed=True),
        _closing(
            order.debit,
            debit,
            debit_leaf,
            (debit.spent, debit.gained + rest),
            debit_messages,
            command.debit_signatures,
        ),
        _closing(
            order.credit,
            credit,
            done_leaf,
            (credit.spent + order.amount_swapped, credit.gained + order.matched_in + order.amount_swapped),
            credit_messages,
            command.credit_signatures,
        ),
        done_leaf,
    )


def _closing(
    owner: Owner,
    account: Account,
    leaf: bytes,
    counters: tuple[int, int],
    messages: list[bytes],
    signatures: tuple[bytes, ...],
) -> SignedState:
    """The state that ends an order on one side: the first of those signed."""
    return SignedState(
        owner=owner,
        eon=account.eon,
        spent=counters[0],
        gained=counters[1],
        tx_set_hash=account.closed.root_with(leaf),
        tx_set_index=account.closed.size,
        tx_set_proof=tuple(account.closed.proof_of_next(leaf)),
        message=messages[0],
        signature=signatures[0],
    )


def _why_not_finalized(order: Order, command: FinalizeOrder) -> Refusal | None:
    if not order.complete:
        return Refusal("SWAP_NOT_FULFILLED")
    refusal = _why_over(order)
    if refusal is not None:
        return refusal
    if len(command.signatures) != order.eons_left:
        return Refusal("WRONG_NUMBER_OF_CREDIT_SIGNATURES", f"{order.eons_left} eons are left")
    return None


def _finalize(
    accounts: Accounts, order: Order, command: FinalizeOrder, rules: Rules
) -> OrderFinalized | Refusal:
    credit = accounts[order.credit.wallet, order.eon]
    leaf = order.done_leaf(rules.contract)
    got = credit.gained + order.matched_in
    root = credit.closed.root_with(leaf)
    messages = finalization_messages(
        order.protocol(rules.contract), root, credit.spent, got, order.eon, order.eons_left
    )
    code = "INVALID_CREDIT_SIGNATURE"
    for message, signature in zip(messages, command.signatures, strict=True):
        if not rules.verify(message, signature, order.credit.address):
            return Refusal(code)
        code = "INVALID_FUTURE_CREDIT_SIGNATURE"
    counters = credit.spent + order.amount_swapped, got + order.amount_swapped
    return OrderFinalized(
        replace(order, processed=True),
        _closing(order.credit, credit, leaf, counters, messages, command.signatures),
    )


# ---- matching ---------------------------------------------------------------------------------------------------


def _decide_fill(accounts: Accounts, command: Fill, facts: Facts, rules: Rules) -> Filled | Refusal:
    taker, maker = facts.orders.get(command.taker), facts.orders.get(command.maker)
    for order in (taker, maker):
        if order is None or not order.is_open or _out_of_sync(order.eon, facts):
            return Refusal("SWAP_ALREADY_CLOSED", str(command.taker if order is taker else command.maker))
    assert taker is not None
    assert maker is not None
    if (taker.debit.token, taker.credit.token) != (maker.credit.token, maker.debit.token):
        raise ValueError("orders that are matched are of opposite directions")
    sides = []
    for order, gives, gets in (
        (taker, command.taker_gives, command.maker_gives),
        (maker, command.maker_gives, command.taker_gives),
    ):
        if accounts[order.debit.wallet, order.eon].available < order.amount - order.out:
            return Refusal("DEBIT_WALLET_OVERSPENDING", str(order.tx_id))
        side = _filled(accounts[order.credit.wallet, order.eon], order, gives, gets, rules)
        if side is None:
            raise ValueError(f"a fill goes beyond the limits of order {order.tx_id}")
        sides.append(side)
    return Filled(sides[0], sides[1], command.taker_gives, command.maker_gives)


def _filled(credit: Account, order: Order, gives: int, gets: int, rules: Rules) -> Side | None:
    """The order after the fill, None if it goes beyond what its owner signed.

    The fulfilled state says that the whole amount came in this eon. Of an order that got part of it in earlier eons
    the operator could not justify that, and leaves it unsigned: the open state tells the truth as well.
    """
    order = replace(order, matched_out=order.matched_out + gives, matched_in=order.matched_in + gets)
    if not within_limits(order, order.out, order.got):
        return None
    if not order.sell and order.got > order.amount_swapped:
        return None
    if order.out < order.amount and (order.sell or order.got < order.amount_swapped):
        return Side(order)
    order = replace(order, complete=True)
    message = None
    if order.matched_in >= order.amount_swapped:
        spent, gained, root = order.fulfillment
        message = order.protocol(rules.contract).credit_state(order.eon, root, spent, gained)
    return Side(order, order.done_leaf(rules.contract), message)


# ---- eons -------------------------------------------------------------------------------------------------------


def carry_over(accounts: Accounts, before: Order, row: Order, rules: Rules) -> OrderCarried | OrderVoided:
    """How an order goes on in the next eon, which its `row` there is for, after the one that ended with `before`.

    The states for it were signed in advance for a debit balance of the whole amount, a credit balance of nothing
    and sets with nothing else. More in the wallets than was left of the order does no harm; with less, which only
    the owner's own withdrawal can cause, the operator could not justify the order any more, and it ends.
    """
    order = replace(row, prior_out=before.out, prior_in=before.got)
    debit = accounts[row.debit.wallet, row.eon]
    credit = accounts[row.credit.wallet, row.eon]
    reason = row.void_reason
    if before.frozen or row.frozen:
        reason = "it was frozen"
    elif before.complete:
        reason = "it was complete"
    elif before.voided or row.voided:
        reason = reason or "an earlier eon of it was void"
    elif debit.set_size or credit.set_size:
        reason = "its wallets have other transactions in the new eon"
    elif debit.opening < order.amount - order.out:
        reason = "its debit wallet has less than is left of it"
    elif credit.opening < order.got:
        reason = "its credit wallet has less than it got"
    if reason:
        return OrderVoided(replace(order, voided=True, processed=True, void_reason=reason))
    protocol = order.protocol(rules.contract)
    leaves = protocol.leaf(debit.opening), protocol.leaf(credit.opening)
    return OrderCarried(replace(order, appended=True), leaves)
