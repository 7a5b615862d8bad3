"""The whole hub as a process: started, killed in parts and as a whole, started again, stopped, reset."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg2
import pytest
from redis import Redis

from scripts.hub import instance, ports, proc, wire
from scripts.hub.config import PORT_VARIABLES, ROOT, base_environment
from scripts.hub.stack import Stack
from scripts.tests.helpers import eventually

EVERYTHING = {
    "postgres",
    "redis",
    "node",
    "server",
    "scheduler",
    "accounting",
    "audit",
    "chain",
    "verifier",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(block_time=1, blocks_per_eon=60) as running:
        yield running


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What another shell in the same instance would run."""
    variables = {variable: str(stack.ports[name]) for name, variable in PORT_VARIABLES.items()}
    return subprocess.run(
        [sys.executable, "-m", "scripts.hub", *arguments],
        cwd=ROOT,
        env=base_environment() | variables | {"HUB_DATA": str(stack.folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def check_running(stack: Stack) -> None:
    """Everything answers, and the answers come from this stack's own processes."""
    assert set(stack.processes) == EVERYTHING
    assert stack.listens("server", stack.ports["hub"])
    assert wire.status(stack.hub_url + "swagger/") == 200
    assert int(wire.rpc(stack.node_url, "eth_chainId"), 16) == 1337
    assert len(wire.rpc(stack.node_url, "eth_getCode", stack.environment["SLA_TOKEN_ADDRESS"], "latest")) > 2
    connection = psycopg2.connect(stack.database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations")
        row = cursor.fetchone()
    connection.close()
    assert row is not None
    assert row[0] > 0
    with Redis.from_url(stack.redis_url) as redis:
        assert redis.ping()


@pytest.mark.stack
@pytest.mark.timeout(900)
def test_a_whole_life(stack: Stack) -> None:
    check_running(stack)
    output = stack.output.read_text()
    assert f"REST            {stack.hub_url}\n" in output
    assert stack.environment["HUB_LQD_CONTRACT_ADDRESS"] in output

    # another shell sees it and refuses to start a second one
    assert command(stack, "status").returncode == 0
    again = command(stack, "dev")
    assert again.returncode == 1
    assert f"already running at {stack.hub_url}" in again.stderr
    exported = command(stack, "env").stdout
    assert f"export HUB_PORT={stack.ports['hub']}\n" in exported
    assert command(stack, "manage", "check").returncode == 0

    # everything that is killed comes back
    before = {name: process.pid for name, process in stack.processes.items()}
    for name, pid in before.items():
        assert stack.kill(name) == pid
    for name, pid in before.items():
        assert stack.wait_restarted(name, pid) != pid
    stack.wait_ready()
    check_running(stack)
    assert stack.restart("server") != before["server"]
    stack.wait_ready()

    # nothing outlives the supervisor, and the next start finds the data
    height = int(wire.rpc(stack.node_url, "eth_blockNumber"), 16)
    processes = dict(stack.processes)
    stack.kill_supervisor()
    assert eventually(lambda: not any(process.alive for process in processes.values()), 15)
    assert all(ports.is_free(port) for port in stack.ports.values())
    stack.start()
    check_running(stack)
    assert int(wire.rpc(stack.node_url, "eth_blockNumber"), 16) >= height - 3

    # stop from another shell ends exactly this, and reset wipes it
    processes = dict(stack.processes)
    stopped = command(stack, "stop")
    assert stopped.stdout == "The hub was ended.\n"
    assert not any(process.alive for process in processes.values())
    assert command(stack, "status").returncode == 1
    assert (stack.folder / "postgres").exists()
    command(stack, "reset")
    assert not (stack.folder / "postgres").exists()
    assert not (stack.folder / "chain").exists()


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_ctrl_c_during_the_start_ends_what_was_started() -> None:
    stack = Stack()
    try:
        stack.start(wait=False)
        assert eventually(lambda: "redis" in stack.processes, 30)
        record = instance.read(stack.folder)
        assert record is not None
        processes = dict(record.processes)
        os.kill(record.pid, signal.SIGINT)
        began = time.monotonic()
        assert eventually(lambda: not record.alive, 15)
        assert time.monotonic() - began < 15
        assert not any(proc.is_alive(process.pid, process.began) for process in processes.values())
        assert "stopped before it was ready" in stack.output.read_text()
    finally:
        stack.stop()
        stack.remove()
