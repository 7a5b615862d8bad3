"""Compiles the contracts with the pinned npm compiler and writes `contracts/artifacts/`.

`python -m contracts.build` rebuilds; `python -m contracts.build --check` compiles and compares byte for byte.
The compiler is looked for in `HUB_NPM_DIR`, by default `.hub/npm`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
ARTIFACTS = ROOT / "artifacts"
SOURCES = ("src", "tests/solidity")
RUNTIME_LIMIT = 24_576
# The ABI has an output and a constructor argument that are named like functions; that is all code 8760 is about.
IGNORED_WARNINGS = {"8760"}
# The compiler's own sequence without its step F, which clones the refusal routine for every letter.
OPTIMIZER_STEPS = (
    "dhfoDgvulfnTUtnIfxa[r]EscLMVcul [j]Trpeulxa[r]cLgvifMCTUca[r]LSsTOtfDnca[r]IulcscCTUtgvifM"
    "x[scCTUt] TOntnfDIulgvifMjmul[jul] VcTOcul jmul:fDnTOcmu"
)
SETTINGS: dict[str, Any] = {
    "viaIR": True,
    "optimizer": {
        "enabled": True,
        "runs": 1000,
        "details": {"yul": True, "yulDetails": {"optimizerSteps": OPTIMIZER_STEPS}},
    },
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {
        "*": {
            "*": [
                "abi",
                "evm.bytecode.object",
                "evm.deployedBytecode.object",
                "evm.deployedBytecode.immutableReferences",
            ]
        }
    },
}


class BuildError(Exception):
    """The contracts do not compile, or the compiler is missing."""


def npm_dir() -> Path:
    """Folder whose `node_modules` holds the compiler and the development node."""
    return Path(os.environ.get("HUB_NPM_DIR") or ROOT.parent / ".hub" / "npm")


def standard_input() -> str:
    """The compiler's standard-JSON input for all sources, names relative to this folder, sorted."""
    files = sorted(path for folder in SOURCES for path in (ROOT / folder).glob("*.sol"))
    sources = {path.relative_to(ROOT).as_posix(): {"content": path.read_text()} for path in files}
    return json.dumps(
        {"language": "Solidity", "sources": sources, "settings": SETTINGS},
        sort_keys=True,
        separators=(",", ":"),
    )


def run_compiler(source: str) -> dict[str, Any]:
    """Output of the compiler with its version. Raises BuildError."""
    command = ["nice", "node", str(ROOT / "compile.js"), str(npm_dir().resolve())]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        raise BuildError(done.stderr.decode(errors="replace"))
    result: dict[str, Any] = json.loads(done.stdout)
    reported = result["output"].get("errors", [])
    problems = [e["formattedMessage"] for e in reported if e.get("errorCode") not in IGNORED_WARNINGS]
    if problems:
        raise BuildError("\n".join(problems))
    return result


def compile_all() -> dict[str, str]:
    """Text of every artifact by contract name. Raises BuildError."""
    source = standard_input()
    result = run_compiler(source)
    digest = hashlib.sha256(source.encode()).hexdigest()
    artifacts: dict[str, str] = {}
    for path, contracts in sorted(result["output"]["contracts"].items()):
        for name, contract in sorted(contracts.items()):
            evm = contract["evm"]
            if not evm["deployedBytecode"]["object"] or not contract["abi"]:
                continue
            if name in artifacts:
                raise BuildError(f"two contracts are called {name}")
            references = evm["deployedBytecode"]["immutableReferences"]
            artifact = {
                "contractName": name,
                "source": path,
                "compiler": result["version"],
                "settings": {k: v for k, v in SETTINGS.items() if k != "outputSelection"},
                "inputSha256": digest,
                "abi": contract["abi"],
                "bytecode": evm["bytecode"]["object"],
                "deployedBytecode": evm["deployedBytecode"]["object"],
                "immutableReferences": sorted(r["start"] for group in references.values() for r in group),
            }
            artifacts[name] = json.dumps(artifact, indent=1) + "\n"
    return artifacts


def stale(artifacts: dict[str, str]) -> list[str]:
    """Names of contracts whose committed artifact differs, is missing, or is left over."""
    committed = {path.stem: path.read_text() for path in ARTIFACTS.glob("*.json")}
    return sorted(name for name in {*committed, *artifacts} if committed.get(name) != artifacts.get(name))


def main() -> int:
    """Command line entry point; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="compare with the committed artifacts, write nothing"
    )
    arguments = parser.parse_args()
    try:
        artifacts = compile_all()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if arguments.check:
        differing = stale(artifacts)
        report = "".join(f"differs: {name}\n" for name in differing)
        sys.stdout.write(report or "artifacts are up to date\n")
        return 1 if differing else 0
    ARTIFACTS.mkdir(exist_ok=True)
    for path in ARTIFACTS.glob("*.json"):
        path.unlink()
    for name, text in artifacts.items():
        (ARTIFACTS / f"{name}.json").write_text(text)
        size = len(json.loads(text)["deployedBytecode"]) // 2
        sys.stdout.write(f"{name}: {size} bytes of runtime code (limit {RUNTIME_LIMIT})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
