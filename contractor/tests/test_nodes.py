"""Several nodes: failing over, coming back, and what happens when they do not agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contractor import attempts, chain, follower, nodes
from contractor import node as node_module
from contractor.chain import contract
from contractor.errors import NodeError, NodesDisagreeError
from contractor.tests import proxy
from contractor.tests.conftest import DevelopmentNode, Hub
from contractor.tests.proxy import Proxy
from contractor.tests.test_sender import State, checkpoint
from heartbeat.tests.drill import Drill
from nocust.encoding import keccak
from nocust.signatures import Signer


@pytest.fixture
def pair(
    node: DevelopmentNode, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Proxy, Proxy]]:
    """Two proxies in front of the node, which the hub is configured with in this order."""
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(node_module, "HEIGHT_SECONDS", 1.0)
    settings.HUB_NODE_TIMEOUT_SECONDS = 1
    settings.HUB_NODE_RETRY_SECONDS = 3600
    with Proxy(node.url) as first, Proxy(node.url) as second:
        settings.HUB_ETHEREUM_NODE_URL = f"{first.url}, {second.url}"
        chain.forget()
        yield first, second
        chain.forget()


def follow(hub: Hub) -> None:
    """Beats until the head is reached, whatever goes wrong on the way."""
    for _ in range(6):
        try:
            follower.step()
        except NodeError:
            continue
    assert hub.status.head_block == hub.node.block


@pytest.mark.parametrize("fault", [proxy.silent, proxy.broken, proxy.refusing])
def test_the_next_node_is_used_when_the_first_fails(
    pair: tuple[Proxy, Proxy], hub: Hub, alice: Signer, fault: proxy.Fault, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = pair
    wallet = hub.register(alice)
    assert contract().node.url == first.url
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    first.fault = fault
    follow(hub)
    assert contract().node.url == second.url
    assert hub.available(wallet) == 50
    assert "the chain is read from" in caplog.text


@pytest.mark.alarm("node failed")
def test_the_hub_comes_back_to_the_first_node(
    pair: tuple[Proxy, Proxy], hub: Hub, monkeypatch: pytest.MonkeyPatch, drill: Drill
) -> None:
    first, second = pair
    first.fault = proxy.broken
    hub.node.mine()
    follow(hub)
    assert contract().node.url == second.url
    assert "is left alone for a while: " in drill.raised("node failed")
    drill.lasts("node failed", contract)
    first.fault = None
    monkeypatch.setattr(nodes.nodes(), "_retry", 0.0)
    assert contract().node.url == first.url
    hub.node.mine()
    drill.ends("node failed", lambda: follow(hub))


@pytest.mark.alarm("node behind")
def test_a_node_that_lags_is_passed_over(
    pair: tuple[Proxy, Proxy], hub: Hub, settings: Any, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    first, second = pair
    hub.node.mine(20)
    first.fault = proxy.stale(first, settings.HUB_NODE_LAG_BLOCKS)
    assert contract().node.url == first.url
    first.fault = proxy.stale(first, settings.HUB_NODE_LAG_BLOCKS + 1)
    follow(hub)
    assert contract().node.url == second.url
    assert "is passed over" in drill.raised("node behind")
    drill.lasts("node behind", contract)
    first.fault = None
    drill.ends("node behind", contract)


def test_no_node_answers(pair: tuple[Proxy, Proxy], hub: Hub) -> None:
    before = hub.status
    hub.node.mine(3)
    for node in pair:
        node.fault = proxy.broken
    for _ in range(4):
        with pytest.raises(NodeError):
            follower.step()
    assert hub.status.head_hash == before.head_hash
    for node in pair:
        node.fault = None
    follow(hub)


def test_a_fork_within_the_confirmations_is_waited_for(
    pair: tuple[Proxy, Proxy], hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    _, second = pair
    hub.node.mine(5)
    follow(hub)
    before = hub.status
    hub.node.mine(3)
    second.fault = proxy.forked(hub.node.block - 2)  # confirmations are 3: the block below is common
    assert follower.step() == 0
    assert hub.status.head_block == before.head_block
    assert "ALARM" not in caplog.text
    second.fault = None
    follow(hub)


@pytest.mark.alarm("nodes disagree")
def test_nodes_that_disagree_deeper_stop_the_follower(
    pair: tuple[Proxy, Proxy], hub: Hub, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    _, second = pair
    hub.node.mine(5)
    follow(hub)
    before = hub.status
    hub.node.mine(3)
    second.fault = proxy.forked(hub.node.block - 3)

    def disagree() -> None:
        with pytest.raises(NodesDisagreeError, match=f"block {hub.node.block - 3} of"):
            follower.step()

    disagree()
    drill.raised("nodes disagree")
    drill.lasts("nodes disagree", disagree)
    assert (hub.status.head_block, hub.status.confirmed_block) == (before.head_block, before.confirmed_block)
    second.fault = None
    drill.ends("nodes disagree", lambda: follow(hub))


def test_a_liar_that_lags_is_not_believed_either(pair: tuple[Proxy, Proxy], hub: Hub) -> None:
    """The height both have is compared, so a node that is a block behind is no excuse."""
    _, second = pair
    hub.node.mine(5)
    lag = proxy.stale(second, 1)
    second.fault = lambda *asked: proxy.lying(asked[0], asked[1], lag(*asked))
    with pytest.raises(NodesDisagreeError):
        follower.step()


def test_a_node_on_another_chain_is_found_out(pair: tuple[Proxy, Proxy], hub: Hub) -> None:
    """Before it is read the first time."""
    from contractor.errors import WrongChainError

    first, second = pair
    second.fault = proxy.only("eth_chainId", lambda *_: "0x5")
    first.fault = proxy.broken
    with pytest.raises(WrongChainError, match="the node is on chain 5"):
        follower.step()


def keep_to_itself(node: Proxy) -> None:
    """Have a node take transactions and show them to nobody else."""
    honest = node.answer
    kept: set[str] = set()

    def answer(body: bytes) -> bytes:
        asked = json.loads(body)
        method = asked["method"] if isinstance(asked, dict) else ""
        result: Any = None
        if method == "eth_sendRawTransaction":
            result = "0x" + keccak(bytes.fromhex(asked["params"][0][2:])).hex()
            kept.add(result)
        elif method == "eth_getTransactionByHash" and asked["params"][0] in kept:
            result = {"hash": asked["params"][0], "blockNumber": None}
        if result is None:
            return honest(body)
        return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()

    node.answer = answer  # type: ignore[method-assign]


def test_what_is_not_mined_in_time_is_given_to_all_nodes(
    pair: tuple[Proxy, Proxy], hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first follows the chain and keeps what it is sent to itself: a checkpoint would never be mined."""
    monkeypatch.setattr(nodes, "POLL_SECONDS", 3600.0)  # the first stays the chosen one
    settings.HUB_BUMP_BLOCKS = 3
    first, second = pair
    hub.settle()
    keep_to_itself(first)
    hub.node.mine_to_era(2, 3)
    hub.beat()
    hub.settle(2)
    assert contract().checkpoint(2) is None
    assert "eth_sendRawTransaction" not in second.asked
    hub.settle(2)
    assert contract().checkpoint(2) is not None
    assert contract().node.url == first.url
    hub.settle(4)
    assert checkpoint(2).state == State.CONFIRMED


def test_another_node_that_fails_holds_up_no_transaction(
    pair: tuple[Proxy, Proxy], hub: Hub, settings: Any
) -> None:
    settings.HUB_BUMP_BLOCKS = 1
    _, second = pair
    second.fault = proxy.only("eth_sendRawTransaction", proxy.broken)
    hub.settle()
    hub.node.mine_to_era(2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        hub.beat()
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED


def test_one_node_is_asked_for_nothing_more(node: DevelopmentNode, hub: Hub, settings: Any) -> None:
    with Proxy(node.url) as only:
        settings.HUB_ETHEREUM_NODE_URL = only.url
        chain.forget()
        follower.step()
        only.asked.clear()
        assert follower.step() == 0
        assert only.asked == {"eth_getBlockByNumber": 1}
