#!/usr/bin/env bash
# server: HTTP and websockets. HUB_HOST and HUB_PORT say where it listens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.hub/venv/bin:$PATH"
exec python -m scripts.serve --host "${HUB_HOST:-127.0.0.1}" --port "${HUB_PORT:-8123}" "$@"
