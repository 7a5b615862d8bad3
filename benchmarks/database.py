"""A database of the benchmark's own: on the server that BENCHMARK_DATABASE_URL names, else on an embedded server
with the hub's settings, so that commits reach the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from scripts.hub import place
from scripts.hub.ports import is_free
from scripts.hub.postgres import SETTINGS

NAME = f"benchmark_{os.getpid()}"
START_SECONDS = 30
LOG_FILES = 16
"""Some 10,000 transfers fill one."""


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database, which is gone afterwards."""
    url = os.environ.get("BENCHMARK_DATABASE_URL", "")
    if url:
        yield from _on(url)
        return
    with _server() as own:
        yield from _on(own)


def _on(url: str) -> Iterator[str]:
    _administer(url, f"CREATE DATABASE {NAME}")
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{NAME}"))
    finally:
        _administer(url, f"DROP DATABASE {NAME} WITH (FORCE)")


def _administer(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


@contextmanager
def _server() -> Iterator[str]:
    """The URL of an embedded server whose data is gone afterwards."""
    account = place.unprivileged() if os.geteuid() == 0 else None
    programs = place.programs(account)
    folder = Path(tempfile.mkdtemp(prefix="nocust-benchmark-", dir="/var/tmp"))
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    port = next(port for port in range(25_000, 26_000) if is_free(port))
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    data = folder / "data"
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "hub", "-A", "trust", "-E", "UTF8"]
    identity = place.identity(account)
    server = None
    try:
        subprocess.run(
            [*initdb, "--locale=C.UTF-8"], check=True, capture_output=True, env=environment, **identity
        )
        command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
        for setting in SETTINGS:
            command += ["-c", setting]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, **identity)
        url = f"postgresql://hub@127.0.0.1:{port}/postgres"
        _wait(url, server)
        _use_log_files(url)
        yield url
    finally:
        if server is not None:
            server.terminate()
            server.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _use_log_files(url: str) -> None:
    """Leave the server with files of its write-ahead log that it has used, as one that has run for a while has: to
    make a new one (16 MiB of zeros) holds up every commit for some 60 ms, to use one again does not."""
    for _ in range(LOG_FILES):
        _administer(url, "SELECT pg_logical_emit_message(false, 'benchmark', ''), pg_switch_wal()")
    _administer(url, "CHECKPOINT")


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg2.connect(url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
