"""Fixtures: one node for the session, put back to where it was after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from web3 import HTTPProvider, Web3

from contracts import build
from contracts.deploy import deploy_development
from contracts.gas_lab import Lab
from contracts.gas_scenarios import founding, settling
from contracts.tests.bound import Bound
from contracts.tests.game import Game
from contracts.tests.people import ALICE, BOB, CAROL, OPERATOR
from contracts.tests.rpc import BINARY, Node


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Node]:
    if not (build.npm_dir() / BINARY).exists():
        pytest.fail(f"no development node in {build.npm_dir()}: run npm ci there, or set HUB_NPM_DIR")
    node = Node()
    deploy_development(Web3(HTTPProvider(node.url)))
    yield node
    node.close()


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    snapshot = shared_node.rpc("evm_snapshot")
    yield shared_node
    assert shared_node.rpc("evm_revert", snapshot)


@pytest.fixture
def chain(node: Node) -> Bound:
    """The commit-chain at its development address, 60 blocks an eon, in its first eon."""
    return Bound(node, "NOCUSTCommitChain", "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7")


@pytest.fixture
def token(node: Node) -> Bound:
    """The development token; its supply is the operator's."""
    return Bound(node, "TestToken", "0xe982E462b094850F12AF94d21D470e21bE9D0E9C")


@pytest.fixture
def game(node: Node, chain: Bound) -> Game:
    """Operator, Alice, Bob and Carol admitted for ether; nothing deposited."""
    game = Game(node, chain)
    game.admit(OPERATOR, ALICE, BOB, CAROL)
    return game


@pytest.fixture
def funded(game: Game) -> Game:
    """Alice owns 100, Bob 50, Carol 10 finney since eon 1; eons 1 and 2 have their checkpoints; early in eon 2."""
    game.goto(1, 20)
    for person, amount in ((ALICE, 100), (BOB, 50), (CAROL, 10)):
        game.deposit(person, amount * 10**15)
    game.checkpoint()
    game.goto(2, 8)
    game.checkpoint()
    return game


@pytest.fixture
def ready(funded: Game) -> Game:
    """Early in eon 3: Alice's 100, Bob's 50 and Carol's 10 finney can be withdrawn by proof."""
    funded.pass_eons(3)
    return funded


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A chain in eon `PAST`, without that eon's checkpoint."""
    made = Lab()
    try:
        founding(made)
        settling(made)
        yield made
    finally:
        made.close()
