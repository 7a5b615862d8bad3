#!/usr/bin/env bash
# verifier: the conversation with the contract: its state, challenges, withdrawals, queued transactions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api worker -Q verifier -n verifier@%h --pool threads --concurrency 1 \
    --without-gossip --without-mingle --loglevel INFO
