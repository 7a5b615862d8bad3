"""A real replica of the tests' PostgreSQL server: a copy of its files that follows by streaming."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from scripts.hub import place, ports
from scripts.hub.postgres import ENVIRONMENT, SETTINGS, UNSAFE

SECONDS = 60.0
"""Longest wait for anything."""


class Standby:
    """The replica. `source` names the server that it follows: host, port, user, password and database, as psycopg2
    calls them."""

    def __init__(self, folder: Path, source: dict[str, Any]) -> None:
        self._account = place.unprivileged() if os.geteuid() == 0 else None
        self._programs = place.programs(self._account)
        self._folder = folder.resolve()
        self._source = source
        self._port = ports.free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self.address = {**source, "host": "127.0.0.1", "port": str(self._port)}

    def make(self) -> None:
        """Copy the source's files."""
        self._base = place.data_folder(self._folder, self._account)
        command = [str(self._programs / "pg_basebackup"), "--pgdata", str(self._base / "data"), "--no-sync"]
        command += ["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"]
        for option in ("host", "port", "user"):
            command += [f"--{option if option != 'user' else 'username'}", str(self._source[option])]
        environment = ENVIRONMENT | {"PGPASSWORD": self._source["password"]}
        with (self._folder / "standby.log").open("ab") as log:
            done = place.run_as(self._account, command, self._base, log, environment)
        assert done == 0, self.log()

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "SIGINT", "--"]
        command += [str(self._programs / "postgres"), "-D", str(self._base / "data"), "-h", "127.0.0.1"]
        command += ["-p", str(self._port)]
        for setting in (*SETTINGS, *UNSAFE):
            command += ["-c", setting]
        with (self._folder / "standby.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=ENVIRONMENT, **place.identity(self._account)
            )
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once; nothing if it does not run."""
        if self._process is not None:
            self._process.terminate()
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None

    def remove(self) -> None:
        self.stop()
        place.remove_data(self._folder)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it neither answer nor end its connections meanwhile, as one whose machine or disk hangs."""
        assert self._process is not None
        main = psutil.Process(self._process.pid)
        main.suspend()  # first, so that it starts no others
        members = [main, *main.children()]
        _send(members, signal.SIGSTOP)
        try:
            yield
        finally:
            _send(members, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def sql(self, statement: str, *parameters: object) -> list[Any]:
        connection = psycopg2.connect(**self.address, connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def pause(self) -> None:
        """Let it fall behind."""
        self.sql("SELECT pg_wal_replay_pause()")
        self._wait("SELECT pg_get_wal_replay_pause_state() = 'paused'")

    def resume(self) -> None:
        self.sql("SELECT pg_wal_replay_resume()")

    def reach(self, position: str) -> None:
        """Wait until it has everything up to a position in the source's write-ahead log."""
        self._wait("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position)

    def _wait(self, condition: str, *parameters: object) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.sql(condition, *parameters)[0][0]:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        return (self._folder / "standby.log").read_text(errors="replace")


def _send(members: Iterable[psutil.Process], number: signal.Signals) -> None:
    for member in members:
        with suppress(psutil.NoSuchProcess):  # sessions come and go
            member.send_signal(number)
