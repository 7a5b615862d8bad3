#!/usr/bin/env bash
# server: HTTP and websockets. HUB_HOST and HUB_PORT say where it listens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m uvicorn operator_api.asgi:application --host "${HUB_HOST:-127.0.0.1}" --port "${HUB_PORT:-8123}" \
    --ws websockets --http httptools --loop uvloop --lifespan off \
    --timeout-keep-alive 75 --timeout-graceful-shutdown 5 --no-access-log
