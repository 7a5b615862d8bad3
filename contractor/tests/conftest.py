"""A development node with the contracts on it, and wallets that use them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

import contracts
from admission import services as admission
from contractor import alarms, chain, checkpoints, earnings, follower, progress, sender
from contractor.tests.proxy import Proxy
from contracts.deploy import deploy_development
from ledger import store
from ledger.models import ChainStatus, Token, Wallet
from nocust.addresses import to_checksum
from nocust.signatures import Signer
from operator_api.management.commands import prepare_hub
from scripts.hub.ports import free_ports
from tos.services import digest, latest

ROOT = Path(__file__).resolve().parents[2]
ANVIL = ROOT / ".hub" / "npm" / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
MNEMONIC = "myth like bonus scare over problem client lizard pioneer submit female collect"
BLOCKS_PER_EON = 24
ETHER = 10**18


class DevelopmentNode:
    """anvil, which mines only when told to; any account may send without a signature."""

    def __init__(self, url: str) -> None:
        from web3 import HTTPProvider, Web3

        self.url = url
        self.web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 60}))
        self.contract: Any = None
        self.token: Any = None

    def ask(self, method: str, *parameters: Any) -> Any:
        answer: Any = self.web3.provider.make_request(method, list(parameters))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]

    def deploy(self) -> None:
        made = deploy_development(self.web3, blocks_per_eon=BLOCKS_PER_EON)
        self.contract = self.web3.eth.contract(
            address=made.contract, abi=contracts.load("NOCUSTCommitChain").abi
        )
        self.token = self.web3.eth.contract(address=made.token, abi=contracts.load("TestToken").abi)

    @property
    def block(self) -> int:
        return int(self.web3.eth.block_number)

    @property
    def eon(self) -> int:
        return int(self.contract.functions.currentEon().call())

    def mine(self, count: int = 1) -> None:
        self.ask("anvil_mine", hex(count))

    def mine_to_era(self, eon: int, era: int) -> None:
        """Mine until the newest block is that one of the eon."""
        genesis = self.contract.functions.genesis().call()
        self.mine(genesis + (eon - 1) * BLOCKS_PER_EON + era - self.block)

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks by as many empty ones."""
        self.ask("anvil_reorg", depth, [])

    def send(self, sender: bytes, call: Any, value: int = 0) -> Any:
        """Put a transaction into the next block; its hash."""
        return call.transact(
            {"from": to_checksum(sender), "value": value, "gas": 1_500_000, "gasPrice": 10**9}
        )

    def deposit(self, holder: bytes, amount: int) -> bytes:
        ether = self.contract.address
        return bytes(
            self.send(holder, self.contract.functions.deposit(ether, to_checksum(holder), amount), amount)
        )

    def give(self, amount: int) -> None:
        """Put ether into the next block that reaches the contract without a deposit."""
        call = {"from": self.web3.eth.accounts[0], "to": self.contract.address, "value": hex(amount)}
        self.ask("eth_sendTransaction", {**call, "gas": hex(50_000), "gasPrice": hex(10**9)})

    def pay(self, holder: bytes) -> None:
        """Put a payment of nothing to oneself into the next block."""
        account = to_checksum(holder)
        call = {"from": account, "to": account, "gas": hex(21_000), "gasPrice": hex(10**9)}
        self.ask("eth_sendTransaction", call)

    def balance(self, holder: bytes) -> int:
        return int(self.ask("eth_getBalance", to_checksum(holder), "latest"), 16)

    def fund(self, holder: bytes, amount: int = 1000 * ETHER) -> None:
        self.ask("anvil_setBalance", to_checksum(holder), hex(amount))


@pytest.fixture(scope="session")
def _anvil() -> Iterator[DevelopmentNode]:
    if not ANVIL.exists():
        pytest.skip("the development node is not installed; ./run.sh installs it")
    (port,) = free_ports(1)
    command = [
        str(ANVIL),
        "--port",
        str(port),
        "--chain-id",
        "1337",
        "--mnemonic",
        MNEMONIC,
        "--hardfork",
        "osaka",
    ]
    command += [
        "--gas-limit",
        "30000000",
        "--base-fee",
        "0",
        "--gas-price",
        "0",
        "--auto-impersonate",
        "--silent",
    ]
    with subprocess.Popen(command) as process:
        try:
            node = DevelopmentNode(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 10
            while not node.web3.is_connected():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            node.deploy()
            node.ask("evm_setAutomine", False)
            yield node
        finally:
            process.terminate()


_hours = count(1)


@pytest.fixture
def node(_anvil: DevelopmentNode, settings: Any) -> Iterator[DevelopmentNode]:
    """The node as it was after the deployment, and the hub configured to use it."""
    snapshot = _anvil.ask("evm_snapshot")
    # Each test has a time of its own, so that no block of one has the hash of another one's: anvil keeps states by
    # hash, forgets the oldest, and would take a block for the older one of the same hash.
    _anvil.ask("evm_increaseTime", hex(next(_hours) * 3600))
    settings.HUB_ETHEREUM_NODE_URL = _anvil.url
    settings.HUB_LQD_CONTRACT_CONFIRMATIONS = 3
    chain.forget()
    alarms.forget()
    progress.forget()
    sender._watched = None
    earnings.forget()
    store.rules.cache_clear()
    yield _anvil
    _anvil.ask("anvil_dropAllTransactions")
    assert _anvil.ask("evm_revert", snapshot)
    chain.forget()


class Hub:
    """The hub's periodic work, one beat at a time, and the wallets that use it."""

    def __init__(self, node: DevelopmentNode) -> None:
        self.node = node

    def prepare(self) -> None:
        """As `prepare_hub` does, while somebody mines."""
        prepare_hub.POLL_SECONDS = 0.0
        original = sender.step

        def step_and_mine() -> int:
            done = original()
            self.node.mine()
            return done

        sender.step = step_and_mine
        try:
            from django.core.management import call_command

            call_command("prepare_hub", timeout=10.0)
        finally:
            sender.step = original
        self.beat()

    def beat(self) -> None:
        follower.step()
        checkpoints.create_due_checkpoint()
        sender.step()

    def settle(self, blocks: int = 4) -> None:
        """Mine, a beat after each block."""
        for _ in range(blocks):
            self.node.mine()
            self.beat()

    def go_to(self, eon: int, era: int) -> None:
        """Reach a block of an eon with all checkpoints on the way made and submitted."""
        while self.node.eon < eon:
            self.node.mine_to_era(self.node.eon + 1, 0)
            self.beat()
            self.settle(6)
        self.node.mine_to_era(eon, era)
        self.beat()

    @property
    def status(self) -> ChainStatus:
        return ChainStatus.objects.get()

    @property
    def ether(self) -> Token:
        return Token.objects.get(trail=0)

    def register(self, signer: Signer, token: Token | None = None) -> Wallet:
        """Register a wallet, whose owner also gets some ether on chain."""
        token = token or self.ether
        self.node.fund(signer.address)
        config = latest()
        assert config is not None
        eon = self.status.eon
        request = admission.Admission(
            token.pk,
            token.address,
            signer.address,
            signer.sign(admission.authorization_message(token.address, signer.address, eon)),
            signer.sign(digest(config)),
        )
        admission.admit([request], eon, config)
        return Wallet.objects.get(token=token, address=signer.address)

    def available(self, wallet: Wallet) -> int:
        """What the wallet may spend in the latest eon."""
        from ledger.accounts_sql import load_accounts
        from ledger.directory import owner_of

        eon = self.status.eon
        return load_accounts({wallet.pk: owner_of(wallet)}, [eon])[wallet.pk, eon].available


@pytest.fixture
def hub(node: DevelopmentNode, db: None) -> Hub:
    """A prepared hub in eon 1."""
    made = Hub(node)
    made.prepare()
    return made


def signer(number: int) -> Signer:
    """A wallet owner's key."""
    return Signer(number.to_bytes(32, "big"))


@pytest.fixture
def alice() -> Signer:
    return signer(1001)


@pytest.fixture
def bob() -> Signer:
    return signer(1002)


@pytest.fixture
def operator() -> bytes:
    address: bytes = django_settings.HUB_OWNER_ACCOUNT_ADDRESS
    return address


@pytest.fixture
def liar(hub: Hub, settings: Any) -> Iterator[Proxy]:
    """The hub reads through a node that lies, fails or is late when it is told to."""
    with Proxy(hub.node.url) as made:
        settings.HUB_ETHEREUM_NODE_URL = made.url
        chain.forget()
        yield made
        chain.forget()
