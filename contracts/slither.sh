#!/usr/bin/env bash
# Runs slither on the contract: `contracts/slither.sh SLITHER [argument...]`, where SLITHER is the program in an
# environment of its own (`python3 -m venv DIR && DIR/bin/pip install slither-analyzer==0.11.6`).
# Findings and answers are in contracts/SLITHER.md.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
slither="$(realpath "${1:?usage: contracts/slither.sh SLITHER [argument...]}")"
shift
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp "$here"/src/*.sol "$work"
cd "$work"
node -e '
const fs = require("fs");
const sources = {};
for (const name of fs.readdirSync(".").filter((f) => f.endsWith(".sol"))) sources[name] = { urls: [name] };
fs.writeFileSync("input.json", JSON.stringify({
  language: "Solidity",
  sources,
  settings: {
    viaIR: true,
    optimizer: { enabled: true, runs: 1 },
    evmVersion: "cancun",
    outputSelection: { "*": { "*": ["abi", "metadata", "evm.bytecode", "evm.deployedBytecode"], "": ["ast"] } },
  },
}));'
nice "$slither" input.json --compile-force-framework Solc-json --solc "$here/solc-cli.js" "$@"
