"""Server processes of their own on the test's database and Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.db import connection

from scripts.hub.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0


class Server:
    """A server as the hub starts it, on a port that stays the same when it is started again."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"ws://127.0.0.1:{self.port}/ws/"
        self.log = folder / f"server-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        database = connection.settings_dict
        self._environment = {
            **os.environ,
            "DATABASE_URL": "postgresql://{USER}@{HOST}:{PORT}/{NAME}".format(**database),
            "REDIS_URL": redis_url,
            "HUB_STREAM_CONNECTIONS_PER_ADDRESS": "0",
            "LOG_LEVEL": "WARNING",
        }
        if database.get("PASSWORD"):
            self._environment["PGPASSWORD"] = database["PASSWORD"]

    def start(self) -> None:
        """Start it; it is not there yet."""
        command = [sys.executable, "-m", "uvicorn", "operator_api.asgi:application", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--ws", "websockets", "--loop", "uvloop", "--lifespan", "off"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--no-access-log"], cwd=ROOT, env=self._environment, stdout=output, stderr=output
            )

    async def started(self) -> None:
        """Wait until it takes connections."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError(self.log.read_text()) from None
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once, or as the signal tells it to."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None
