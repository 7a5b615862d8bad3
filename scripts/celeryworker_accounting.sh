#!/usr/bin/env bash
# accounting: off-chain accounting and integrity: admission, matching, carrying orders over, checkpoints.
# One thread is the matching's, which never rests; the other one does everything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api worker -Q accounting -n accounting@%h --pool threads --concurrency 2 \
    --without-gossip --without-mingle --loglevel INFO
