"""The hub's tasks through RabbitMQ, named by URL alone, and through its restart."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from scripts.hub.ports import free_ports
from tests.production import Hub, Services

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's. The one in /usr/sbin is a wrapper that changes the user."""
PATIENCE = 120.0

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not PROGRAM.exists(), reason="RabbitMQ (Debian: rabbitmq-server) is not installed"),
]


class Broker:
    """A RabbitMQ on loopback, with its own files, Erlang cookie and port mapper."""

    def __init__(self, folder: Path) -> None:
        self.port, distribution, mapper = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.log = folder / "output"
        plugins = folder / "plugins"
        plugins.write_text("[].")
        own = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"hub-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper),
        }
        self._environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | own
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAM], env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        until(self._listens, self.said)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        """End the port mapper, too, which goes on without the broker."""
        self.stop()
        mapper = shutil.which("epmd")
        if mapper is not None:
            subprocess.run([mapper, "-kill"], env=self._environment, capture_output=True, check=False)


def until(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def test_tasks_go_through_rabbitmq_and_survive_its_restart(broker: Broker) -> None:
    with Services() as services:
        hub = Hub(services.folder, services.variables() | {"CELERY_BROKER_URL": broker.url})
        try:
            hub.done("migrate")
            hub.start()
            check(hub, broker)
        finally:
            hub.end()


def check(hub: Hub, broker: Broker) -> None:
    def ages() -> dict[str, float]:
        found: dict[str, float] = requests.get(f"{hub.url}status/", timeout=30).json()["heartbeats"]
        return found

    def all_run() -> bool:
        found = ages()
        return "chain" in found and len(found) > 5 and max(found.values()) < 15

    until(all_run, lambda: str(ages()))
    for name in ("accounting", "audit", "chain", "verifier"):
        assert f"@127.0.0.1:{broker.port}/" in hub.log(name), name
    broker.stop()
    until(lambda: ages().get("chain", 0) > 20, lambda: str(ages()))
    broker.start()
    until(all_run, lambda: str(ages()))
    assert "prefetch count" not in hub.log(
        "accounting"
    )  # changed beside the main thread, it can stop the worker
