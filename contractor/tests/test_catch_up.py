"""Reading many blocks after an outage."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contractor import chain, follower, logs, progress
from contractor.chain import contract
from contractor.errors import NodeError, NodeRefusedError
from contractor.models import ContractState
from contractor.spans import PATIENCE, Span, read_range
from contractor.tests import proxy
from contractor.tests.conftest import BLOCKS_PER_EON, Hub
from contractor.tests.proxy import Proxy
from ledger.models import Deposit, RootCommitment
from nocust.signatures import Signer

BLOCKS = 1000
LIMIT = 20


@given(
    first=st.integers(0, 50),
    count=st.integers(1, 300),
    limits=st.lists(st.integers(1, 64), min_size=1, max_size=5),
)
def test_a_range_is_read_whole_whatever_the_node_allows(first: int, count: int, limits: list[int]) -> None:
    span = Span(64)
    for limit in limits:

        def ask(start: int, end: int, limit: int = limit) -> list[int]:
            assert start <= end
            if end - start + 1 > limit:
                raise NodeRefusedError("too much")
            return list(range(start, end + 1))

        wanted = list(range(first, first + count))
        assert read_range(span, first, first + count - 1, ask) == wanted
        assert 1 <= span.size <= 64


def test_a_span_grows_again_after_some_answers() -> None:
    span = Span(64)
    asked = []

    def ask(start: int, end: int, limit: int = 10) -> list[int]:
        asked.append(end - start + 1)
        if end - start + 1 > limit:
            raise NodeRefusedError("too much")
        return []

    read_range(span, 1, 10_000, ask)
    assert span.size == 8
    # one refusal in some answers, not one in two
    assert asked.count(16) <= len(asked) / PATIENCE + 1
    read_range(span, 1, 10_000, lambda *_: [])
    assert span.size == 64


def test_what_a_node_refuses_for_one_block_is_an_error() -> None:
    def ask(start: int, end: int) -> list[int]:
        raise NodeRefusedError("never")

    with pytest.raises(NodeRefusedError):
        read_range(Span(64), 1, 100, ask)


def test_less_is_asked_for_after_a_time_out() -> None:
    def ask(start: int, end: int) -> list[int]:
        raise NodeError("no answer")

    span = Span(64)
    with pytest.raises(NodeError):
        read_range(span, 1, 100, ask)
    assert span.size == 32


def test_a_long_outage_is_caught_up_with_progress_shown(
    hub: Hub,
    alice: Signer,
    bob: Signer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Many eons, deposits in the first of them (later the contract is halted), and a node that gives little."""
    monkeypatch.setattr(progress, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(logs, "ASKED_ALONE", -1)
    wallet, other = hub.register(alice), hub.register(bob)
    first = hub.status.head_block
    for _ in range(3):
        hub.node.deposit(alice.address, 5)
        hub.node.mine(10)
        hub.node.deposit(bob.address, 7)
    for _ in range(BLOCKS // 500):
        hub.node.mine(500)
    head = hub.node.block
    with Proxy(hub.node.url) as node:
        node.fault = proxy.at_most(LIMIT)
        settings.HUB_ETHEREUM_NODE_URL = node.url
        chain.forget()
        while hub.status.head_block < head:
            assert follower.run() > 0
        assert contract().node.log_span.size < LIMIT * 2
    assert (hub.available(wallet), hub.available(other)) == (15, 21)
    assert hub.status.confirmed_block == head - 3
    newest = RootCommitment.objects.latest("eon_number").eon_number
    assert newest >= hub.status.eon - 1 == (head - hub.status.genesis_block) // BLOCKS_PER_EON
    assert hub.status.halted
    told = re.findall(r"catching up: block (\d+) of (\d+), (\d+\.\d) %, \d+ blocks/s", caplog.text)
    shares = [float(share) for _, _, share in told]
    assert len(told) > 10
    assert shares == sorted(shares)
    assert all(int(block) >= first and int(of) == head for block, of, _ in told)
    assert f"caught up with block {head}" in caplog.text
    assert ContractState.objects.count() <= follower.KEPT_BLOCKS + 10


def test_wallets_are_refused_until_it_is_caught_up(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from admission.services import StoppedError
    from operator_api.error_codes import ErrorCode

    hub.node.mine(21)
    follower.step(limit=1)
    hub.register(alice)  # 20 blocks behind
    hub.node.mine()
    hub.node.mine()
    follower.step(limit=1)
    with pytest.raises(StoppedError) as refused:
        hub.register(alice)
    assert refused.value.code == ErrorCode.CHAIN_BEHIND
    follower._watch_progress()
    assert "ALARM chain behind" in caplog.text
    follower.run()
    assert hub.status.blocks_behind == 0
    assert Deposit.objects.count() == 0
