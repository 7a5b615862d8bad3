"""What the matcher does a second in memory, alone: no database, no signatures, one thread.

Orders sell 1 to 2 * 10^18 units at random prices of 18 digits, so that nearly every resting order is a price
of its own. Takers trade inside a mark, as a pass does that may have to be undone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from benchmarks.common import conditions, report
from nocust.matching import Book, Order

DEPTHS = (10_000, 100_000)
"""Orders that rest before anything is measured, all on the side that takers trade with."""
SIZES = (1, 300, 1000)
"""How large takers are, in hundredths of a maker."""
SHARE = 5
"""Of the resting orders, one of so many is traded, added or cancelled while it is measured."""
ROUNDS = 5
UNIT = 10**18
PAYMENT = 33 * 10**17
"""About what one of the cheapest fifth of the makers wants in all."""

Row = tuple[int, int, int, int, bool]


def rows(count: int, first: int = 0, premium: int = 2) -> list[Row]:
    """Sell orders as a database would give them; they want `premium` to twice that for one."""
    chance = random.Random(first + count)
    return [
        (key, key, amount, amount * chance.randrange(premium * UNIT, 2 * premium * UNIT) // UNIT, True)
        for key in range(first, first + count)
        for amount in (chance.randrange(UNIT, 2 * UNIT),)
    ]


def build(resting: list[Row]) -> Book:
    """A book from rows."""
    book = Book()
    book.load(0, [Order(*row) for row in resting])
    return book


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def trading(resting: list[Row], hundredths: int, undo: bool) -> tuple[float, float, float]:
    """Trades a second, takers a second, and trades of each taker.

    With `undo`, of a pass that is then rolled back, the time for that included.
    """
    book, fills = build(resting), 0
    wanted = len(resting) // SHARE
    size = PAYMENT * hundredths // 100
    last = len(resting) + wanted * 100 // max(hundredths, 100)
    takers = [Order(key, key, size, 1) for key in range(len(resting), last)]
    began = time.perf_counter()
    mark = book.mark()
    for taker in takers:
        fills += len(book.take(1, taker))
    if undo:
        book.rollback(mark)
    else:
        book.commit(mark)
    seconds = time.perf_counter() - began
    assert fills >= wanted // 2
    assert len(book) >= len(resting) - fills
    return fills / seconds, len(takers) / seconds, fills / len(takers)


def passing_over(resting: list[Row]) -> float:
    """Makers a second that a taker passes over: rounding at their rates would leave each too short."""
    book = build(resting)
    # at these sizes a buyer's payment, rounded down, misses nearly every maker's limit
    taker = Order(len(resting), len(resting), 5 * 10**17 + 1, 10**17 + 1, False)
    seconds = timed(lambda: book.take(1, taker))
    assert len(book) == len(resting) + 1
    return len(resting) / seconds


def inserting(resting: list[Row]) -> float:
    """Orders a second that trade with nothing and rest."""
    book = build(resting)
    new = [Order(*row) for row in rows(len(resting) // SHARE, len(resting))]

    def insert() -> None:
        for order in new:
            book.take(0, order)

    seconds = timed(insert)
    assert len(book) == len(resting) + len(new)
    return len(new) / seconds


def cancelling(resting: list[Row]) -> float:
    """Orders a second that are removed from all over the book."""
    book = build(resting)
    keys = random.Random(1).sample(range(len(resting)), len(resting) // SHARE)

    def cancel() -> None:
        for key in keys:
            book.remove(key)

    seconds = timed(cancel)
    assert len(book) == len(resting) - len(keys)
    return len(keys) / seconds


def reading(resting: list[Row], times: int = 1000) -> float:
    """How often a second the best 20 prices can be read."""
    book = build(resting)

    def read() -> None:
        for _ in range(times):
            book.levels(0, 20)

    return times / timed(read)


def measure() -> dict[str, Any]:
    """Medians of all rates at each depth."""
    results: dict[str, Any] = {}
    for depth in DEPTHS:
        resting = rows(depth)
        trades: dict[str, Any] = {}
        for hundredths in SIZES:
            kept = [trading(resting, hundredths, undo=False) for _ in range(ROUNDS)]
            undone = [trading(resting, hundredths, undo=True) for _ in range(ROUNDS)]
            trades[f"takers_as_large_as_{hundredths / 100:g}_makers"] = {
                "matches_per_second": round(median(rate for rate, *_ in kept)),
                "takers_per_second": round(median(rate for _, rate, _ in kept)),
                "matches_of_each_taker": round(kept[0][2], 2),
                "matches_per_second_when_undone": round(median(rate for rate, *_ in undone)),
            }
        results[f"{depth}_resting"] = {
            **trades,
            "passed_over_per_second": round(median(passing_over(resting) for _ in range(ROUNDS))),
            "inserts_per_second": round(median(inserting(resting) for _ in range(ROUNDS))),
            "cancels_per_second": round(median(cancelling(resting) for _ in range(ROUNDS))),
            "rebuild_seconds": round(median(timed(partial(build, resting)) for _ in range(ROUNDS)), 3),
            "top_20_levels_per_second": round(median(reading(resting) for _ in range(ROUNDS))),
        }
    return results


if __name__ == "__main__":
    report("matcher", conditions(), measure())
