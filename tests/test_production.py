"""The production set-up as an operator runs it: servers of one's own, a `.env`, `./run.sh prod`."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traffic import OUT_OF_SYNC, Traffic
from operator_api.simulation.wallets import SimulatedWallet
from scripts.hub import proc
from tests.production import Hub, Services

pytestmark = pytest.mark.stack

PAYERS = 3
DEPOSIT = 10**15


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture(scope="module")
def hub(services: Services) -> Iterator[Hub]:
    made = Hub(services.folder, services.variables())
    try:
        yield made
    finally:
        made.end()


@dataclass
class Payer:
    """Pays one wei after the other over a connection that it keeps, and notes each request that fails."""

    hub: HubClient
    sender: SimulatedWallet
    recipient: SimulatedWallet
    stop: threading.Event
    paid: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                eon = self.hub.eon
                if eon != self.sender.eon:
                    self.sender.enter(eon)
                self.hub.pay(self.sender, self.recipient.owner, 1)
                self.paid += 1
            except HubRefusedError as error:
                if error.code == OUT_OF_SYNC:
                    time.sleep(0.2)
                    continue
                self.failures.append(str(error))
                return
            except requests.RequestException as error:
                # Whether the hub accepted it is not known; the wallet would ask. This test only counts it.
                self.failures.append(f"no answer: {type(error).__name__}")
                return


@dataclass
class Visitor:
    """Opens a connection for each request, one after the other, as fast as it is answered."""

    url: str
    stop: threading.Event
    answers: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                answer = requests.get(f"{self.url}audit/", timeout=30, headers={"Connection": "close"})
                if answer.status_code >= 500:
                    self.failures.append(f"status {answer.status_code}")
                self.answers += 1
            except requests.RequestException as error:
                self.failures.append(f"no answer: {error}")


class Load:
    """Payers and visitors at work while the block runs."""

    def __init__(self, hub: Hub, traffic: Traffic) -> None:
        self.stop = threading.Event()
        self.payers = [
            Payer(HubClient(hub.url), traffic.wallets[2 * i], traffic.wallets[2 * i + 1], self.stop)
            for i in range(PAYERS)
        ]
        self.visitor = Visitor(hub.url, self.stop)
        self.workers: list[Payer | Visitor] = [*self.payers, self.visitor]
        self._threads = [threading.Thread(target=worker.run) for worker in self.workers]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait(3)
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def failures(self) -> list[str]:
        return [failure for worker in self.workers for failure in worker.failures]

    def wait(self, count: int) -> None:
        """Until each payer that has not failed had `count` more transfers accepted."""
        goals = [payer.paid + count for payer in self.payers]
        deadline = time.monotonic() + 60
        while any(
            payer.paid < goal and not payer.failures for payer, goal in zip(self.payers, goals, strict=True)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture(scope="module")
def traffic(hub: Hub, services: Services) -> Traffic:
    """Wallets that have registered and deposited with the running hub."""
    assert "run './run.sh prod migrate' first" in unstarted(hub)
    hub.done("migrate")
    hub.start()
    chain = ChainClient(services.node_url, services.contract, services.operator.key)
    made = Traffic(HubClient(hub.url), chain, services.contract, 2 * PAYERS, seed=7)
    made.register()
    made.deposit(DEPOSIT)
    return made


def unstarted(hub: Hub) -> str:
    """What `./run.sh prod` says instead of starting."""
    done = hub.command()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr.splitlines()[-1]
    return done.stderr


def test_all_processes_run_with_two_servers_on_one_port(hub: Hub, traffic: Traffic) -> None:
    assert sorted(hub.names()) == sorted(
        ["server", "server-2", "scheduler", "accounting", "audit", "chain", "verifier"]
    )
    assert "is ready" in hub.done("status")
    port = int(hub.url.rsplit(":", 1)[1].strip("/"))
    assert all(proc.listens(hub.pid(name), port) for name in ("server", "server-2"))
    assert traffic.hub.eon >= 1


def test_the_operators_key_is_in_no_file(hub: Hub, services: Services, traffic: Traffic) -> None:
    assert traffic.payments == 0
    secret = services.operator.key.hex()
    for path in hub.folder.rglob("*"):
        if path.is_file():
            assert secret not in path.read_text(errors="replace"), path


def test_a_rolling_restart_fails_no_request(hub: Hub, traffic: Traffic) -> None:
    before = {name: hub.pid(name) for name in ("server", "server-2")}
    with Load(hub, traffic) as load:
        hub.done("restart", "server")
        load.wait(3)
    assert not load.failures
    assert all(hub.pid(name) != pid for name, pid in before.items())
    assert not any(proc.start_time(pid) for pid in before.values())
    assert load.visitor.answers > 10


def test_a_killed_server_fails_only_what_it_had_in_hand(hub: Hub, traffic: Traffic) -> None:
    with Load(hub, traffic) as load:
        os.kill(hub.pid("server"), signal.SIGKILL)
        time.sleep(5)
        load.wait(3)
    # Each worker has one request at a time under way, and a payer gives up after a failure. A visitor's request
    # fails at most once: its next connection waits until another process takes it.
    assert len(load.failures) <= PAYERS + 1
    assert len(load.visitor.failures) <= 1
    assert all(failure.startswith("no answer") for failure in load.failures)


def test_a_connection_waits_while_no_server_runs(hub: Hub, traffic: Traffic) -> None:
    assert traffic.hub.eon
    for name in ("server", "server-2"):
        os.kill(hub.pid(name), signal.SIGKILL)
    assert requests.get(f"{hub.url}audit/", timeout=60).status_code == 200


def test_a_restart_with_a_bad_environment_leaves_the_old_one(
    hub: Hub, services: Services, traffic: Traffic
) -> None:
    assert traffic.hub.eon
    before = hub.pid("server")
    hub.write(services.variables() | {"LOG_LEVEL": "LOUD"})
    refused = hub.command("restart", "server")
    hub.write(services.variables())
    assert refused.returncode == 1
    assert "LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR, is 'LOUD'" in refused.stderr
    assert hub.pid("server") == before


def test_workers_restart_and_everything_goes_on_to_the_next_checkpoint(
    hub: Hub, services: Services, traffic: Traffic
) -> None:
    before = {name: hub.pid(name) for name in hub.names() if not name.startswith("server")}
    hub.done("restart", *before)
    assert all(hub.pid(name) != pid for name, pid in before.items())
    eon = services.next_eon()
    submitted = traffic.chain.contract.functions.lastSubmissionEon
    traffic.wait("the checkpoint", lambda: int(submitted().call()) >= eon, seconds=120)


def test_it_ends_on_sigterm_with_all_it_started(hub: Hub, traffic: Traffic) -> None:
    assert traffic.hub.eon
    pids = [hub.pid(name) for name in hub.names()]
    hub.end()
    assert not any(proc.start_time(pid) for pid in pids)
    assert "was killed" not in hub.said().rsplit("ending", 1)[1]
    port = int(hub.url.rsplit(":", 1)[1].strip("/"))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert hub.command("stop").stdout == "The hub is not running.\n"
