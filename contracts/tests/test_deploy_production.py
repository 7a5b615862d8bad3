"""`deploy_contract.sh` on a real node: what it deploys, what it refuses, what it keeps to itself."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

import contracts
from contracts.deploy_node import DeploymentNode
from contracts.deploy_production import creation_address, main
from contracts.tests import rpc
from contracts.tests.bound import Bound
from contracts.tests.people import ALICE, BOB, OPERATOR, vectors
from contracts.tests.rpc import Node
from scripts.hub.ports import free_ports

SCRIPT = Path(__file__).parents[2] / "deploy_contract.sh"
KEYS = [entry["private_key"] for entry in vectors()["meta"]["accounts"]]
POOR_KEY = "11" * 32
POOR = Account.from_key(POOR_KEY).address


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node that mines a block every second."""
    made = Node()
    made.rpc("evm_setIntervalMining", 1)
    yield made
    made.close()


def settings(node_url: str, **changes: str) -> dict[str, str]:
    """Environment of a deployment by the first development account. An empty change removes a variable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    wanted = {
        "HUB_PYTHON": sys.executable,
        "HUB_ETHEREUM_NODE_URL": node_url,
        "HUB_ETHEREUM_CHAIN_ID": "1337",
        "HUB_OWNER_ACCOUNT_ADDRESS": OPERATOR.address,
        "HUB_OWNER_ACCOUNT_KEY": KEYS[0],
        "HUB_BLOCKS_PER_EON": "60",
        "HUB_LQD_CONTRACT_CONFIRMATIONS": "2",
        "NO_PROXY": "127.0.0.1",
    }
    return kept | {name: value for name, value in (wanted | changes).items() if value}


def run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the script without a terminal."""
    return subprocess.run(
        [str(SCRIPT), *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def refused(environment: dict[str, str], *options: str) -> str:
    """The single sentence with which the script refuses."""
    done = run(environment, *options)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].endswith(".")
    return lines[0]


def lines_of(output: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.strip().splitlines())


def check_deployed(node: Node, output: str, blocks_per_eon: int = 60) -> None:
    """The printed lines name a working contract of the operator."""
    lines = lines_of(output)
    assert lines["HUB_ETHEREUM_CHAIN_ID"] == "1337"
    assert lines["HUB_ETHEREUM_NODE_URL"] == node.url
    assert lines["HUB_OWNER_ACCOUNT_ADDRESS"].lower() == OPERATOR.address
    chain = Bound(node, "NOCUSTCommitChain", lines["HUB_LQD_CONTRACT_ADDRESS"])
    assert chain.read("operator") == OPERATOR.address
    assert chain.read("BLOCKS_PER_EON") == blocks_per_eon
    code = bytes.fromhex(node.rpc("eth_getCode", chain.address, "latest")[2:])
    assert contracts.load("NOCUSTCommitChain").matches(code)


def test_deploys_from_the_environment(node: Node) -> None:
    began = node.block_number()
    done = run(settings(node.url))
    assert done.returncode == 0, done.stderr
    check_deployed(node, done.stdout)
    assert KEYS[0] not in done.stdout + done.stderr
    assert "2 of 2" not in done.stderr
    assert node.block_number() >= began + 3


def test_deploys_with_a_keystore(node: Node, tmp_path: Path) -> None:
    store = tmp_path / "operator.json"
    store.write_text(json.dumps(Account.encrypt(KEYS[0], "correct horse", kdf="pbkdf2", iterations=2)))
    environment = settings(node.url, HUB_OWNER_ACCOUNT_KEY="", HUB_KEYSTORE_PASSWORD="correct horse")
    done = run(environment, "--keystore", str(store), "--blocks-per-eon", "90", "--confirmations", "0")
    assert done.returncode == 0, done.stderr
    check_deployed(node, done.stdout, 90)
    wrong = settings(node.url, HUB_OWNER_ACCOUNT_KEY="", HUB_KEYSTORE_PASSWORD="battery")
    assert "password" in refused(wrong, "--keystore", str(store))
    assert "cannot be read" in refused(wrong, "--keystore", str(tmp_path / "none.json"))
    store.write_text('{"version": 1}')
    assert "no keystore" in refused(wrong, "--keystore", str(store))
    store.write_text("key")
    assert "no keystore" in refused(wrong, "--keystore", str(store))


def test_knows_both_ways_to_price_gas(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(DeploymentNode(node.url).fees()) == {"maxFeePerGas", "maxPriorityFeePerGas"}
    monkeypatch.setattr(rpc, "FLAGS", ("--hardfork", "istanbul"))
    old = Node()
    try:
        assert set(DeploymentNode(old.url).fees()) == {"gasPrice"}
    finally:
        old.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"HUB_OWNER_ACCOUNT_KEY": KEYS[1]}, "does not belong"),
        ({"HUB_OWNER_ACCOUNT_KEY": KEYS[0][:-2]}, "64 hexadecimal digits"),
        ({"HUB_OWNER_ACCOUNT_KEY": "00" * 32}, "64 hexadecimal digits"),
        ({"HUB_OWNER_ACCOUNT_KEY": ""}, "key is missing"),
        ({"HUB_OWNER_ACCOUNT_ADDRESS": "0x1234"}, "malformed"),
        ({"HUB_OWNER_ACCOUNT_ADDRESS": "0x90f8bF6A479f320ead074411a4B0e7944Ea8c9C1"}, "checksum"),
        ({"HUB_OWNER_ACCOUNT_ADDRESS": ""}, "missing"),
        ({"HUB_ETHEREUM_NODE_URL": "ws://127.0.0.1:1"}, "http://"),
        ({"HUB_ETHEREUM_NODE_URL": "http://127.0.0.1:99999"}, "http://"),
        ({"HUB_ETHEREUM_NODE_URL": ""}, "missing"),
        ({"HUB_ETHEREUM_CHAIN_ID": "1"}, "not on chain 1"),
        ({"HUB_ETHEREUM_CHAIN_ID": ""}, "chain id is missing"),
        ({"HUB_ETHEREUM_CHAIN_ID": "main"}, "whole number"),
        ({"HUB_BLOCKS_PER_EON": "11"}, "from 12"),
        ({"HUB_BLOCKS_PER_EON": "60.5"}, "whole number"),
        ({"HUB_BLOCKS_PER_EON": "4294967296"}, "4294967295"),
        ({"HUB_BLOCKS_PER_EON": ""}, "missing"),
        ({"HUB_LQD_CONTRACT_CONFIRMATIONS": "-1"}, "whole number"),
        ({"HUB_OWNER_ACCOUNT_ADDRESS": POOR, "HUB_OWNER_ACCOUNT_KEY": POOR_KEY}, "holds no ether"),
    ],
)
def test_refuses_in_one_sentence(
    node: Node,
    changes: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = settings(node.url, **changes)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(sys, "argv", ["deploy_contract.sh"])
    before = node.rpc("eth_getTransactionCount", OPERATOR.address, "pending")
    assert main() == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert sentence in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.err.endswith(".\n")
    given = environment.get("HUB_OWNER_ACCOUNT_KEY")
    assert not given or given not in shown.err
    assert node.rpc("eth_getTransactionCount", OPERATOR.address, "pending") == before


def test_refuses_too_little_ether(node: Node) -> None:
    node.rpc("anvil_setBalance", POOR, "0x1")
    node.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    time.sleep(1.5)
    said = refused(settings(node.url, HUB_OWNER_ACCOUNT_ADDRESS=POOR, HUB_OWNER_ACCOUNT_KEY=POOR_KEY))
    assert "0.000000000000000001 ETH" in said
    assert "may need" in said


def test_refuses_while_transactions_wait(node: Node) -> None:
    node.rpc("evm_setIntervalMining", 0)
    node.rpc("evm_setAutomine", False)
    try:
        node.rpc(
            "eth_sendTransaction",
            {"from": ALICE.address, "to": BOB.address, "gas": "0x5208", "gasPrice": hex(10**10)},
        )
        said = refused(
            settings(node.url, HUB_OWNER_ACCOUNT_ADDRESS=ALICE.address, HUB_OWNER_ACCOUNT_KEY=KEYS[1])
        )
        assert "waiting" in said
    finally:
        node.rpc("evm_setAutomine", True)
        node.rpc("evm_setIntervalMining", 1)


def test_refuses_a_dead_node_and_a_server_that_is_none(node: Node) -> None:
    (port,) = free_ports(1)
    url = f"http://name:secret@127.0.0.1:{port}/apikey"
    said = refused(settings(url))
    assert "No node answers" in said
    assert "secret" not in said
    assert "apikey" not in said
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert "HTTP status 501" in refused(settings(f"http://127.0.0.1:{port}"))
    finally:
        server.terminate()
        server.wait(10)


class Terminal:
    """The script at a terminal of its own, with the command lines of its processes as they were while it ran."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(SCRIPT, [str(SCRIPT)], environment)  # noqa: S606  (the program under test)
        self.shown = ""

    def expect(self, text: str) -> None:
        """Reads until the screen ends with `text`."""
        deadline = time.monotonic() + 60
        while not self.shown.rstrip().endswith(text):
            assert time.monotonic() < deadline, self.shown
            if select.select([self._master], [], [], 0.2)[0]:
                self.shown += os.read(self._master, 4096).decode()

    def answer(self, text: str) -> None:
        os.write(self._master, f"{text}\n".encode())

    def command_line(self) -> bytes:
        return Path(f"/proc/{self.pid}/cmdline").read_bytes()

    def finish(self) -> int:
        """Reads to the end; the exit status."""
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                break
            if not data:
                break
            self.shown += data.decode()
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def at_terminal(node: Node, key: str, chain: str = "1337") -> tuple[int, Terminal]:
    """Everything typed in; the exit status."""
    environment = settings(node.url)
    for name in list(environment):
        if name.startswith("HUB_") and name != "HUB_PYTHON":
            del environment[name]
    terminal = Terminal(environment | {"HUB_LQD_CONTRACT_CONFIRMATIONS": "1"})
    terminal.expect("URL of the Ethereum node:")
    terminal.answer(node.url)
    terminal.expect("Address of the operator:")
    terminal.answer(OPERATOR.address)
    terminal.expect("(not shown):")
    assert key.encode() not in terminal.command_line()
    terminal.answer(key)
    if key == KEYS[0]:
        terminal.expect("Blocks per eon:")
        terminal.answer("60")
        terminal.expect("to deploy there:")
        assert key.encode() not in terminal.command_line()
        terminal.answer(chain)
    return terminal.finish(), terminal


def test_asks_at_a_terminal_and_shows_no_key(node: Node) -> None:
    status, terminal = at_terminal(node, KEYS[0])
    assert status == 0, terminal.shown
    assert KEYS[0] not in terminal.shown
    found = re.search(r"HUB_LQD_CONTRACT_ADDRESS=(0x[0-9a-fA-F]{40})", terminal.shown)
    assert found
    assert Bound(node, "NOCUSTCommitChain", found[1]).read("operator") == OPERATOR.address


def test_refuses_a_wrong_key_at_a_terminal(node: Node) -> None:
    status, terminal = at_terminal(node, KEYS[1])
    assert status == 1
    assert "does not belong" in terminal.shown
    assert KEYS[1] not in terminal.shown


def test_sends_nothing_if_the_chain_is_not_confirmed(node: Node) -> None:
    before = node.rpc("eth_getTransactionCount", OPERATOR.address, "pending")
    status, terminal = at_terminal(node, KEYS[0], chain="1")
    assert status == 1
    assert "nothing was sent" in terminal.shown
    assert node.rpc("eth_getTransactionCount", OPERATOR.address, "pending") == before


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 70000])
def test_predicts_the_address_of_a_creation(node: Node, nonce: int) -> None:
    creator = Account.create().address
    node.rpc("anvil_setBalance", creator, hex(10**18))
    node.rpc("anvil_setNonce", creator, hex(nonce))
    node.rpc("anvil_impersonateAccount", creator)
    hashed = node.rpc(
        "eth_sendTransaction",
        {"from": creator, "data": "0x00", "gas": hex(100_000), "gasPrice": hex(10**10)},
    )
    receipt = None
    for _ in range(100):
        receipt = node.rpc("eth_getTransactionReceipt", hashed)
        if receipt:
            break
        time.sleep(0.05)
    assert receipt
    assert receipt["contractAddress"].lower() == creation_address(creator, nonce).lower()
