"""Processes and services die in the middle of a stream of transfers: nothing accepted is lost or doubled, and the
hub goes on."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import requests

from nocust.addresses import parse_address
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traffic import OUT_OF_SYNC, Traffic
from operator_api.simulation.wallets import SimulatedWallet
from scripts.hub.stack import Stack
from tests.eons import next_eon

pytestmark = pytest.mark.stack

PROCESSES = ["server", "scheduler", "accounting", "audit", "chain", "verifier"]
SERVICES = ["postgres", "redis"]
STREAMS = 4
DEPOSIT = 10**15


@dataclass
class Stream:
    """One sender that pays the same wallet over and over, one wei more each time, whatever happens to the hub.
    It learns from the hub itself what became of a request that was not answered."""

    hub: HubClient
    sender: SimulatedWallet
    recipient: SimulatedWallet
    stop: threading.Event
    accepted: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0
    error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._pay(amount=len(self.accepted) + 1, nonce=secrets.randbits(128))
        except BaseException as error:
            self.error = error

    def _pay(self, amount: int, nonce: int) -> None:
        """Send until it is known that the transfer was accepted once."""
        while True:
            try:
                eon = self.hub.eon
                if eon != self.sender.eon:
                    self.sender.enter(eon)
                transfer = self.sender.transfer(self.recipient.owner, amount, nonce=nonce)
                receipt = self.hub.send(transfer)
            except HubRefusedError as error:
                if error.code == "unique":
                    receipt = self._find(nonce)
                    assert receipt is not None
                elif error.code == OUT_OF_SYNC or error.status >= 500:
                    time.sleep(0.2)
                    if (receipt := self._find(nonce)) is None:
                        continue
                else:
                    raise
            except requests.RequestException:
                self.unanswered += 1
                if (receipt := self._find(nonce)) is None:
                    continue
            self.sender.accepted(transfer, int(receipt["position"]))
            self.accepted[nonce] = amount
            return

    def _find(self, nonce: int) -> Any:
        """The transfer with this nonce as the hub knows it, or None; waits until the hub answers."""
        while True:
            try:
                for row in self.hub.state(self.sender, self.sender.eon)["transactions"]:
                    if row["nonce"] == str(nonce):
                        return row
                return None
            except (requests.RequestException, HubRefusedError):
                time.sleep(0.2)


@pytest.fixture(scope="module")
def small_stack() -> Iterator[Stack]:
    with Stack(block_time=1, blocks_per_eon=90, environment={"SLA_THRESHOLD": "1000000"}) as stack:
        yield stack


def test_kill_everything_once(small_stack: Stack) -> None:
    stack = small_stack
    contract = parse_address(stack.environment["HUB_LQD_CONTRACT_ADDRESS"])
    key = bytes.fromhex(stack.environment["HUB_OWNER_ACCOUNT_KEY"].removeprefix("0x"))
    chain = ChainClient(stack.node_url, contract, key)
    traffic = Traffic(HubClient(stack.hub_url), chain, contract, 2 * STREAMS, seed=secrets.randbits(64))
    traffic.register()
    traffic.deposit(DEPOSIT)

    stop = threading.Event()
    streams = [
        Stream(HubClient(stack.hub_url), traffic.wallets[2 * i], traffic.wallets[2 * i + 1], stop)
        for i in range(STREAMS)
    ]
    threads = [threading.Thread(target=stream.run) for stream in streams]
    for thread in threads:
        thread.start()
    try:
        for name in [*PROCESSES, *SERVICES]:
            let_them_pay(streams, 10)
            stack.kill(name, signal.SIGKILL)
            stack.wait_ready()
        let_them_pay(streams, 10)
        redis.Redis.from_url(stack.redis_url).flushall()
        let_them_pay(streams, 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)

    for index, stream in enumerate(streams):
        assert stream.error is None, stream.error
        paid = sum(stream.accepted.values())
        traffic.balances[2 * index] -= paid
        traffic.balances[2 * index + 1] += paid
        assert nonces_of(stream) == sorted(stream.accepted)
    # The chain, verifier and accounting workers go on: a deposit is credited, the next checkpoint is made, gets
    # on the chain, and proves every wallet's balance to the wei.
    traffic.deposit(DEPOSIT)
    traffic.verify_checkpoint(next_eon(chain.web3, chain.contract))


def let_them_pay(streams: list[Stream], count: int) -> None:
    """Wait until every stream has had `count` more transfers accepted."""
    goals = [len(stream.accepted) + count for stream in streams]
    deadline = time.monotonic() + 120
    while any(len(stream.accepted) < goal for stream, goal in zip(streams, goals, strict=True)):
        assert time.monotonic() < deadline, [len(stream.accepted) for stream in streams]
        for stream in streams:
            assert stream.error is None, stream.error
        time.sleep(0.1)


def nonces_of(stream: Stream) -> list[int]:
    """The nonces of all transfers that the hub has of the stream's sender, repetitions included."""
    return sorted(
        int(row["nonce"])
        for eon in range(1, stream.hub.eon + 1)
        for row in stream.hub.state(stream.sender, eon)["transactions"]
    )
