"""States signed when a swap order is placed, finalised or cancelled (``spec/crypto.md`` §7).

An order reaches over several eons. Array index i belongs to eon `first eon + i`; everything returned is a
list of 32-byte message hashes in that order. Amounts are in smallest units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nocust.encoding import ZERO_HASH
from nocust.errors import InvalidInteger
from nocust.leaves import COMPLETE_START, swap_leaf
from nocust.merkle import Peaks
from nocust.messages import active_state_hash, balance_marker_hash

MAX_ORDER_EONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapOrder:
    """An order of `owner`: `amount` of the debit for `amount_swapped` of the credit token from `eon` on."""

    contract: bytes
    owner: bytes
    debit_token: bytes
    credit_token: bytes
    debit_trail: int
    credit_trail: int
    amount: int
    amount_swapped: int
    nonce: int
    eon: int

    def leaf(self, start: int) -> bytes:
        """Leaf of the order for a start balance."""
        return swap_leaf(
            self.debit_token,
            self.credit_token,
            self.credit_trail,
            self.amount,
            self.amount_swapped,
            start,
            self.nonce,
        )

    def debit_state(self, eon: int, tx_set_root: bytes, spent: int, gained: int) -> bytes:
        """Hash of a state of the wallet that gives."""
        return active_state_hash(
            self.contract, self.debit_token, self.owner, self.debit_trail, eon, tx_set_root, spent, gained
        )

    def credit_state(self, eon: int, tx_set_root: bytes, spent: int, gained: int) -> bytes:
        """Hash of a state of the wallet that receives."""
        return active_state_hash(
            self.contract, self.credit_token, self.owner, self.credit_trail, eon, tx_set_root, spent, gained
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletPosition:
    """A wallet just before an order enters its set in the order's first eon.

    `start` is its balance at the start of the eon, `transactions` its set so far, the newest transfer already
    closed, `spent` and `gained` its counters.
    """

    start: int
    spent: int = 0
    gained: int = 0
    transactions: Peaks = Peaks.EMPTY


class State(NamedTuple):
    """A state of one wallet: its eon, counters, set and what is signed of it."""

    eon: int
    spent: int
    gained: int
    tx_set_root: bytes
    message: bytes


class EonStates(NamedTuple):
    """What an order makes of its wallets in one of its eons: the giving wallet's state, and the receiving one's
    as long as the order is open and once it is fulfilled."""

    debit: State
    credit: State
    fulfillment: State


class OrderMessages(NamedTuple):
    """Message hashes that the owner signs when placing an order; all lists have one entry per eon (§7.1)."""

    debit: list[bytes]
    credit: list[bytes]
    fulfillment: list[bytes]
    debit_balance: list[bytes]
    credit_balance: list[bytes]


def order_states(
    order: SwapOrder, debit: WalletPosition, credit: WalletPosition, eons: int
) -> list[EonStates]:
    """States of an order that lasts `eons` eons (1 to 20, else InvalidInteger), its first eon first.

    In later eons the sets hold nothing but the order, the whole debit balance is the amount and the credit
    balance is 0, whatever was matched in between.
    """
    _check_eons(eons)
    later = WalletPosition(start=order.amount), WalletPosition(start=0)
    return [
        _eon_states(order, order.eon + offset, *(later if offset else (debit, credit)))
        for offset in range(eons)
    ]


def _eon_states(order: SwapOrder, eon: int, debit: WalletPosition, credit: WalletPosition) -> EonStates:
    debit_root = debit.transactions.root_with(order.leaf(debit.start))
    credit_root = credit.transactions.root_with(order.leaf(credit.start))
    complete_root = credit.transactions.root_with(order.leaf(COMPLETE_START))
    given = eon, debit.spent + order.amount, debit.gained, debit_root
    waiting = eon, credit.spent, credit.gained, credit_root
    complete = eon, credit.spent, credit.gained + order.amount_swapped, complete_root
    return EonStates(
        State(*given, order.debit_state(eon, debit_root, *given[1:3])),
        State(*waiting, order.credit_state(eon, credit_root, *waiting[1:3])),
        State(*complete, order.credit_state(eon, complete_root, *complete[1:3])),
    )


def order_messages(
    order: SwapOrder, debit: WalletPosition, credit: WalletPosition, eons: int
) -> OrderMessages:
    """Hashes of the five signature arrays of an order that lasts `eons` eons (1 to 20, else InvalidInteger)."""
    states = order_states(order, debit, credit, eons)
    return OrderMessages(
        [state.debit.message for state in states],
        [state.credit.message for state in states],
        [state.fulfillment.message for state in states],
        [empty_marker(order, order.debit_token, state.debit.eon) for state in states],
        [empty_marker(order, order.credit_token, state.debit.eon) for state in states],
    )


def finalization_messages(
    order: SwapOrder, tx_set_root: bytes, spent: int, gained: int, eon: int, eons: int
) -> list[bytes]:
    """Credit wallet's states that end a fulfilled order, from the current `eon` on (§7.2).

    `tx_set_root` is of the set with the order's leaf at COMPLETE_START; `spent` and `gained` are the counters
    before fulfilment plus, in `gained`, what the order took in during this eon.
    """
    counters = spent + order.amount_swapped, gained + order.amount_swapped
    return _closing(order.credit_state, tx_set_root, *counters, eon, eons)


def debit_cancellation_messages(
    order: SwapOrder, tx_set_root: bytes, spent: int, gained: int, matched_out: int, eon: int, eons: int
) -> list[bytes]:
    """Debit wallet's states that cancel an order, from the current `eon` on (§7.3).

    `tx_set_root` is of the set as it is; `spent` includes the order's amount; `matched_out` is what the order
    gave during this eon, the rest of the amount is gained back.
    """
    return _closing(order.debit_state, tx_set_root, spent, gained + order.amount - matched_out, eon, eons)


def credit_cancellation_messages(
    order: SwapOrder, tx_set_root: bytes, spent: int, gained: int, matched_in: int, eon: int, eons: int
) -> list[bytes]:
    """Credit wallet's states that cancel an order, from the current `eon` on (§7.3).

    `matched_in` is what the order took in during this eon, not contained in `gained`; otherwise as
    :func:`finalization_messages`.
    """
    return finalization_messages(order, tx_set_root, spent, gained + matched_in, eon, eons)


def _closing(
    state: Callable[[int, bytes, int, int], bytes],
    tx_set_root: bytes,
    spent: int,
    gained: int,
    eon: int,
    eons: int,
) -> list[bytes]:
    """One state with the final counters, then states that outbid those signed in advance for later eons."""
    _check_eons(eons)
    later = max(spent, gained) + 1
    final = state(eon, tx_set_root, spent, gained)
    return [final, *(state(eon + offset, ZERO_HASH, later, later) for offset in range(1, eons))]


def empty_marker(order: SwapOrder, token: bytes, eon: int) -> bytes:
    """Hash of the owner's promise to withdraw nothing of `token` in `eon`."""
    return balance_marker_hash(order.contract, token, order.owner, eon, 0)


def _check_eons(eons: int) -> None:
    if isinstance(eons, bool) or not isinstance(eons, int) or not 1 <= eons <= MAX_ORDER_EONS:
        raise InvalidInteger(f"an order lasts 1 to {MAX_ORDER_EONS} eons")
