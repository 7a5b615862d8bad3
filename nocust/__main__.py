"""Command line of the package: `python -m nocust vectors FILE`, `python -m nocust recover BUNDLE --node URL`."""

import argparse
import sys
from pathlib import Path

from nocust import recover


def main(arguments: list[str] | None = None) -> int:
    """Run the command given by `arguments` (without the program's name); returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nocust", description="Tools of the NOCUST protocol package."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    vectors = commands.add_parser("vectors", help="recompute every value of a file of test vectors")
    vectors.add_argument("file", type=Path, help="JSON file of vectors")
    recovery = commands.add_parser(
        "recover", help="take a wallet's money out of a halted commit-chain with its recovery bundle"
    )
    recover.add_arguments(recovery)
    options = parser.parse_args(arguments)
    if options.command == "recover":
        return recover.run(options, lambda line: print(line, flush=True))  # noqa: T201  (that is what it is for)
    from nocust.vectors.command import check_file

    return check_file(options.file, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
