"""What a start finds on the development chain must be of this version of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from web3 import HTTPProvider, Web3

from contracts.deploy import deploy_development
from contracts.tests.rpc import Node
from scripts.hub import tie
from scripts.hub.config import Config, from_environment
from scripts.hub.errors import HubError


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    made = Node()
    deploy_development(Web3(HTTPProvider(made.url)), blocks_per_eon=60)
    yield made
    made.close()


@pytest.fixture
def config() -> Config:
    return from_environment({})


def test_contracts_of_this_version(node: Node, config: Config) -> None:
    tie.check_version(config, node.url)


def test_eons_of_another_length(node: Node, config: Config) -> None:
    with pytest.raises(HubError, match="has 60 blocks an eon, not 30"):
        tie.check_version(replace(config, blocks_per_eon=30), node.url)


@pytest.mark.parametrize("place", ["contract", "token"])
@pytest.mark.parametrize("code", ["0x", "0x00"])
def test_other_code(node: Node, config: Config, place: str, code: str) -> None:
    address = getattr(config, place)
    before = node.rpc("evm_snapshot")
    node.rpc("anvil_setCode", address, code)
    try:
        with pytest.raises(HubError, match=f"at {address} is not the .* of this version"):
            tie.check_version(config, node.url)
    finally:
        assert node.rpc("evm_revert", before)
