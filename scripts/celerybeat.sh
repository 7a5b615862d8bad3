#!/usr/bin/env bash
# scheduler: puts the periodic tasks of the settings' CELERY_BEAT_SCHEDULE into their queues.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m celery -A operator_api beat --loglevel INFO --pidfile=
