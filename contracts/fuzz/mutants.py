"""Are the random games any good? `python -m contracts.fuzz.mutants` weakens the contract in one place after another
and expects a game to break a rule. Each mutant takes a compilation, some 20 seconds, so no test does it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from contracts import artifacts_loader, build
from contracts.fuzz.chain import BrokenGameError, Chain
from contracts.fuzz.game import play

MUTANTS: Final[dict[str, tuple[str, str, str]]] = {
    "requests of the eon before are not subtracted": (
        "Withdrawals.sol",
        "uint256 requested = _requestsAt(wallet, eon - 1) + _requestsAt(wallet, eon);",
        "uint256 requested = _requestsAt(wallet, eon);",
    ),
    "a wallet recovers again and again": ("Recovery.sol", "wallet.matured |= RECOVERED;", ""),
    "insolvent checkpoints pass": (
        "Allotments.sol",
        'check(total <= _owned(a.token, info, a.eon, pool), "b");',
        'check(total <= _owned(a.token, info, a.eon, pool) || total != 0, "b");',
    ),
    "missing balances pass": (
        "StateChallenges.sol",
        'check(due <= covered, "B");',
        'check(due <= covered || due != 0, "B");',
    ),
    "paid requests stay in the running total": (
        "Withdrawals.sol",
        "_movePending(t, t.info, eon, 0, amount);",
        "",
    ),
    "recovered sums are not booked": (
        "Recovery.sol",
        "if (last > 1) _addFlows(",
        "if (last > 1000) _addFlows(",
    ),
    "anybody cancels": (
        "Withdrawals.sol",
        "external onlyOperator returns (uint256[2]",
        "external returns (uint256[2]",
    ),
    "a marker forgets the requests of its own eon": (
        "Withdrawals.sol",
        "marked + 2 == eon ? _requestsAt(wallet, marked) : 0",
        "0",
    ),
    "payments come an eon early": (
        "Withdrawals.sol",
        "? 3 : 2;",
        "? 2 : 1;",
    ),
    "fees are part of the pool": ("Layout.sol", "- msg.value - (_fees & WORD128)", "- msg.value"),
    "checkpoints come at any time": (
        "Ledger.sol",
        'check(eon == 1 || currentEra() < BLOCKS_PER_EON - BLOCKS_PER_EPOCH / 2, "w");',
        "",
    ),
    "deposits before a halt are lost": ("Recovery.sol", "eon + 1 >= last", "eon >= last"),
}
"""What is wrong, and by which replacement in which file."""


def compiled(file: str, old: str, new: str) -> str:
    """Artifact of the contract with that replacement. Raises LookupError if the text is not there once."""
    source = json.loads(build.standard_input())
    entry = source["sources"][f"src/{file}"]
    if entry["content"].count(old) != 1:
        raise LookupError(f"{file} has {entry['content'].count(old)} times: {old}")
    entry["content"] = entry["content"].replace(old, new)
    result = build.run_compiler(json.dumps(source))
    contract = result["output"]["contracts"]["src/NOCUSTCommitChain.sol"]["NOCUSTCommitChain"]
    references = contract["evm"]["deployedBytecode"]["immutableReferences"]
    return json.dumps(
        {
            "contractName": "NOCUSTCommitChain",
            "abi": contract["abi"],
            "bytecode": contract["evm"]["bytecode"]["object"],
            "deployedBytecode": contract["evm"]["deployedBytecode"]["object"],
            "immutableReferences": sorted(r["start"] for group in references.values() for r in group),
            "compiler": result["version"],
            "settings": {},
            "inputSha256": "",
        }
    )


def killed(games: int) -> str | None:
    """How the first game that broke a rule did so, if one did."""
    chain = Chain()
    try:
        for seed in range(games):
            play(chain, seed)
    except BrokenGameError as error:
        return str(error)
    finally:
        chain.close()
    return None


def main() -> int:
    """Command line entry point; 1 if a mutant lives."""
    parser = argparse.ArgumentParser(description="Weakens the contract and sees whether random games notice.")
    parser.add_argument("--games", type=int, default=200, help="for each mutant")
    arguments = parser.parse_args()
    token = (artifacts_loader.ARTIFACTS / "TestToken.json").read_text()
    alive = 0
    for name, (file, old, new) in MUTANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "NOCUSTCommitChain.json").write_text(compiled(file, old, new))
            Path(folder, "TestToken.json").write_text(token)
            artifacts_loader.ARTIFACTS = Path(folder)
            artifacts_loader.load.cache_clear()
            found = killed(arguments.games)
        alive += found is None
        sys.stdout.write(f"{name}: {found[:160] if found else 'NOT NOTICED'}\n")
        sys.stdout.flush()
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
