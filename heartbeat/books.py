"""Whether the order books in this process's memory are what the database says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import transaction

from heartbeat.checks import Found
from ledger.sql import fetch

if TYPE_CHECKING:
    from nocust.matching import Book
    from swapper.books import Market
    from swapper.exchange import Exchange

TRIES = 3
PAUSE = 0.3
"""Seconds between the tries. A pass that failed puts its book back just after it has let go of its locks, so one
difference proves nothing."""

Matched = dict[int, tuple[int, int]]
"""What was matched of resting orders, given and received, by row."""


def books_differ(exchange: Exchange) -> Found | None:
    """Markets whose book in memory is not the one in the database; None if there is no book of this process that is
    up to date, as where other hosts do the matching."""
    compared, found = False, Found()
    for market in _markets():
        difference = _compare(exchange, market)
        for _ in range(TRIES - 1):
            if not difference:
                break
            time.sleep(PAUSE)
            difference = _compare(exchange, market)
        compared = compared or difference is not None
        if difference:
            found[f"{market.low}/{market.high}"] = (
                f"market of tokens {market.low} and {market.high}: {difference}"
            )
    return found if compared else None


def _markets() -> list[Market]:
    from swapper.books import Market

    rows = fetch(
        "SELECT DISTINCT least(token_from_id, token_to_id), greatest(token_from_id, token_to_id)"
        " FROM ledger_tokenpair ORDER BY 1, 2"
    )
    return [Market(*row) for row in rows]


def _compare(exchange: Exchange, market: Market) -> str | None:
    """How the two differ in words, "" if they do not; None if they cannot be compared. No pass over the market runs
    meanwhile, since passes lock the pairs, too."""
    from swapper.books import read_book, read_parties

    with transaction.atomic():
        pairs = fetch(
            "SELECT id, passes FROM ledger_tokenpair WHERE (token_from_id, token_to_id) IN ((%s, %s), (%s, %s))"
            " ORDER BY id FOR NO KEY UPDATE",
            [market.low, market.high, market.high, market.low],
        )
        state = exchange.book(market)
        if state is None or state.fence != tuple(map(tuple, pairs)):
            return None
        ours, stored = _matched(state.book), _matched(read_book(market, state.eon))
        ended = {row for row, party in read_parties(ours.keys() - stored.keys()).items() if not party.open}
    missing = stored.keys() - ours.keys()
    strange = ours.keys() - stored.keys() - ended
    other = {row for row in stored.keys() & ours.keys() if stored[row] != ours[row]}
    parts = {"not in the book": missing, "only in the book": strange, "matched differently": other}
    return "; ".join(f"order rows {sorted(rows)[:10]} {what}" for what, rows in parts.items() if rows)


def _matched(book: Book) -> Matched:
    return {
        order.key: (order.matched_out, order.matched_in) for side in (0, 1) for order in book.orders(side)
    }
