#!/usr/bin/env bash
# audit: outgoing websocket notifications in one thread; watching, alarms and updates of the terms in the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api worker -Q audit -n audit@%h --pool threads --concurrency 2 \
    --without-gossip --without-mingle --loglevel INFO
