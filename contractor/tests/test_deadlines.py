"""Nodes whose answers begin in time and do not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from contractor import follower
from contractor import node as node_module
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.node import Node
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.proxy import Proxy

SECONDS = 1
QUESTIONS: dict[str, Callable[[Node], Any]] = {
    "by web3": Node.chain_id,
    "several at once": lambda node: node.headers(1, 3),
    "the height": Node.height,
}


@pytest.fixture
def node(node: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    settings.HUB_NODE_TIMEOUT_SECONDS = SECONDS
    monkeypatch.setattr(node_module, "HEIGHT_SECONDS", SECONDS)
    return node


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("fault", [proxy.dripping, proxy.dripping_headers])
def test_an_answer_byte_by_byte_is_given_up(liar: Proxy, fault: proxy.Fault, question: str) -> None:
    ask, node = QUESTIONS[question], contract().node
    honest = ask(node)
    liar.fault = fault
    began = time.monotonic()
    with pytest.raises(NodeError, match="does not answer"):
        ask(node)
    assert SECONDS <= time.monotonic() - began < 2 * SECONDS
    liar.fault = None
    assert ask(node) == honest


def test_the_time_is_that_of_one_answer(hub: Hub, liar: Proxy) -> None:
    """A connection that is used again begins anew."""
    began = time.monotonic()
    while time.monotonic() - began < 1.5 * SECONDS:
        assert contract().node.height() == contract().node.head().number == hub.node.block
    asked = liar.requests
    hub.node.mine(4)
    assert follower.step() == 4
    assert liar.requests > asked
