"""Occupied ports are found before anything starts, and named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.hub import ports, proc
from scripts.hub.config import PORT_VARIABLES, Config
from scripts.hub.errors import HubError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path, dict(zip(PORT_VARIABLES, ports.free_ports(4), strict=True)))


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("what", list(PORT_VARIABLES))
def test_an_occupied_port_is_named_with_its_purpose_and_its_variable(
    config: Config, listening: int, what: str
) -> None:
    taken = replace(config, ports={**config.ports, what: listening})
    with pytest.raises(HubError) as caught:
        ports.check_ports(taken)
    sentence = str(caught.value)
    assert (
        f"Port {listening}, wanted for {config.embedded[what]}, is occupied by process {os.getpid()}"
        in sentence
    )
    assert f"set {PORT_VARIABLES[what]} to a free port" in sentence


def test_a_listener_on_all_addresses_occupies_the_port(config: Config) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104  (what is tested)
        port = server.getsockname()[1]
        assert not ports.is_free(port)


def test_one_port_cannot_serve_two(config: Config) -> None:
    with pytest.raises(HubError, match="wanted both for the hub's HTTP and websocket server and for Redis"):
        ports.check_ports(replace(config, ports={**config.ports, "redis": config.ports["hub"]}))


def test_ports_of_servers_that_others_run_do_not_matter(config: Config, listening: int) -> None:
    own = replace(config, ports={**config.ports, "redis": listening}, redis_url="redis://elsewhere:6379")
    ports.check_ports(own)


def test_free_ports_are_free_and_different() -> None:
    found = ports.free_ports(8)
    assert len(set(found)) == 8
    assert all(ports.is_free(port) for port in found)
    assert not set(ports.free_ports(3, avoid=found)) & set(found)


def test_the_listener_is_the_very_process(listening: int) -> None:
    assert proc.listens(os.getpid(), listening)
    assert not proc.listens(os.getppid(), listening)
    assert f"process {os.getpid()} " in proc.listener(listening)
    assert not proc.listens(os.getpid(), ports.free_ports(1)[0])


def test_a_process_is_its_pid_and_its_start() -> None:
    began = proc.start_time(os.getpid())
    assert proc.is_alive(os.getpid(), began)
    assert not proc.is_alive(os.getpid(), began + 1)
    assert not proc.is_alive(0, began)
