"""One random game from the first eon to the last coin."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from contracts.fuzz import invariants, operators, recovery
from contracts.fuzz.board import Board
from contracts.fuzz.chain import BLOCKS_PER_EON, EPOCH, BrokenGameError, Chain

ENDINGS = ("silent", "late", "theft", "theft", "own request")
LONGEST = 7
"""Eons with an honest operator at most."""


def play(chain: Chain, seed: int) -> tuple[str, int]:
    """Plays the game of that number; how it ended and how many transactions it took. Raises BrokenGameError, which
    names the game."""
    board = Board(chain, seed)
    ending = board.rng.choice(ENDINGS)
    try:
        _honest_part(board)
        if ending == "own request":
            operators.honest_eon(board, BLOCKS_PER_EON - 1)
            eon = board.eon
            operators.prepare_own_request(board)
            board.skip_to(eon + 1, 0)
            _settle(board, 0)
        if ending in {"theft", "own request"}:
            operators.crooked_eon(board)
            board.skip_to(board.eon + 1, EPOCH + 1)
        elif ending == "late":
            operators.late_submission(board)
        else:
            operators.silent_eon(board, BLOCKS_PER_EON)
        if not board.mirror.punished(board.eon, board.era):
            board.skip_to(board.mirror.last + 2, board.rng.randint(0, 3))
        recovery.play(board)
    except BrokenGameError as error:
        where = f"game {seed}, eon {board.eon}, era {board.era}, ending {ending!r}"
        raise BrokenGameError(f"{where}: {error}") from error
    return ending, board.calls


def _honest_part(board: Board) -> None:
    """Some eons of honest operation; ends at the beginning of an eon."""
    for _ in range(board.rng.randint(2, LONGEST)):
        operators.honest_eon(board)
        invariants.check(board.chain, board.mirror, board.gifts)
    _settle(board)


def _settle(board: Board, spared: int | None = None) -> None:
    """What an operator still has to do about the eon before."""
    if board.open:
        board.mine([operators.honest_answer(board, challenge) for challenge in board.open])
    if cancelling := operators.slashes(board, spared):
        board.mine(cancelling)


def series(chain: Chain, seeds: Iterator[int], seconds: float) -> Counter[str]:
    """Plays games until the seeds or the seconds are used up; counts games, calls and endings."""
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    for seed in seeds:
        ending, calls = play(chain, seed)
        counts.update({"games": 1, "calls": calls, ending: 1})
        if time.monotonic() > deadline:
            break
    return counts
