"""`python -m contracts.fuzz`: plays random games and stops at the first that breaks a rule."""

from __future__ import annotations

import argparse
import json
import sys
import time

from contracts.fuzz.chain import BrokenGameError, Chain
from contracts.fuzz.game import series


def main() -> int:
    """Command line entry point; the exit status."""
    parser = argparse.ArgumentParser(description="Random games on the contract, with its invariants checked.")
    parser.add_argument("--first", type=int, default=0, help="number of the first game; a game is repeatable")
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10**9, help="stop after this time")
    arguments = parser.parse_args()
    chain = Chain()
    began = time.monotonic()
    try:
        seeds = iter(range(arguments.first, arguments.first + arguments.games))
        counts = series(chain, seeds, arguments.seconds)
    except BrokenGameError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        chain.close()
    seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(json.dumps({**counts, "seconds": seconds}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
