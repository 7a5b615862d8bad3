"""What Linux's /proc tells about processes: who one is, whether it lives, what it listens on."""

from __future__ import annotations

import ctypes
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
PR_SET_CHILD_SUBREAPER = 36
_STATE, _PARENT, _START_TIME = 0, 1, 19  # fields of /proc/PID/stat after the command's closing parenthesis


def _fields(pid: int) -> list[str]:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot; 0 if it does not live. With the pid it names a process."""
    fields = _fields(pid)
    return int(fields[_START_TIME]) if fields and fields[_STATE] not in {"Z", "X"} else 0


def is_alive(pid: int, began: int) -> bool:
    """Whether exactly that process still runs (a reused pid has another start time)."""
    return pid > 0 and began > 0 and start_time(pid) == began


def children(pid: int) -> list[int]:
    """The processes whose parent the process is now, adopted ones included."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _fields(int(entry.name))
            if fields and int(fields[_PARENT]) == pid:
                found.append(int(entry.name))
    return found


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none of them can get lost."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def command_line(pid: int) -> str:
    """The process's command line, shortened to its first 80 characters; empty if unknown."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:80]


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = (PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _holds(pid: int, inodes: set[str]) -> bool:
    try:
        links = list((PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
    for link in links:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            return True
    return False


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the TCP port."""
    inodes = _listening_inodes(port)
    return bool(inodes) and _holds(pid, inodes)


def listener(port: int) -> str:
    """Which process listens on the port, for a message; empty if that cannot be seen."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and _holds(int(entry.name), inodes):
            return f"process {entry.name} ({command_line(int(entry.name))})"
    return ""
