"""Gas report: `python -m contracts.gas`.

Measures every operation on a node of its own, prints JSON with the figures that it is compared with, and writes
the table into `benchmarks/RESULTS.md` and `docs/contract.md`. Exits with 1 if an operation misses its goal, or the
stock client's fixed gas limit on a tree of 2^40 wallets, unless `contracts/gas_exceptions.json` says why it may.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts import gas_scenarios
from contracts.gas_lab import Lab
from contracts.gas_reference import DEPTHS, GOAL_DEPTH, REFERENCE
from contracts.gas_scenarios import Gas

ROOT = Path(__file__).resolve().parent.parent
EXCEPTIONS = ROOT / "contracts" / "gas_exceptions.json"
REPORTS = ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "contract.md"
BEGIN, END = "<!-- gas of the contract: begin -->", "<!-- gas of the contract: end -->"
INTRODUCTION = (
    "`python -m contracts.gas`: a transaction each on anvil (Osaka rules), gas of the receipt, beside bundle 10 at"
    " 2^20 (`spec/contract.md` §8.2). Trees are not built: a proof is a path with random siblings, membership depth"
    " 1, sets of 2^4 transactions. Challenges carry as much ether as the stock client sends, so the refund of the"
    " surplus is included."
)
LARGEST_DEPTH = 40


@dataclass(frozen=True)
class Row:
    """One operation. `gas` and `reference` by tree depth for operations on trees, else one figure under "".

    `percent` compares both at the depth of the goal. `client_limit` and `gas_at_2_40` are given for what the stock
    client sends. `exception` is the reason why a missed goal is accepted.
    """

    operation: str
    gas: dict[str, int]
    reference: dict[str, int]
    percent: float
    goal_percent: int
    client_limit: int | None
    gas_at_2_40: int | None
    holds: bool
    exception: str | None


def measure() -> tuple[Gas, dict[int, Gas], list[str]]:
    """Gas of operations without a tree; by depth of those with one; functions that exceeded a client's limit."""
    lab = Lab()
    try:
        fixed = gas_scenarios.founding(lab) | gas_scenarios.settling(lab)
        base = lab.snapshot()
        fixed |= gas_scenarios.authorised(lab)
        by_depth: dict[int, Gas] = {}
        for depth in (*DEPTHS, LARGEST_DEPTH):
            by_depth[depth] = {}
            for scenario in gas_scenarios.ON_TREES:
                base = lab.revert(base)
                by_depth[depth] |= scenario(lab, depth)
    finally:
        lab.close()
    return fixed, by_depth, lab.exceeded


def report() -> list[Row]:
    """All operations, in the order of the specification. Raises KeyError if one was not measured."""
    fixed, by_depth, exceeded = measure()
    exceptions: dict[str, dict[str, object]] = json.loads(EXCEPTIONS.read_text())
    rows = []
    for operation, reference in REFERENCE.items():
        on_tree = len(reference.gas) > 1
        if on_tree:
            gas = {f"2^{depth}": by_depth[depth][operation] for depth in DEPTHS}
            compared = dict(zip(gas, reference.gas, strict=True))
            at = f"2^{GOAL_DEPTH}"
        else:
            gas = {"": fixed.get(operation) or by_depth[GOAL_DEPTH][operation]}
            compared = {"": reference.gas[0]}
            at = ""
        percent = round(100 * gas[at] / compared[at], 1)
        limit = gas_scenarios.limit_of(operation)
        largest = by_depth[LARGEST_DEPTH].get(operation, gas[at]) if limit else None
        fits = not limit or (operation not in exceeded and largest is not None and largest <= limit)
        holds = percent <= reference.goal and fits
        excuse = exceptions.get(operation, {})
        accepted = not holds and fits and percent <= float(str(excuse.get("percent", 0)))
        why = str(excuse["why"]) if accepted else None
        rows.append(Row(operation, gas, compared, percent, reference.goal, limit, largest, holds, why))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| Operation | gas (2^4 / 2^10 / 2^20 / 2^30) | bundle 10 | share | goal | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        own = " / ".join(f"{value:,}" for value in row.gas.values())
        compared = row.reference.get(f"2^{GOAL_DEPTH}") or row.reference[""]
        verdict = "holds" if row.holds else "see below" if row.exception else "**missed**"
        lines.append(
            f"| {row.operation} | {own} | {compared:,} | {row.percent} % | {row.goal_percent} % | {verdict} |"
        )
    lines += [
        "",
        "Within the stock client's fixed gas limits on a tree of 2^40 wallets (sets of 2^40 transactions):",
    ]
    lines += ["", "| Operation | gas | limit |", "|---|---:|---:|"]
    lines += [
        f"| {row.operation} | {row.gas_at_2_40:,} | {row.client_limit:,} |"
        for row in rows
        if row.client_limit is not None and row.gas_at_2_40 is not None
    ]
    excused = [row for row in rows if row.exception]
    if excused:
        lines += ["", "Above their goals, for a reason:", ""]
        lines += [f"* {row.operation}: {row.exception}" for row in excused]
    return "\n".join(lines)


def section(rows: list[Row]) -> str:
    """Text between the markers."""
    return f"{BEGIN}\n## Gas of the contract\n\n{INTRODUCTION}\n\n{table(rows)}\n{END}\n"


def write(path: Path, text: str) -> None:
    """Replaces the marked section of a file, or appends it."""
    old = path.read_text() if path.exists() else ""
    head, found, rest = old.partition(BEGIN)
    if found:
        rest = rest.partition(END)[2].lstrip("\n")
        new = head + text + (f"\n{rest}" if rest else "")
    else:
        new = (old.rstrip("\n") + "\n\n" if old else "# Measurements\n\n") + text
    path.parent.mkdir(exist_ok=True)
    path.write_text(new)


def main() -> int:
    """Command line entry point; the exit status."""
    parser = argparse.ArgumentParser(description="Gas of the contract, compared with the deployed one.")
    parser.add_argument("--no-write", action="store_true", help="leave the Markdown files alone")
    arguments = parser.parse_args()
    rows = report()
    sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if not arguments.no_write:
        for path in REPORTS:
            write(path, section(rows))
    missed = [row for row in rows if not row.holds and not row.exception]
    for row in missed:
        sys.stderr.write(f"{row.operation}: {row.percent} % of {row.goal_percent} % allowed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
