"""Random games with the contract: see `contracts/fuzz`.

HUB_FUZZ_SECONDS sets how long they go on (default 90), HUB_FUZZ_FIRST the number of the first game. For hours:
`python -m contracts.fuzz --games 100000`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from contracts.fuzz.board import Board
from contracts.fuzz.chain import WALLETS, BrokenGameError, Call, Chain
from contracts.fuzz.game import ENDINGS, play, series
from contracts.fuzz.invariants import check
from contracts.fuzz.operators import honest_eon

SECONDS = float(os.environ.get("HUB_FUZZ_SECONDS", "90"))
FIRST = int(os.environ.get("HUB_FUZZ_FIRST", "0"))
ENOUGH = 20
"""Games that any machine should manage in the default time."""


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    made = Chain()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_random_games_keep_the_rules(chain: Chain) -> None:
    counts = series(chain, itertools.count(FIRST), SECONDS)
    assert counts["games"] >= min(ENOUGH, SECONDS / 5)
    if counts["games"] > 100:
        assert all(counts[ending] for ending in ENDINGS), counts
        assert counts["calls"] > 50 * counts["games"]


def test_games_are_repeatable(chain: Chain) -> None:
    first, second = play(chain, 7), play(chain, 7)
    assert first == second


def test_books_that_are_wrong_are_noticed(chain: Chain) -> None:
    """The checks compare: each of these deviations would be the contract's if the books were right."""
    board = Board(chain, 1)
    honest_eon(board)
    honest_eon(board)
    check(chain, board.mirror, board.gifts)
    with pytest.raises(BrokenGameError, match=r"ether|holdings"):
        check(chain, board.mirror, board.gifts + 1)
    slot = 1
    right = board.mirror.accumulators[slot]
    board.mirror.accumulators[slot] = bytes(31) + b"\x01"
    with pytest.raises(BrokenGameError, match=r"accumulator"):
        check(chain, board.mirror, board.gifts)
    board.mirror.accumulators[slot] = right
    board.mirror.requests[1, 1].append((board.eon - 1, 1))
    with pytest.raises(BrokenGameError, match=r"requests|running total"):
        check(chain, board.mirror, board.gifts)


def test_unexpected_outcomes_are_noticed(chain: Chain) -> None:
    board = Board(chain, 1)
    call = Call(WALLETS[1], "claimFees", (), 0, False)
    with pytest.raises(BrokenGameError, match=r"claimFees .* was accepted"):
        board.mine([(call, None)])
    call = Call(WALLETS[1], "registerERC20", (WALLETS[1].address,))
    with pytest.raises(BrokenGameError, match=r"registerERC20 .* was refused \(o\)"):
        board.mine([(call, None)])
