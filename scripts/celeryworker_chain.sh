#!/usr/bin/env bash
# chain: parsing blocks and other work on the chain's data.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api worker -Q chain -n chain@%h --pool threads --concurrency 1 \
    --without-gossip --without-mingle --loglevel INFO
