"""Two servers and two accounting workers at once, on one PostgreSQL and one Redis, as on two hosts: transfers and
orders in several markets come through both servers, and one of the workers is killed meanwhile."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from websockets.sync.client import connect

from contracts.artifacts_loader import load
from contracts.deploy import token_arguments
from nocust.addresses import parse_address, to_checksum
from operator_api.locks import Lock
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traders import Trader, order_body
from operator_api.simulation.traffic import OUT_OF_SYNC
from operator_api.simulation.wallets import SimulatedWallet
from scripts.hub import ports, wire
from scripts.hub.config import ROOT, base_environment
from scripts.hub.stack import Stack

pytestmark = pytest.mark.stack

BLOCKS_PER_EON = 1200  # the test goes on to the next eon by itself
EACH = 3
"""Pairs of crossing orders in each market, of which the last one's maker rests until the end."""
PAYERS = 4
PAYMENTS = 10
AMOUNT = 10**15
PATIENCE = 180.0  # seconds


class OtherHost:
    """A server and an accounting worker with the settings of the stack, on a port of their own."""

    def __init__(self, stack: Stack) -> None:
        self._folder: Path = stack.folder
        port = ports.free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}/"
        self._environment = base_environment() | stack.environment | {"HUB_PORT": str(port)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for script in ("runserver", "celeryworker_accounting"):
            command = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "SIGTERM"]
            with (self._folder / f"other-{script}.log").open("ab") as log:
                self._processes[script] = subprocess.Popen(
                    [*command, "bash", str(ROOT / "scripts" / f"{script}.sh")],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        wait(lambda: wire.status(self.url + "audit/") == 200)

    def kill_worker(self) -> None:
        """kill -9; nobody starts it again."""
        process = self._processes.pop("celeryworker_accounting")
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(60)


class Subscriber:
    """A websocket client of one server; `events` are what it was told of its streams: the stream, what happened,
    and its position, which is behind that of its subscription."""

    def __init__(self, url: str, streams: list[str]) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.subscribed_at = 0
        self._subscribed = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=[url, streams], daemon=True)
        self._thread.start()
        assert self._subscribed.wait(60)

    def _listen(self, url: str, streams: list[str]) -> None:
        with connect(url.replace("http", "ws", 1) + "ws/", max_size=None) as connection:
            connection.send(json.dumps({"op": "subscribe", "args": {"streams": streams}}))
            answer = json.loads(connection.recv(30))
            assert len(answer["data"]["data"]["streams"]) == len(streams), answer
            self.subscribed_at = answer["position"]
            self._subscribed.set()
            while not self._end.is_set():
                with suppress(TimeoutError):
                    frame = json.loads(connection.recv(0.2))
                    assert frame["type"] == "notification", frame
                    told = frame["data"]
                    self.events.append((told["type"], told["data"]["type"], frame["position"]))

    def count(self, event: str) -> int:
        return sum(name == event for _, name, _ in list(self.events))

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)


class Site:
    """The hub with its two hosts, its tokens, and everybody who uses it."""

    def __init__(self, stack: Stack, other: OtherHost) -> None:
        self.stack, self.other = stack, other
        key = bytes.fromhex(stack.environment["HUB_OWNER_ACCOUNT_KEY"].removeprefix("0x"))
        self.contract = parse_address(stack.environment["HUB_LQD_CONTRACT_ADDRESS"])
        self.chain = ChainClient(stack.node_url, self.contract, key)
        self._key = key
        self.hubs = [HubClient(stack.hub_url), HubClient(other.url)]
        self.tokens = [self.contract, parse_address(stack.environment["SLA_TOKEN_ADDRESS"])]
        self.traders: list[list[tuple[Trader, Trader]]] = []
        self.refused: list[str] = []
        self.deposited_in = 0

    def sql(self, statement: str, *parameters: object) -> list[Any]:
        with psycopg2.connect(self.stack.database_url) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())

    def manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(ROOT / ".hub" / "venv" / "bin" / "python"), str(ROOT / "manage.py"), *arguments],
            env=base_environment() | self.stack.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def add_tokens(self) -> None:
        """Two more tokens, and markets in a ring of all four."""
        for name in ("TA", "TB"):
            self.tokens.append(self._deploy_token())
            self.manage(
                "register_token",
                to_checksum(self.tokens[-1]),
                f"Token {name}",
                name,
                "--reason",
                "to trade it",
            )
        for first, second in self.markets:
            self.manage(
                "pairs", "add", to_checksum(first), to_checksum(second), "--reason", "the ring of markets"
            )

    @property
    def markets(self) -> list[tuple[bytes, bytes]]:
        return [(token, self.tokens[(place + 1) % 4]) for place, token in enumerate(self.tokens)]

    def _deploy_token(self) -> bytes:
        web3 = self.chain.web3
        sender = web3.to_checksum_address(self.chain.address)
        fields = {
            "data": load("TestToken").bytecode + token_arguments(),
            "gas": 3_000_000,
            "gasPrice": 10**8,
            "nonce": web3.eth.get_transaction_count(sender, "pending"),
            "chainId": web3.eth.chain_id,
            "value": 0,
        }
        signed = web3.eth.account.sign_transaction(fields, self._key)
        sent = web3.eth.send_raw_transaction(signed.raw_transaction)
        return parse_address(str(web3.eth.wait_for_transaction_receipt(sent, timeout=60)["contractAddress"]))

    def open(self) -> None:
        """Register everybody through both servers, and deposit what they sell and pay."""
        for sold, bought in self.markets:
            self.traders.append(
                [
                    (Trader.create(self.contract, sold, bought), Trader.create(self.contract, bought, sold))
                    for _ in range(EACH)
                ]
            )
        self.payers = [SimulatedWallet.create(self.contract, self.contract) for _ in range(2 * PAYERS)]
        for place, hub in enumerate(self.hubs):
            hub.register(self.wallets[place::2])
        self.deposited_in = self.hubs[0].eon
        for token in self.tokens:
            amounts = {one.debit.address: AMOUNT for one in self.everybody if one.debit.token == token}
            if token == self.contract:
                self.chain.deposit_ether(amounts | {one.address: AMOUNT for one in self.payers})
            else:
                self.chain.deposit_token(token, amounts)
        wanted = len(self.everybody) + len(self.payers)
        wait(lambda: self.sql("SELECT count(*) FROM ledger_deposit")[0][0] == wanted)

    @property
    def everybody(self) -> list[Trader]:
        return [one for market in self.traders for pair in market for one in pair]

    @property
    def wallets(self) -> list[SimulatedWallet]:
        return [wallet for one in self.everybody for wallet in (one.debit, one.credit)] + self.payers

    def place(self, hub: HubClient, one: Trader) -> None:
        """Its order in the eon that the hub is in then: all that it has for as much of the other token."""

        def attempt() -> None:
            eon = hub.eon
            one.enter(eon, AMOUNT if eon > self.deposited_in else 0, 0)
            hub.call("POST", "swap/", order_body(one.place(AMOUNT, AMOUNT, 3)))

        self._accepted(attempt)

    def pay(self, place: int) -> None:
        """One payer's payments, each through the other server than the one before."""
        sender, recipient = self.payers[2 * place], self.payers[2 * place + 1]
        for number in range(PAYMENTS):
            hub = self.hubs[(place + number) % 2]

            def attempt(hub: HubClient = hub) -> None:
                if sender.eon != (eon := hub.eon):
                    sender.enter(eon)
                hub.pay(sender, recipient.owner, 1)

            self._accepted(attempt)

    def _accepted(self, attempt: Callable[[], None]) -> None:
        while True:
            try:
                attempt()
                return
            except HubRefusedError as error:
                if error.code not in {OUT_OF_SYNC, "CHAIN_BEHIND"}:
                    self.refused.append(str(error))
                    return
                time.sleep(0.2)

    def owners(self) -> list[int]:
        """How many markets each matching session owns."""
        rows = self.sql(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s", int(Lock.MARKET)
        )
        return sorted(Counter(pid for (pid,) in rows).values())

    def complete(self) -> int:
        return int(
            self.sql("SELECT count(*) FROM ledger_transfer WHERE swap AND complete AND appended")[0][0]
        )


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Stack(block_time=0.5, blocks_per_eon=BLOCKS_PER_EON) as stack, ExitStack() as ends:
        other = OtherHost(stack)
        ends.callback(other.stop)
        other.start()
        yield Site(stack, other)


def at_once(actions: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    return threads


def test_two_servers_and_two_accounting_workers_at_once(site: Site) -> None:
    site.add_tokens()
    site.open()
    wait(lambda: site.owners() == [2, 2])
    streams = [f"wallet/{wallet.token.hex()}/{wallet.address.hex()}" for wallet in site.wallets]
    subscribers = [Subscriber(hub.url + "/", streams) for hub in site.hubs]

    def trade(market: int) -> None:
        """Orders of a market, makers through one server and takers through the other; the last maker rests."""
        for number, (maker, taker) in enumerate(site.traders[market]):
            hubs = site.hubs if (market + number) % 2 else site.hubs[::-1]
            site.place(hubs[0], maker)
            if number < EACH - 1:
                site.place(hubs[1], taker)

    trading = at_once([lambda market=market: trade(market) for market in range(4)])  # type: ignore[misc]
    trading += at_once([lambda place=place: site.pay(place) for place in range(PAYERS)])  # type: ignore[misc]
    wait(lambda: site.complete() >= 4)
    site.other.kill_worker()
    killed = time.monotonic()
    wait(lambda: site.owners() == [4])
    assert time.monotonic() - killed < 15.0, "that is what a stalled one takes, not a dead one"
    for thread in trading:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in trading)
    wait(lambda: site.complete() == 2 * 4 * (EACH - 1))
    check_books(site)
    for number, market in enumerate(
        site.traders
    ):  # what rested under the dead worker is matched by the living one
        site.place(site.hubs[number % 2], market[-1][1])
    wait(lambda: site.complete() == 2 * 4 * EACH)
    check_matches(site)
    check_events(site, subscribers)
    check_next_eon(site)
    for subscriber in subscribers:
        subscriber.close()
    assert not site.refused


def check_books(site: Site) -> None:
    """Both servers show what the database holds: one order at rest in each market."""
    for sold, bought in site.markets:
        path = f"audit/{to_checksum(bought)}/{to_checksum(sold)}/orderbook"
        for hub in site.hubs:
            wait(lambda hub=hub, path=path: shown(hub.call("GET", path)) == [AMOUNT])  # type: ignore[misc]
    rest = "SELECT count(*) FROM ledger_transfer WHERE swap AND appended AND NOT complete AND arrival IS NOT NULL"
    wait(lambda: site.sql(rest) == [(4,)])


def shown(book: Any) -> list[int]:
    return [int(level["remaining_out"]) for side in ("sell_orders", "buy_orders") for level in book[side]]


def check_matches(site: Site) -> None:
    """Each order was matched once, with one of its own market, at its price."""
    fills = site.sql(
        "SELECT t.tx_id, m.tx_id, f.taker_gave, f.maker_gave FROM ledger_matching f"
        " JOIN ledger_transfer t ON t.id = f.taker_id JOIN ledger_transfer m ON m.id = f.maker_id"
    )
    assert len(fills) == 4 * EACH
    assert len({order for fill in fills for order in fill[:2]}) == 2 * len(fills)
    assert {fill[2:] for fill in fills} == {(AMOUNT, AMOUNT)}
    paid = site.sql(
        "SELECT count(*), count(DISTINCT (wallet_id, position)) FROM ledger_transfer WHERE NOT swap"
    )
    assert paid == [(PAYERS * PAYMENTS, PAYERS * PAYMENTS)]


def check_events(site: Site, subscribers: list[Subscriber]) -> None:
    """Subscribers of both servers were told the same: of each transfer both wallets, of each order its wallets."""
    wanted = {
        "TRANSFER_CONFIRMATION": 2 * PAYERS * PAYMENTS,
        "SWAP_CONFIRMATION": 2 * 2 * 4 * EACH,
    }
    for event, count in wanted.items():
        for one in subscribers:
            wait(lambda one=one, event=event, count=count: one.count(event) == count)  # type: ignore[misc]
    # What happened before both had subscribed, such as the wallets' deposits, one of them may have been told.
    since = max(one.subscribed_at for one in subscribers)

    def heard(one: Subscriber) -> list[tuple[str, str, int]]:
        return sorted(event for event in list(one.events) if event[2] > since)

    first, second = subscribers
    wait(lambda: heard(first) == heard(second))
    told = {stream for stream, event, _ in heard(first) if event == "MATCHED_SWAP"}
    assert len(told) == 2 * len(site.everybody)
    assert len(set(first.events)) == len(first.events), "something was told twice"
    assert site.sql("SELECT count(*) FROM synchronizer_setaside") == [(0,)]


def check_next_eon(site: Site) -> None:
    """The next checkpoint gives everybody what was traded and paid; nobody was raised an alarm about money."""
    eon = site.hubs[0].eon
    status = site.sql("SELECT mod(head_block - genesis_block, blocks_per_eon) FROM ledger_chainstatus")
    wire.rpc(site.stack.node_url, "anvil_mine", hex(BLOCKS_PER_EON - int(status[0][0])), timeout=60)
    expected = {id(one.debit): 0 for one in site.everybody} | {
        id(one.credit): AMOUNT for one in site.everybody
    }
    for place, payer in enumerate(site.payers):
        expected[id(payer)] = AMOUNT + (PAYMENTS if place % 2 else -PAYMENTS)
    for place, wallet in enumerate(site.wallets):
        hub = site.hubs[place % 2]
        wait(lambda hub=hub, wallet=wallet: hub.proof(wallet, eon + 1) is not None)  # type: ignore[misc]
        proof = hub.proof(wallet, eon + 1)
        assert proof is not None
        assert proof.right - proof.left == expected[id(wallet)]
    money = ["ledger unbalanced", "pool short", "fills differ", "states differ", "books differ", "matching"]
    assert not site.sql(
        "SELECT subject, text FROM contractor_alarm WHERE subject = ANY(%s)", [*money, "task failed"]
    )
