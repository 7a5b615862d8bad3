"""What the contract asks of a checkpoint when a wallet's owner challenges it: its arithmetic in plain Python, from
`contracts/src/StateChallenges.sol` and `contracts/src/SwapChallenges.sol`."""

from __future__ import annotations

from dataclasses import dataclass

WORD112 = 2**112 - 1
WORD128 = 2**128 - 1
TOLERANCE = 100
DONE = 2**256 - 1
"""Start balance in the credit wallet's leaf of an order that is complete or cancelled."""


@dataclass(frozen=True)
class Leaf:
    """A wallet's eon as the contract knows it: what the checkpoint after it allots, what the state in that
    checkpoint says was spent and gained, what was received, and the eon's deposits and requests on chain."""

    allotted: int
    spent: int
    gained: int
    received: int
    deposits: int
    requests: int


@dataclass(frozen=True)
class Record:
    """A challenge about an order."""

    sell: int
    buy: int
    initial: int
    final: int


def takes_state(spent: int, gained: int) -> bool:
    """Whether the owner can challenge with a state that the operator signed (`_issue`)."""
    return max(spent, gained) <= WORD128  # +


def answers_state(leaf: Leaf, allotted_before: int, spent: int, gained: int) -> bool:
    """Whether the leaf answers a challenge with the allotment of the checkpoint before and a state that the
    operator signed in the eon (`_checkBalance`)."""
    if leaf.spent < spent or leaf.gained < gained:
        return False  # x
    due = allotted_before + leaf.deposits + leaf.gained + leaf.received
    return due <= leaf.allotted + leaf.spent + leaf.requests  # B


def challenge(leaf: Leaf, sell: int, buy: int, start: int) -> Record | None:
    """The challenge that the owner opens with an entry of its debit wallet's set, None where the contract refuses
    to take it."""
    added = start + leaf.gained + leaf.received + leaf.deposits
    taken = leaf.spent + leaf.requests
    covered = leaf.allotted + taken
    if covered < added:
        return None  # d
    initial = added - taken if added > taken else 0
    if initial > WORD112 or sell > WORD128 or buy > WORD128:
        return None  # +
    return Record(sell, buy, initial, initial + (covered - added))


def answers(record: Record, leaf: Leaf, start: int) -> bool:
    """Whether the credit wallet's leaf answers it, with the order's entry in its set at `start`."""
    if start == DONE:
        return True
    added = start + leaf.gained + leaf.received + leaf.deposits
    covered = leaf.allotted + leaf.spent + leaf.requests
    if covered < added:
        return False  # -
    given = covered - added
    kept = record.final - record.initial
    taken = record.sell - kept if record.sell > kept else 0
    if given > WORD128:
        return False  # *
    return given * record.sell // TOLERANCE >= taken * record.buy // TOLERANCE  # v
