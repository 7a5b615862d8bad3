"""Processes of the hub on the test's database and Redis: servers, and relays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from django.db import connection

from scripts.hub.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0
UP = "it is up"
RELAY = f"import django; django.setup(); from synchronizer import relay; print({UP!r}, flush=True)"
RELAY += "\nwhile True: relay.run(60)"


class Program:
    """A program that can be killed and started again."""

    def __init__(
        self, redis_url: str, log: Path, *command: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.starts = 0
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        database = connection.settings_dict
        self._environment = {
            **os.environ,
            "DATABASE_URL": "postgresql://{USER}@{HOST}:{PORT}/{NAME}".format(**database),
            "DJANGO_SETTINGS_MODULE": "operator_api.settings",
            "REDIS_URL": redis_url,
            "HUB_STREAM_CONNECTIONS_PER_ADDRESS": "0",
            "LOG_LEVEL": "WARNING",
            **(environment or {}),
        }
        if database.get("PASSWORD"):
            self._environment["PGPASSWORD"] = database["PASSWORD"]

    def start(self) -> None:
        """Start it; it is not there yet."""
        self.starts += 1
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
            )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once, or as the signal tells it to."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


class Relay(Program):
    """A process that tells events, as the audit worker does."""

    def __init__(self, redis_url: str, folder: Path, number: int) -> None:
        super().__init__(redis_url, folder / f"relay-{number}.log", "-c", RELAY)

    async def started(self) -> None:
        """Wait until it tells, or would if no other did."""
        async with asyncio.timeout(START_SECONDS):
            while self.log.read_text().count(UP) < self.starts:
                await asyncio.sleep(0.1)


class Server(Program):
    """A server as the hub starts it, on a port that stays the same when it is started again."""

    def __init__(self, redis_url: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        (self.port,) = free_ports(1)
        self.url = f"ws://127.0.0.1:{self.port}/ws/"
        command = ("-m", "scripts.serve", "--port", str(self.port))
        super().__init__(redis_url, folder / f"server-{self.port}.log", *command, environment=environment)

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
