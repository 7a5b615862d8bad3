"""Deployment to the development addresses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from web3 import HTTPProvider, Web3

from contracts import deploy
from contracts.tests.people import ALICE, OPERATOR
from contracts.tests.rpc import Node

CONTRACT = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
TOKEN = "0xe982E462b094850F12AF94d21D470e21bE9D0E9C"


@pytest.fixture
def fresh() -> Iterator[tuple[Node, Web3]]:
    node = Node()
    yield node, Web3(HTTPProvider(node.url))
    node.close()


def command(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "contracts.deploy", "--dev", "--node", url, *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_command(fresh: tuple[Node, Web3]) -> None:
    node, web3 = fresh
    done = command(node.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"commit-chain {CONTRACT} and token {TOKEN}: deployed\n"
    assert web3.eth.get_transaction_count(web3.to_checksum_address(OPERATOR.address)) == 8
    again = command(node.url)
    assert again.stdout == f"commit-chain {CONTRACT} and token {TOKEN}: already in place\n"
    other = command(node.url, "--blocks-per-eon", "30")
    assert other.returncode == 1
    assert "has 60 blocks an eon, not 30" in other.stderr


def test_begun_deployment_is_completed(fresh: tuple[Node, Web3]) -> None:
    node, web3 = fresh
    for _ in range(3):
        node.rpc("eth_sendTransaction", {"from": OPERATOR.address, "to": ALICE.address, "value": "0x1"})
    found = deploy.deploy_development(web3, blocks_per_eon=120)
    assert (found.contract, found.token, found.created) == (CONTRACT, TOKEN, True)
    deploy.verify(web3, found.contract, web3.to_checksum_address(OPERATOR.address), 120)


def test_used_account(fresh: tuple[Node, Web3]) -> None:
    node, web3 = fresh
    node.rpc("anvil_setNonce", OPERATOR.address, "0x9")
    with pytest.raises(deploy.DeploymentError, match="is not the commit-chain contract"):
        deploy.deploy_development(web3)


def test_another_contract_in_the_place(fresh: tuple[Node, Web3]) -> None:
    node, web3 = fresh
    deploy.deploy_development(web3)
    node.rpc("anvil_setCode", TOKEN, "0x00")
    with pytest.raises(deploy.DeploymentError, match="is not the test token"):
        deploy.deploy_development(web3)


def test_another_operator(fresh: tuple[Node, Web3]) -> None:
    _, web3 = fresh
    found = deploy.deploy_development(web3)
    with pytest.raises(deploy.DeploymentError, match="belongs to the operator"):
        deploy.verify(web3, found.contract, web3.to_checksum_address(ALICE.address))


def test_unreachable_node() -> None:
    done = command("http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == "no node answers at http://127.0.0.1:1\n"


def test_unaffordable_deployment(fresh: tuple[Node, Web3]) -> None:
    node, web3 = fresh
    node.rpc("anvil_setBalance", OPERATOR.address, "0x1")
    with pytest.raises(deploy.DeploymentError, match="was refused"):
        deploy.deploy_development(web3)


def test_creation_addresses() -> None:
    operator = Web3.to_checksum_address(OPERATOR.address)
    assert deploy.creation_address(operator, 6) == CONTRACT
    assert deploy.creation_address(operator, 7) == TOKEN
