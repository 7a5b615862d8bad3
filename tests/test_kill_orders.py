"""The accounting worker dies again and again while orders come in: each is matched once, at its price, and the next
checkpoint gives everybody what was traded."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

import contracts
from nocust.addresses import parse_address, to_checksum
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traders import Trader, order_body
from scripts.hub.stack import Stack
from tests.eons import next_eon

pytestmark = pytest.mark.stack

PAIRS = 8
AMOUNT = 10**15
EONS = 3
PATIENCE = 120.0  # seconds
PROMPT = 5.0
"""Seconds in which a worker that is told to stop has ended, on a machine with other work."""
FATES = ["lives", "ends in order", "dies while it matches", "dead when orders come"]


@pytest.fixture(scope="module")
def busy_stack() -> Iterator[Stack]:
    with Stack(block_time=1, blocks_per_eon=90) as stack:
        yield stack


class Market:
    """Traders in Ether and the hub's token, with deposits in what they sell; sellers of the two take turns."""

    def __init__(self, stack: Stack) -> None:
        key = bytes.fromhex(stack.environment["HUB_OWNER_ACCOUNT_KEY"].removeprefix("0x"))
        self.contract = parse_address(stack.environment["HUB_LQD_CONTRACT_ADDRESS"])
        self.token = parse_address(stack.environment["SLA_TOKEN_ADDRESS"])
        self.hub = HubClient(stack.hub_url)
        self.chain = ChainClient(stack.node_url, self.contract, key)
        self.database = psycopg2.connect(stack.database_url)
        self.database.autocommit = True
        tokens = (self.contract, self.token)
        self.traders = [
            Trader.create(self.contract, *(tokens if index % 2 == 0 else tokens[::-1]))
            for index in range(2 * PAIRS)
        ]

    def open(self) -> None:
        """All wallets and their deposits."""
        self.hub.register([wallet for one in self.traders for wallet in (one.debit, one.credit)])
        self.deposited_in = self.hub.eon
        self.chain.deposit_ether({one.debit.address: AMOUNT for one in self.traders[::2]})
        token = self.chain.web3.eth.contract(
            address=self.chain.web3.to_checksum_address(to_checksum(self.token)),
            abi=contracts.load("TestToken").abi,
        )
        approval = token.functions.approve(self.chain.contract.address, AMOUNT * PAIRS)
        self.chain.send_all([(approval, 0)])
        deposit = self.chain.contract.functions.deposit
        self.chain.send_all(
            [
                (deposit(token.address, to_checksum(one.debit.address), AMOUNT), 0)
                for one in self.traders[1::2]
            ]
        )
        wait(lambda: self.sql("SELECT count(*) FROM ledger_deposit")[0][0] == len(self.traders))

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        with self.database.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def place(self, one: Trader) -> None:
        """Its order, in the eon that the hub is in then: all it has for as much of the other token."""
        while True:
            eon = self.hub.eon
            one.enter(eon, AMOUNT if eon > self.deposited_in else 0, 0)
            order = one.place(AMOUNT, AMOUNT, EONS)
            try:
                self.hub.call("POST", "swap/", order_body(order))
                return
            except HubRefusedError as error:
                if error.code != "EON_NUMBER_OUT_OF_SYNC":
                    raise
                time.sleep(0.2)

    def matched(self) -> int:
        return int(
            self.sql("SELECT count(*) FROM ledger_transfer WHERE complete AND swap AND appended")[0][0]
        )


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_accounting_worker_dies_while_it_matches(busy_stack: Stack) -> None:
    stack, market = busy_stack, Market(busy_stack)
    market.open()
    makers, takers = market.traders[::2], market.traders[1::2]
    for index, (maker, taker) in enumerate(zip(makers, takers, strict=True)):
        fate = FATES[index % len(FATES)]
        before = stack.processes["accounting"].pid
        if fate == "ends in order":
            began = time.monotonic()
            stack.kill("accounting", signal.SIGTERM)
            wait(lambda before=before: not alive(before))  # type: ignore[misc]
            assert time.monotonic() - began < PROMPT
        if fate == "dead when orders come":
            stack.kill("accounting", signal.SIGKILL)
        market.place(maker)
        market.place(taker)
        if fate == "dies while it matches":
            stack.kill("accounting", signal.SIGKILL)
        wait(lambda index=index: market.matched() == 2 * (index + 1))  # type: ignore[misc]

    fills = market.sql("SELECT taker_gave, maker_gave FROM ledger_matching")
    assert fills == [(AMOUNT, AMOUNT)] * PAIRS
    assert not market.sql(
        "SELECT 1 FROM ledger_transfer WHERE complete AND swap AND NOT processed AND arrival IS NULL"
    )
    eon = next_eon(market.chain.web3, market.chain.contract)
    for one in market.traders:
        for wallet, owned in ((one.debit, 0), (one.credit, AMOUNT)):
            wait(lambda wallet=wallet: market.hub.proof(wallet, eon) is not None)  # type: ignore[misc]
            proof = market.hub.proof(wallet, eon)
            assert proof is not None
            assert proof.right - proof.left == owned
    market.database.close()
