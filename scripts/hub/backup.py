"""`./run.sh prod backup FILE` and `restore FILE`: the whole database, with PostgreSQL's own programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from scripts.hub import environment, instance, place
from scripts.hub.child import tied
from scripts.hub.config import ROOT
from scripts.hub.environment import Production
from scripts.hub.errors import HubError

EMPTY = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT format('DROP %s IF EXISTS %s CASCADE', kind, name) AS statement FROM (
            SELECT 'TABLE' AS kind, oid::regclass::text AS name, oid, relowner AS owner, relnamespace AS schema
            FROM pg_class WHERE relkind IN ('r', 'p')
            UNION ALL
            SELECT 'ROUTINE', oid::regprocedure::text, oid, proowner, pronamespace FROM pg_proc
        ) things
        WHERE schema = 'public'::regnamespace AND pg_has_role(owner, 'USAGE')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = things.oid AND deptype = 'e')
    LOOP
        EXECUTE found.statement;
    END LOOP;
END $$;
"""
"""Drops what the hub has made, tables of later versions included, which a backup does not name."""
VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


def program(name: str) -> Path:
    """One of PostgreSQL's programs: of HUB_POSTGRES_BIN, else the newest of the packaged ones, those on PATH and
    Debian's. Raises HubError."""
    named = os.environ.get("HUB_POSTGRES_BIN", "")
    if named:
        candidates = [Path(named) / name]
    else:
        wheel = place.wheel_folder()
        candidates = [wheel / place.INSTALL / "bin" / name] if wheel else []
        candidates += [Path(found) for found in (shutil.which(name),) if found]
        candidates += Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    found = max(((_version(path), str(path)) for path in candidates), default=(0, ""))
    if not found[0]:
        raise HubError(
            f"There is no {name}: install PostgreSQL's client programs ('apt-get install postgresql-client'), or"
            " name their folder with HUB_POSTGRES_BIN."
        )
    return Path(found[1])


def _version(path: Path) -> int:
    """The main version of a program, 0 if it does not run."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return 0
    found = VERSION.search(done.stdout)
    return int(found[1]) if found else 0


def _target(production: Production) -> tuple[str, dict[str, str]]:
    """The database's URL without the password, which others could read in the list of processes, and the
    environment with it."""
    parts = urlsplit(production.environment["DATABASE_URL"])
    secret = {} if parts.password is None else {"PGPASSWORD": unquote(parts.password)}
    user = quote(unquote(parts.username or ""), safe="")
    host = f"{user}@" * bool(user) + parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl(), {**production.environment, **secret}


def _run(command: list[str], variables: dict[str, str]) -> None:
    """Run one of PostgreSQL's programs to its end; it ends with this process. Raises HubError."""
    done = subprocess.run(tied(command), env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _failure(Path(command[0]).name, done.stderr)


def _failure(name: str, said: str) -> HubError:
    last = "\n".join(f"    | {line}" for line in said.strip().splitlines()[-15:])
    return HubError(f"{name} failed:\n{last}")


def _one_file(arguments: list[str]) -> Path:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise HubError("Name one file.")
    # run.sh goes to its own folder; a relative name is meant where it was called
    return (Path(os.environ.get("HUB_RUN_FROM") or ".") / arguments[0]).resolve()


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, with what is in `finally`."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def backup(arguments: list[str]) -> int:
    """Write the database to a file, whole or not at all; the hub may run meanwhile."""
    path = _one_file(arguments)
    if path.exists():
        raise HubError(f"{path} exists already.")
    production = environment.load(live=False)
    url, variables = _target(production)
    fresh = path.with_name(path.name + ".partial")
    command = [str(program("pg_dump")), "--format=custom", "--no-owner", "--no-privileges"]
    try:
        with _ended_in_order():
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600)
            _run([*command, f"--file={fresh}", f"--dbname={url}"], variables)
            fresh.rename(path)
    except OSError as error:
        raise HubError(f"The backup cannot be written: {error}") from None
    finally:
        with suppress(OSError):
            fresh.unlink()
    print(f"The database is in {path}, {path.stat().st_size} bytes.")
    return 0


def restore(arguments: list[str]) -> int:
    """Replace the database by that of a file, in one transaction. The hub must not run; it is held afterwards."""
    path = _one_file(arguments)
    if not path.is_file():
        raise HubError(f"There is no file {path}.")
    production = environment.load(live=False)
    if instance.running(production.folder) is not None:
        raise HubError("The hub runs on this host: './run.sh prod stop' first, and on all other hosts.")
    if others := _others(production):
        raise HubError(
            f"{others} other programs are connected to the database: end the hub's processes everywhere."
        )
    url, variables = _target(production)
    refill(path, url, variables)
    manage = [sys.executable, str(ROOT / "manage.py")]
    for step in (["migrate", "--no-input", "--verbosity", "0"], ["after_restore"]):
        code = subprocess.run([*manage, *step], cwd=ROOT, env=production.environment, check=False).returncode
        if code != 0:
            return code
    print(
        "The database was restored, and the hub is held: it signs nothing until './run.sh prod after-restore'\n"
        "decides (docs/operations/backup.md). Flush Redis, then start the hub: './run.sh prod'."
    )
    return 0


def refill(path: Path, url: str, variables: dict[str, str]) -> None:
    """Empty the database and fill it from the file, in one transaction. Raises HubError; nothing changed then."""
    reader = [str(program("pg_restore")), "--clean", "--if-exists", "--no-owner", "--no-privileges"]
    writer = [str(program("psql")), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={url}"]
    quiet = {**variables, "PGOPTIONS": "-c client_min_messages=warning"}
    with tempfile.TemporaryFile("w+") as said:
        psql = subprocess.Popen(
            tied(writer), env=quiet, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
        assert psql.stdin is not None
        read = None
        with suppress(BrokenPipeError), psql.stdin:  # it ends at the first error
            psql.stdin.write(f"BEGIN;\n{EMPTY}")
            psql.stdin.flush()
            read = subprocess.run(
                tied([*reader, "--file=-", str(path)]),
                env=variables,
                stdout=psql.stdin,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            if read.returncode == 0:  # else the end without COMMIT takes everything back
                psql.stdin.write("\nCOMMIT;\n")
        if psql.wait() != 0:
            said.seek(0)
            raise _failure("psql", said.read())
        if read is None or read.returncode != 0:
            raise _failure("pg_restore", read.stderr if read else "")


def _others(production: Production) -> int:
    """How many other sessions use the database."""
    import psycopg2

    try:
        connection = psycopg2.connect(production.environment["DATABASE_URL"], connect_timeout=10)
    except psycopg2.Error as error:
        raise HubError(f"DATABASE_URL: {' '.join(str(error).split())}") from None
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            row = cursor.fetchone()
            return int(row[0]) if row else 0
    finally:
        connection.close()
