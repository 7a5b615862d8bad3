#!/usr/bin/env bash
# verifier: the conversation with the contract: its state, challenges, withdrawals, queued transactions; and
# signatures of orders' later eons, in a second thread so that they delay no answer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api worker -Q verifier -n verifier@%h --pool threads --concurrency 2 \
    --without-gossip --without-mingle --loglevel INFO
