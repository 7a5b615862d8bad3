"""Command line of the package: `python -m nocust vectors FILE`."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command given by `arguments` (without the program's name); returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m nocust", description="Tools of the NOCUST protocol package."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    vectors = commands.add_parser("vectors", help="recompute every value of a file of test vectors")
    vectors.add_argument("file", type=Path, help="JSON file of vectors")
    options = parser.parse_args(arguments)
    from nocust.vectors.command import check_file

    return check_file(options.file, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
