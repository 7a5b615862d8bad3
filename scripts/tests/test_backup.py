"""Backups are whole or not there, and a restore replaces everything or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from scripts.hub import backup, environment, proc
from scripts.hub.config import ROOT, base_environment
from scripts.hub.environment import Production
from scripts.hub.errors import HubError
from scripts.tests.helpers import eventually, write_script
from scripts.tests.test_production import GOOD

NAME = f"backups_{os.getpid()}"


def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with a table, a function and a trigger; the one that is backed up and restored."""
    server = os.environ["DATABASE_URL"]
    run(server, f"CREATE DATABASE {NAME}")
    url = urlsplit(server)._replace(path=f"/{NAME}").geturl()
    run(
        url,
        "CREATE TABLE wallet (id bigint PRIMARY KEY, name text)",
        "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER guard BEFORE INSERT ON wallet FOR EACH ROW EXECUTE FUNCTION guard()",
        "INSERT INTO wallet SELECT n, md5(n::text) FROM generate_series(1, 5000) n",
    )
    made = Production({**os.environ, "DATABASE_URL": url}, tmp_path, "127.0.0.1", 1, 1, 0.0)
    monkeypatch.setattr(environment, "load", lambda live: made)
    yield url
    run(server, f"DROP DATABASE {NAME} WITH (FORCE)")


def wallets(url: str) -> int:
    ((count,),) = run(url, "SELECT count(*) FROM wallet")
    assert isinstance(count, int)
    return count


def test_a_backup_replaces_what_a_later_version_added(database: str, tmp_path: Path) -> None:
    """The tables of that version refer to those of the backup, and would be in the way of its next migration."""
    file = tmp_path / "hub.dump"
    assert backup.backup([str(file)]) == 0
    run(
        database,
        "DELETE FROM wallet WHERE id > 10",
        "CREATE TABLE later (id bigint PRIMARY KEY, wallet_id bigint REFERENCES wallet (id))",
        "CREATE FUNCTION later() RETURNS bigint LANGUAGE sql AS 'SELECT max(id) FROM later'",
        "INSERT INTO later VALUES (1, 1)",
    )
    backup.refill(file, database, dict(os.environ))
    assert wallets(database) == 5000
    assert run(database, "SELECT to_regclass('later'), to_regproc('later')") == [(None, None)]
    assert run(database, "SELECT count(*) FROM pg_trigger WHERE tgname = 'guard'") == [(1,)]


def test_a_damaged_backup_changes_nothing(database: str, tmp_path: Path) -> None:
    file = tmp_path / "hub.dump"
    backup.backup([str(file)])
    run(database, "DELETE FROM wallet WHERE id > 10")
    os.truncate(file, file.stat().st_size - 20_000)
    with pytest.raises(HubError, match="pg_restore failed"):
        backup.refill(file, database, dict(os.environ))
    assert wallets(database) == 10


def test_a_restore_that_the_database_refuses_changes_nothing_and_says_why(
    database: str, tmp_path: Path
) -> None:
    file = tmp_path / "hub.dump"
    backup.backup([str(file)])
    run(database, "DELETE FROM wallet WHERE id > 10")
    url = urlsplit(database)._replace(query="options=-cdefault_transaction_read_only%3Don").geturl()
    with pytest.raises(HubError, match=r"(?s)psql failed:.*read-only transaction"):
        backup.refill(file, url, dict(os.environ))
    assert wallets(database) == 10


def test_a_place_that_cannot_be_written_is_a_sentence(database: str, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"cannot be written: .*No such file or directory"):
        backup.backup([str(tmp_path / "none" / "hub.dump")])
    (tmp_path / "hub.dump.partial").mkdir()
    with pytest.raises(HubError, match="cannot be written"):
        backup.backup([str(tmp_path / "hub.dump")])


def test_a_relative_name_is_meant_where_the_command_was_called(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_RUN_FROM", str(tmp_path))
    backup.backup(["hub.dump"])
    assert (tmp_path / "hub.dump").stat().st_size > 0


DUMP = """#!/bin/sh
[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 18.4"; exit; }
for last in "$@"; do case $last in --file=*) echo half >"${last#--file=}"; esac; done
echo $$ >PLACE/pid.new && mv PLACE/pid.new PLACE/pid
exec sleep 600
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_backup_that_is_ended_leaves_no_process_and_no_part(tmp_path: Path, number: signal.Signals) -> None:
    write_script(tmp_path / "bin" / "pg_dump", DUMP.replace("PLACE", str(tmp_path)))
    variables = base_environment() | GOOD | {"HUB_DATA": str(tmp_path / "data")}
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.hub", "prod", "backup", str(tmp_path / "hub.dump")],
        cwd=ROOT,
        env=variables | {"HUB_POSTGRES_BIN": str(tmp_path / "bin"), "HUB_ENV_FILE": os.devnull},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert eventually((tmp_path / "pid").exists, 60)
    dump = int((tmp_path / "pid").read_text())
    began = proc.start_time(dump)
    process.send_signal(number)
    process.wait(20)
    ended = eventually(lambda: not proc.is_alive(dump, began))
    if not ended:
        os.kill(dump, signal.SIGKILL)
    _, said = process.communicate(timeout=20)
    assert ended
    assert said == ""
    assert not (tmp_path / "hub.dump").exists()
    assert (tmp_path / "hub.dump.partial").exists() == (number == signal.SIGKILL)
