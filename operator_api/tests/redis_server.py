"""A Redis of a test's own, which it may stop."""

from __future__ import annotations

import subprocess
import tempfile
import time
from types import TracebackType

import redis

from scripts.hub.ports import free_ports
from scripts.hub.redis import binary


class RedisServer:
    """Runs while it is entered; nothing is kept on disk."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        command = [str(binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self._process = subprocess.Popen([*command, self._folder.name], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return self
            except redis.RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def stop(self) -> None:
        """Redis is away from now on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
