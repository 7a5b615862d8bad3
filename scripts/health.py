"""`python -m scripts.health PROCESS`: whether the hub's process in this container is well; for health checks.

The server is asked over HTTP whether it lives, not whether it is ready: the proxy waits for the answer, and
wallets need proofs of a hub whose chain is halted. A worker is asked over the broker. The scheduler must have
written its file lately.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from pathlib import Path

PATH = "/health/live"
SECONDS = 10
SCHEDULE_SECONDS = 900
"""The scheduler writes its file every three minutes."""


def server() -> str:
    """What is wrong with the server; empty if nothing is."""
    host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip().lstrip(".") or "localhost"
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("HUB_PORT") or 8123), timeout=SECONDS
    )
    try:
        connection.request("GET", PATH, headers={"Host": host})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return "" if status == 200 else f"{PATH} answers {status}"


def scheduler() -> str:
    """What is wrong with the scheduler."""
    folder = Path(os.environ.get("HUB_DATA") or ".hub/prod")
    base = Path(os.environ.get("HUB_BEAT_SCHEDULE_FILE") or folder / "run" / "beat-schedule")
    files = list(base.parent.glob(f"{base.name}*"))
    age = time.time() - max((path.stat().st_mtime for path in files), default=0.0)
    return "" if age < SCHEDULE_SECONDS else f"{base} was not written for {age:.0f} s"


def worker(name: str) -> str:
    """What is wrong with the worker of a queue on this host."""
    from operator_api.celery import app

    node = f"{name}@{socket.gethostname()}"
    answers = app.control.inspect(destination=[node], timeout=SECONDS).ping()
    return "" if answers else f"{node} does not answer over the broker"


def main() -> int:
    name = sys.argv[1]
    wrong = server() if name == "server" else scheduler() if name == "scheduler" else worker(name)
    print(wrong or "ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
