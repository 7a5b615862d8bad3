"""The follower against a real node: every effect once, whatever happens on the way."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, transaction

from contractor import effects, follower, logs
from contractor.chain import contract
from contractor.errors import ForkTooDeepError, NodeError
from contractor.models import ContractState
from contractor.tests import proxy
from contractor.tests.conftest import DevelopmentNode, Hub
from contractor.tests.proxy import Proxy
from heartbeat.tests.drill import Drill
from ledger.models import Deposit, Outbox
from ledger.models import Event as Told
from nocust.addresses import to_checksum
from nocust.signatures import Signer


def test_a_deposit_is_credited_when_it_is_deep_enough(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    for _ in range(3):
        hub.node.mine()
        follower.step()
        assert hub.available(wallet) == 0
    hub.node.mine()
    follower.step()
    assert hub.available(wallet) == 50
    deposit = Deposit.objects.get()
    assert (deposit.wallet, deposit.amount, deposit.eon_number) == (wallet, 50, 1)
    assert Outbox.objects.filter(event=Told.CONFIRMED_DEPOSIT, object_id=deposit.pk).count() == 1


def test_a_repeated_step_changes_nothing(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle()
    before = hub.status
    for _ in range(3):
        assert follower.step() == 0
    assert hub.available(wallet) == 50
    after = hub.status
    assert (after.head_hash, after.confirmed_block) == (before.head_hash, before.confirmed_block)


def test_events_are_not_booked_twice_even_if_the_cursor_went_back(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle()
    status = hub.status
    status.confirmed_block -= 4
    status.save()
    assert follower.step() == 4
    assert hub.available(wallet) == 50
    assert Deposit.objects.count() == 1


def test_a_death_before_the_commit_leaves_nothing(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    original = effects.apply_events

    def die(*arguments: Any) -> None:
        original(*arguments)
        raise KeyboardInterrupt

    before = hub.status
    monkeypatch.setattr(effects, "apply_events", die)
    with pytest.raises(KeyboardInterrupt):
        follower.step()
    assert Deposit.objects.count() == 0
    assert hub.available(wallet) == 0
    assert hub.status.head_block == before.head_block
    assert ContractState.objects.filter(block__gt=before.head_block).count() == 0
    monkeypatch.undo()
    follower.step()
    assert hub.available(wallet) == 50


def test_many_deposits_in_one_step(hub: Hub) -> None:
    from contractor.tests.conftest import signer

    wallets = {number: hub.register(signer(number)) for number in range(2000, 2010)}
    for number, wallet in wallets.items():
        hub.node.deposit(wallet.address, number)
        hub.node.deposit(wallet.address, 1)
    hub.node.mine(4)
    follower.step()
    assert {number: hub.available(wallet) for number, wallet in wallets.items()} == {
        number: number + 1 for number in wallets
    }


def test_a_deposit_before_the_registration_is_kept(hub: Hub, alice: Signer) -> None:
    hub.node.fund(alice.address)
    hub.node.deposit(alice.address, 70)
    hub.settle()
    assert Deposit.objects.get().wallet is None
    assert not Outbox.objects.filter(event=Told.CONFIRMED_DEPOSIT).exists()
    wallet = hub.register(alice)
    assert hub.available(wallet) == 70


def test_a_deposit_of_an_earlier_eon_counts_in_that_of_the_registration(hub: Hub, alice: Signer) -> None:
    hub.go_to(1, 22)
    hub.node.fund(alice.address)
    hub.node.deposit(alice.address, 70)
    hub.node.mine(2)  # the last block of eon 1 holds it; eon 2 begins
    hub.beat()
    wallet = hub.register(alice)
    hub.settle(8)
    assert wallet.registration_eon_number == 2
    assert Deposit.objects.get().eon_number == 2
    assert hub.available(wallet) == 70
    hub.go_to(3, 8)
    assert hub.available(wallet) == 70


def test_a_deposit_of_the_closing_eon_moves_the_opening_of_the_next(hub: Hub, alice: Signer) -> None:
    hub.settle()
    wallet = hub.register(alice)
    hub.node.mine_to_era(1, 22)
    hub.beat()
    hub.node.deposit(alice.address, 70)
    hub.node.mine()
    hub.beat()
    hub.node.mine()  # eon 2 begins, the deposit is not deep enough yet
    hub.beat()
    assert hub.status.eon == 2
    assert hub.available(wallet) == 0
    hub.settle(8)
    assert Deposit.objects.get().eon_number == 1
    assert hub.available(wallet) == 70


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_shallow_fork_is_followed(hub: Hub, alice: Signer, depth: int) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine()
    follower.step()
    hub.node.mine(depth - 1)
    follower.step()
    abandoned = hub.status.head_hash
    hub.node.reorganise(depth)
    follower.step()
    assert hub.status.head_hash != abandoned
    hub.node.mine(6)
    follower.step()
    known = {row.block: row.block_hash for row in ContractState.objects.all()}
    for header in contract().node.headers(min(known), max(known)):
        assert known[header.number] == header.hash
    # anvil drops the transactions of abandoned blocks: the deposit never was
    assert hub.available(wallet) == 0
    hub.node.deposit(alice.address, 60)
    hub.settle()
    assert hub.available(wallet) == 60


def test_a_fork_below_an_applied_block_stops_the_follower(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.settle(5)
    before = hub.status
    hub.node.reorganise(5)
    hub.node.mine(3)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    assert "ALARM deep fork" in caplog.text
    assert hub.status.confirmed_block == before.confirmed_block
    assert hub.status.head_hash == before.head_hash
    assert hub.available(wallet) == 50


def test_the_latest_eon_never_goes_back(hub: Hub) -> None:
    hub.go_to(1, 23)
    hub.node.mine()
    follower.step()
    assert hub.status.eon == 2
    hub.node.ask("anvil_rollback", 1)
    follower.step()
    assert hub.node.eon == 1
    assert hub.status.eon == 2
    hub.node.mine(3)
    follower.step()
    assert hub.status.head_block == hub.node.block
    assert hub.status.eon == 2
    assert Outbox.objects.filter(event=Told.EON_STARTED).count() == 1


def test_an_outage_is_caught_up_eon_by_eon(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 5)
    hub.node.mine_to_era(4, 3)
    hub.node.mine(1)
    for _ in range(12):
        hub.beat()
    assert hub.status.head_block == hub.node.block
    assert hub.status.eon == 4
    assert hub.status.halted  # nobody submitted checkpoints meanwhile
    assert hub.available(wallet) == 5


def test_a_run_catches_up_in_many_steps(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "STEP_BLOCKS", 1)
    hub.node.mine(9)
    with monkeypatch.context() as patch:
        original = follower.step
        patch.setattr(follower, "step", lambda: original(limit=1))
        follower.run()
    assert hub.status.head_block == hub.node.block


def test_the_slower_of_two_followers_writes_nothing(hub: Hub, alice: Signer) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    status = hub.status
    slow = follower._read(contract(), status, follower._known_headers(status), contract().node.head(), 500)
    assert follower.step() > 0
    assert follower._write(status, slow) == 0
    assert hub.available(wallet) == 50


def test_a_network_with_proof_of_authority_headers_is_read(hub: Hub, settings: Any) -> None:
    from contractor import chain

    settings.HUB_ETHEREUM_NETWORK_IS_POA = True
    chain.forget()
    hub.node.mine(3)
    assert follower.step() == 3


@pytest.mark.django_db(transaction=True)
def test_a_registration_and_a_deposit_at_the_same_time(hub: Hub, alice: Signer) -> None:
    """The deposit is applied while the registration has not committed: it must wait, then find the wallet."""
    hub.node.fund(alice.address)
    hub.node.deposit(alice.address, 70)
    hub.node.mine(4)
    registered, applying = Event(), Event()

    def register() -> None:
        try:
            with transaction.atomic():
                hub.register(alice)
                registered.set()
                assert applying.wait(10)
                time.sleep(0.5)
        finally:
            connection.close()

    def apply() -> None:
        try:
            assert registered.wait(10)
            applying.set()
            follower.step()
        finally:
            connection.close()

    threads = [Thread(target=register), Thread(target=apply)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deposit = Deposit.objects.get()
    assert deposit.wallet is not None
    assert hub.available(deposit.wallet) == 70


def test_bounded_steps(hub: Hub) -> None:
    hub.node.mine(10)
    start = hub.status.head_block
    follower.step(limit=4)
    assert (hub.status.head_block, hub.status.confirmed_block) == (start + 4, start + 4)
    assert follower.step(limit=4) == 4
    assert (hub.status.head_block, hub.status.confirmed_block) == (start + 8, start + 7)


def test_logs_of_another_block_are_not_applied(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    node = contract().node
    original = node.logs_of_blocks
    monkeypatch.setattr(
        node, "logs_of_blocks", lambda *a: [replace(log, block_hash=b"\1" * 32) for log in original(*a)]
    )
    before = hub.status.confirmed_block
    with pytest.raises(NodeError, match="another block"):
        follower.step()
    assert hub.status.confirmed_block == before


def test_a_node_that_changes_its_branch_meanwhile_is_not_believed(hub: Hub, liar: Proxy) -> None:
    """What it says of the contract is of the newest block of either."""
    head = hub.status.head_block
    hub.node.mine(2)
    liar.fault = lambda method, parameters, answer: (
        proxy.lying(method, parameters, answer) if parameters == ["latest", False] else answer
    )
    with pytest.raises(NodeError, match="than a moment ago"):
        follower.step()
    assert hub.status.head_block == head
    liar.fault = None
    follower.step()
    assert hub.status.head_block == head + 2


def test_a_node_that_leaves_logs_out_is_asked_again(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(4)
    monkeypatch.setattr(logs, "ASKED_ALONE", -1)
    monkeypatch.setattr(contract().node, "logs", lambda *_: [])
    follower.step()
    assert hub.available(wallet) == 50


def test_a_range_that_the_node_refuses_is_halved(
    hub: Hub, alice: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contractor.errors import NodeRefusedError

    wallet = hub.register(alice)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(8)
    node = contract().node
    original = node.logs

    def small_only(address: bytes, first: int, last: int) -> Any:
        if last - first > 1:
            raise NodeRefusedError("too many blocks")
        return original(address, first, last)

    monkeypatch.setattr(logs, "ASKED_ALONE", -1)
    monkeypatch.setattr(node, "logs", small_only)
    follower.step()
    assert hub.available(wallet) == 50


def test_an_unreachable_node_is_recoverable(hub: Hub, settings: Any) -> None:
    from contractor import chain

    settings.HUB_ETHEREUM_NODE_URL = "http://127.0.0.1:9"
    chain.forget()
    before = hub.status
    with pytest.raises(NodeError, match=r"127\.0\.0\.1:9"):
        follower.step()
    assert hub.status.head_hash == before.head_hash


@pytest.mark.alarm("unknown token")
def test_ether_for_unknown_tokens_is_an_alarm(
    hub: Hub, alice: Signer, operator: bytes, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    node: DevelopmentNode = hub.node
    factory = __import__("contracts").load("TestToken")
    other = node.web3.eth.contract(abi=factory.abi, bytecode=factory.bytecode)
    sent = other.constructor("Other", "OTH", 18, 1000).transact(
        {"from": to_checksum(operator), "gas": 2_000_000}
    )
    node.mine()
    address = node.web3.eth.get_transaction_receipt(sent)["contractAddress"]
    token = node.web3.eth.contract(address=address, abi=factory.abi)
    node.send(operator, node.contract.functions.registerERC20(address))
    node.send(operator, token.functions.approve(node.contract.address, 10))
    node.send(operator, node.contract.functions.deposit(address, to_checksum(operator), 10))
    hub.settle(5)
    drill.raised("unknown token")
    assert Deposit.objects.count() == 0
    drill.passes("unknown token", hub.settle)
