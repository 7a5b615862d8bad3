#!/usr/bin/env bash
# Deploys the commit-chain contract and verifies it: asks for what it needs, or takes it from the environment.
# `./deploy_contract.sh --help` lists the options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${HUB_PYTHON:-.hub/venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
if ! "$python" -c 'import coincurve, eth_abi, eth_account, sha3' 2>/dev/null; then
    printf "The Python packages of requirements.txt are missing: install them, or run ./run.sh once.\n" >&2
    exit 1
fi
exec "$python" -m contracts.deploy_production "$@"
