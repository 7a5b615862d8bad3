"""One running hub a folder: the lock it holds, and the file in which it tells other shells about itself."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.hub import place, proc
from scripts.hub.errors import HubError

STOP_SECONDS = 90.0
WIPED = ("redis", "chain", "logs", "run")


@dataclass
class ProcessRecord:
    """A supervised process as others may see it. `began` is the kernel's start time of that pid."""

    pid: int
    began: int
    state: str
    restarts: int = 0

    @property
    def alive(self) -> bool:
        return proc.is_alive(self.pid, self.began)


@dataclass
class Record:
    """What a running hub tells: its supervisor, where it is, its processes and the variables they were given."""

    pid: int
    began: int
    url: str
    ready: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, ProcessRecord] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return proc.is_alive(self.pid, self.began)


def _file(folder: Path) -> Path:
    return folder / "run" / "instance.json"


def read(folder: Path) -> Record | None:
    """What the last hub in the folder wrote; None if there was none. Raises HubError if only others may read it."""
    try:
        raw: dict[str, Any] = json.loads(_file(folder).read_text(encoding="utf-8"))
        processes = {name: ProcessRecord(**fields) for name, fields in raw.pop("processes").items()}
        return Record(**raw, processes=processes)
    except PermissionError as error:
        raise HubError(f"Whether a hub runs cannot be seen: {error}. It belongs to another user.") from None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(folder: Path) -> Record | None:
    """The hub that runs in the folder now; None if none does."""
    record = read(folder)
    return record if record is not None and record.alive else None


def write(folder: Path, record: Record) -> None:
    """Replace the file, readable by its owner alone: it holds the database's password. Raises HubError."""
    target = _file(folder)
    fresh = target.with_suffix(".new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(record), file, indent=1)
        fresh.replace(target)
    except OSError as error:
        raise HubError(f"The state of the processes cannot be written: {error}") from error


@contextmanager
def hold(folder: Path, ended_by: str = "./run.sh stop") -> Iterator[None]:
    """Be the only hub in the folder. Raises HubError, which names the command that ends the other one."""
    make_folders(folder)
    path = folder / "run" / "lock"
    try:
        lock = path.open("w", encoding="ascii")
    except OSError as error:
        raise HubError(f"{error}. Was it made by another user?") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            record = running(folder)
            where = f" at {record.url} (process {record.pid})" if record else ""
            raise HubError(f"The hub is already running{where}: '{ended_by}' ends it.") from None
        end_leftovers(folder)
        yield


def make_folders(folder: Path) -> None:
    """The instance's folders; only their owner reads logs and run, but a server's user must pass through."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("logs", "run"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        if not os.access(folder / "run", os.W_OK):
            raise PermissionError(f"{folder / 'run'} is not writable")
    except OSError as error:
        raise HubError(
            f"The data folder {folder} cannot be used: {error}. Was it made by another user?"
        ) from error


def end_leftovers(folder: Path, seconds: float = 15.0) -> None:
    """Wait for processes of a supervisor that was killed; the kernel has already told them to end."""
    record = read(folder)
    if record is None:
        return
    deadline = time.monotonic() + seconds
    while left := [process for process in record.processes.values() if process.alive]:
        if time.monotonic() > deadline:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            deadline += 1.0
        time.sleep(0.05)


def stop(folder: Path, seconds: float = STOP_SECONDS) -> bool:
    """End the hub that runs in the folder and wait for it; False if none runs. Raises HubError."""
    record = running(folder)
    if record is None:
        end_leftovers(folder)
        return False
    try:
        os.kill(record.pid, signal.SIGTERM)
    except PermissionError:
        raise HubError(f"The hub (process {record.pid}) belongs to another user.") from None
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + seconds
    while record.alive:
        if time.monotonic() > deadline:
            raise HubError(
                f"The hub (process {record.pid}) has not ended after {seconds:.0f} s; see {folder / 'logs'}."
            )
        time.sleep(0.05)
    end_leftovers(folder)
    return True


def reset(folder: Path) -> None:
    """Delete the data of an instance that does not run: database, chain, Redis, logs."""
    place.remove_data(folder)
    (folder / "postgres.password").unlink(missing_ok=True)
    for name in WIPED:
        shutil.rmtree(folder / name, ignore_errors=True)
