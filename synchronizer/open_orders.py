"""The orders in force of whole markets, for clients that keep a copy of the book.

What is read is as long as the book. So a process reads once for all who wait, in a thread of its own, and rests in
between. An answer is never older than its request: a client that has subscribed before would miss what came since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

import orjson

from ledger import positions
from ledger.models import RootCommitment, Token
from ledger.orders_sql import ITS_WALLETS
from ledger.sql import fetch
from synchronizer import streams
from synchronizer.database import in_database_apart
from synchronizer.wire import encoded

REST: Final = 9
"""So many times as long as a read took is none begun after it: reading takes a tenth of the time at most."""

# PostgreSQL makes the text: this process has others to serve. Nothing in it needs quoting.
ORDERS = (
    "SELECT w.token_id, r.token_id, string_agg(concat("  # noqa: S608  (constants)
    """'{"id":', t.id, ',"tx_id":"', t.tx_id, '","eon_number":', t.eon_number,"""
    """ ',"amount":"', t.amount, '","amount_swapped":"', t.amount_swapped, '","sell_order":', t.sell_order::text,"""
    """ ',"matched_amounts":{"matched_in":"', coalesce(t.prior_in, 0) + coalesce(t.matched_in, 0),"""
    """ '","matched_out":"', coalesce(t.prior_out, 0) + coalesce(t.matched_out, 0), '"}}'), ',' ORDER BY t.id)"""
    f" FROM ledger_transfer t {ITS_WALLETS}"
    " WHERE w.token_id = ANY(%s) AND r.token_id = ANY(%s) AND t.eon_number = ANY(%s)"
    " AND t.swap AND t.appended AND NOT t.processed AND NOT (t.complete OR t.voided OR t.cancelled)"
    " GROUP BY w.token_id, r.token_id"
)

Pair = tuple[bytes, bytes]
"""The addresses of the token that is given and of the one that is wanted."""


def answers(pairs: Iterable[Pair]) -> dict[Pair, bytes]:
    """For each pair the frame that answers `get` `orders`: the position up to which everything told is in the list,
    the eon of the newest checkpoint (0 before there is one), and the orders in force, in order of their rows.

    An order's row is in force from its placement, or from its eon's checkpoint, until the next checkpoint.
    """
    position = positions.told_until()
    eon = RootCommitment.objects.order_by("-eon_number").values_list("eon_number", flat=True).first() or 0
    found = _lists(pairs, [eon, eon + 1])
    return {
        pair: encoded(streams.response("orders", orjson.Fragment(text), position=position, eon_number=eon))
        for pair, text in found.items()
    }


def _lists(pairs: Iterable[Pair], eons: list[int]) -> dict[Pair, str]:
    """The JSON of the lists, of these and perhaps of other pairs."""
    found = dict.fromkeys(pairs, "[]")
    wanted = {address for pair in found for address in pair}
    tokens = {bytes(of.address): of.pk for of in Token.objects.filter(address__in=wanted)}
    addresses = {key: address for address, key in tokens.items()}
    sides = ([tokens[pair[side]] for pair in found if pair[side] in tokens] for side in (0, 1))
    for sold, bought, text in fetch(ORDERS, [*sides, eons]):
        found[addresses[sold], addresses[bought]] = f"[{text}]"
    return found


class OpenOrders:
    """Reads the orders in force for those who ask in an event loop."""

    def __init__(self) -> None:
        self._asked: set[Pair] = set()
        self._next: asyncio.Future[dict[Pair, bytes]] | None = None
        """What the read will give that has not begun."""
        self._reading: asyncio.Task[None] | None = None

    async def answer(self, sold: bytes, bought: bytes) -> bytes:
        """The frame of :func:`answers`, of a read that begins after this call. Raises what that raises."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
        coming = self._next
        self._asked.add((sold, bought))
        if self._reading is None:
            self._reading = loop.create_task(self._read())
        return (await asyncio.shield(coming))[sold, bought]  # others wait for it, too

    async def _read(self) -> None:
        """Read until nobody waits, and rest after each time."""
        while self._next is not None:
            pairs, told = self._asked, self._next
            self._asked, self._next = set(), None
            began = time.monotonic()
            try:
                told.set_result(await in_database_apart(answers, pairs))
            except Exception as error:
                told.set_exception(error)
            await asyncio.sleep(REST * (time.monotonic() - began))
        self._reading = None


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, OpenOrders] = WeakKeyDictionary()


async def open_orders(sold: bytes, bought: bytes) -> bytes:
    """The answer to `get` `orders`, see :class:`OpenOrders`."""
    return await _of_loops.setdefault(asyncio.get_running_loop(), OpenOrders()).answer(sold, bought)
