import dataclasses
from typing import Any

import pytest

from nocust.encoding import ZERO_HASH, keccak
from nocust.errors import InvalidAmount, InvalidInteger
from nocust.leaves import COMPLETE_START
from nocust.merkle import MerkleTree, Peaks
from nocust.messages import active_state_hash, balance_marker_hash
from nocust.swaps import (
    SwapOrder,
    WalletPosition,
    credit_cancellation_messages,
    debit_cancellation_messages,
    finalization_messages,
    order_messages,
)

ORDER = SwapOrder(
    contract=b"\x01" * 20,
    owner=b"\x02" * 20,
    debit_token=b"\x03" * 20,
    credit_token=b"\x04" * 20,
    debit_trail=5,
    credit_trail=6,
    amount=700,
    amount_swapped=800,
    nonce=9,
    eon=10,
)
EARLIER = [keccak(b"a"), keccak(b"b"), keccak(b"c")]


def peaks() -> Peaks:
    tree = Peaks.EMPTY
    for leaf in EARLIER:
        tree = tree.append(leaf)
    return tree


def state(token: bytes, trail: int, eon: int, leaves: list[bytes], spent: int, gained: int) -> bytes:
    root = MerkleTree(leaves).root
    return active_state_hash(ORDER.contract, token, ORDER.owner, trail, eon, root, spent, gained)


def debit(*arguments: Any) -> bytes:
    return state(ORDER.debit_token, 5, *arguments)


def credit(*arguments: Any) -> bytes:
    return state(ORDER.credit_token, 6, *arguments)


def test_order_in_wallets_with_earlier_transactions() -> None:
    giving = WalletPosition(start=1000, spent=11, gained=12, transactions=peaks())
    taking = WalletPosition(start=50, spent=13, gained=14)
    messages = order_messages(ORDER, giving, taking, 3)
    assert messages.debit == [
        debit(10, [*EARLIER, ORDER.leaf(1000)], 711, 12),
        debit(11, [ORDER.leaf(700)], 700, 0),
        debit(12, [ORDER.leaf(700)], 700, 0),
    ]
    assert messages.credit == [
        credit(10, [ORDER.leaf(50)], 13, 14),
        credit(11, [ORDER.leaf(0)], 0, 0),
        credit(12, [ORDER.leaf(0)], 0, 0),
    ]
    assert messages.fulfillment == [
        credit(10, [ORDER.leaf(COMPLETE_START)], 13, 814),
        credit(11, [ORDER.leaf(COMPLETE_START)], 0, 800),
        credit(12, [ORDER.leaf(COMPLETE_START)], 0, 800),
    ]
    for token, markers in (
        (ORDER.debit_token, messages.debit_balance),
        (ORDER.credit_token, messages.credit_balance),
    ):
        assert markers == [
            balance_marker_hash(ORDER.contract, token, ORDER.owner, eon, 0) for eon in (10, 11, 12)
        ]


def test_endings_outbid_what_was_signed_for_later_eons() -> None:
    leaves = [*EARLIER, ORDER.leaf(COMPLETE_START)]
    root = MerkleTree(leaves).root
    assert finalization_messages(ORDER, root, 20, 35, 12, 2) == [
        credit(12, leaves, 820, 835),
        credit(13, [ZERO_HASH], 836, 836),
    ]
    assert credit_cancellation_messages(ORDER, root, 20, 10, 5, 12, 2) == [
        credit(12, leaves, 820, 815),
        credit(13, [ZERO_HASH], 821, 821),
    ]
    assert debit_cancellation_messages(ORDER, root, 711, 12, 300, 12, 2) == [
        debit(12, leaves, 711, 412),
        debit(13, [ZERO_HASH], 712, 712),
    ]
    assert len(finalization_messages(ORDER, root, 0, 0, 12, 1)) == 1


@pytest.mark.parametrize("eons", [0, -1, 21, True, "5", None])
def test_number_of_eons_is_bounded(eons: int) -> None:
    with pytest.raises(InvalidInteger):
        order_messages(ORDER, WalletPosition(start=0), WalletPosition(start=0), eons)
    with pytest.raises(InvalidInteger):
        finalization_messages(ORDER, ZERO_HASH, 0, 0, 1, eons)


def test_counters_do_not_overflow() -> None:
    with pytest.raises(InvalidAmount):
        finalization_messages(ORDER, ZERO_HASH, 2**256 - 800, 0, 12, 1)
    with pytest.raises(InvalidAmount):
        debit_cancellation_messages(ORDER, ZERO_HASH, 700, 0, 701, 12, 1)
    with pytest.raises(InvalidAmount):
        dataclasses.replace(ORDER, amount=-1).leaf(0)
