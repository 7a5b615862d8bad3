"""Block headers and how a fresh stretch of them joins the known ones: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from contractor.errors import ForkTooDeepError, NodeError
from nocust.encoding import keccak

BLOOM_BYTES = 256


@dataclass(frozen=True, slots=True)
class Header:
    """A block's number, hash and parent's hash (32 bytes), time (UNIX seconds), and whether its bloom allows logs
    of the contract."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    logs_possible: bool = True


def may_hold_logs(bloom: bytes, address: bytes) -> bool:
    """Whether a block with this bloom can hold logs of `address`: False is certain, True is not (three bits of
    2048 an address, Ethereum yellow paper §4.4.1)."""
    digest = keccak(address)
    for i in (0, 2, 4):
        bit = int.from_bytes(digest[i : i + 2], "big") & 2047
        if not bloom[BLOOM_BYTES - 1 - bit // 8] >> bit % 8 & 1:
            return False
    return True


def check_links(headers: Sequence[Header]) -> None:
    """Raises NodeError unless each header is the parent of the next: the chain changed while it was read."""
    for parent, child in pairwise(headers):
        if child.number != parent.number + 1 or child.parent_hash != parent.hash:
            raise NodeError(
                f"block {child.number} does not follow block {parent.number}; the node is changing"
            )


@dataclass(frozen=True, slots=True)
class Advance:
    """How the known chain changes: blocks from number `drop_from` on are abandoned, `fresh` follow."""

    drop_from: int
    fresh: tuple[Header, ...]


def advance(
    known: Sequence[Header], head: Header, ceiling: int, fetch: Callable[[int, int], list[Header]]
) -> Advance | None:
    """How to get from `known` (ascending and linked; the first is final) towards the node's `head`, but not above
    block `ceiling`; None when there is nothing new. `fetch(first, last)` reads headers.

    Walks back one block at a time while the fresh headers do not join the known ones. Raises ForkTooDeepError
    when not even the final block is on the node's chain.
    """
    final, tip = known[0], known[-1]
    last = min(head.number, ceiling)
    if last < final.number:
        return None  # a node that lags; whether it forked shows when it has caught up
    if last <= tip.number:
        fresh = [head] if head.number == last else fetch(last, last)
        if known[last - final.number].hash == fresh[0].hash:
            return None
    else:
        fresh = fetch(tip.number + 1, last)
    while True:
        parent = fresh[0].number - 1
        if parent < final.number:
            raise ForkTooDeepError(
                f"block {final.number} was applied as 0x{final.hash.hex()}, but the node's chain has"
                f" 0x{fresh[0].hash.hex()} there"
            )
        if known[parent - final.number].hash == fresh[0].parent_hash:
            return Advance(fresh[0].number, tuple(fresh))
        fresh = fetch(parent, parent) + fresh
        check_links(fresh[:2])
