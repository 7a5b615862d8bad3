"""Reading blocks again at the operator's wish."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from contractor import events, follower, resync
from contractor.chain import chain
from contractor.cross_check import read_again
from contractor.errors import ForkTooDeepError, NodeError
from contractor.models import Resync
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.proxy import Proxy
from contractor.tests.test_cross_check import check_accumulators, hide
from ledger.models import Deposit
from nocust.signatures import Signer
from operator_api import admin_actions as actions
from operator_api.models import OperatorAction


def run_all() -> Resync:
    """Read again until it is done."""
    for _ in range(20):
        resync.run()
        if not Resync.objects.filter(ended__isnull=True).exists():
            break
    return Resync.objects.latest("id")


def counts(row: Resync) -> tuple[int, int, int]:
    return row.missing, row.taken_in, row.invented


def test_what_a_node_left_out_is_taken_in(
    hub: Hub, liar: Proxy, alice: Signer, bob: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    wallets = [hub.register(alice), hub.register(bob)]
    hub.settle()
    first = hub.node.block
    liar.fault = hide
    for wallet in wallets:
        hub.node.deposit(wallet.address, 50)
    hub.settle(5)
    assert [hub.available(wallet) for wallet in wallets] == [50, 0]
    liar.fault = None
    actions.resync("somebody", first, "the node was repaired")
    row = run_all()
    assert counts(row) == (1, 1, 0)
    assert (row.first, row.last, row.next) == (first, hub.status.confirmed_block, row.last + 1)
    assert row.ended is not None
    assert [hub.available(wallet) for wallet in wallets] == [50, 50]
    check_accumulators(hub)
    assert "ALARM" not in caplog.text
    note = OperatorAction.objects.get()
    assert (note.action, note.subject) == ("resync", f"blocks {first} to {row.last}")
    # Once more changes nothing.
    actions.resync("somebody", 0, "to be sure")
    assert counts(run_all()) == (0, 0, 0)
    assert Deposit.objects.count() == 2


def test_a_closed_eon_is_compared_and_stays(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.register(alice)
    hub.settle()
    hub.node.deposit(alice.address, 50)
    hub.go_to(3, 9)
    hub.settle()
    resync.ask(0)
    row = run_all()
    assert counts(row) == (0, 0, 0)
    assert row.read > 0
    Deposit.objects.update(log_index=1000)  # as if the node had invented one and left one out
    resync.ask(0)
    assert counts(run_all()) == (1, 0, 1)
    assert "ALARM events differ" in caplog.text
    assert Deposit.objects.count() == 1


def test_a_node_that_is_down_delays_it(hub: Hub, liar: Proxy) -> None:
    hub.settle()
    resync.ask(0)
    liar.fault = proxy.only("eth_getLogs", proxy.broken)
    with pytest.raises(NodeError):
        resync.run()
    assert Resync.objects.get().ended is None
    liar.fault = None
    assert run_all().ended is not None
    assert resync.run() == 0


def test_nothing_is_booked_of_a_branch_that_the_hub_does_not_follow(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits until the operator has resolved the fork, and the blocks of the new branch are applied."""
    wallet = hub.register(alice)
    hub.settle(6)
    hub.node.reorganise(6)
    hub.node.ask("anvil_rollback", 6)
    hub.node.deposit(alice.address, 50)
    hub.node.mine(8)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    resync.ask(0)
    with pytest.raises(NodeError, match="another block"):
        resync.run()
    assert (Deposit.objects.count(), hub.available(wallet)) == (0, 0)
    call_command("resolve_fork", "--apply", reason="the branch is final", stdout=StringIO())
    run_all()
    assert Resync.objects.get().ended is None
    hub.settle(1)
    assert counts(run_all()) == (0, 0, 0)
    assert Resync.objects.get().ended is not None
    assert (Deposit.objects.count(), hub.available(wallet)) == (1, 50)
    assert "ALARM events differ" not in caplog.text


def test_many_blocks_with_events_are_read_in_few_requests(hub: Hub, liar: Proxy, alice: Signer) -> None:
    """Not in one for each: an eon may have thousands."""
    hub.register(alice)
    for _ in range(12):
        hub.node.deposit(alice.address, 1)
        hub.node.mine()
    hub.settle()
    before = liar.requests
    found = read_again(chain(), hub.status, 0, hub.status.confirmed_block)
    assert len({event.place.block for event in found if isinstance(event, events.Deposit)}) == 12
    assert liar.requests - before <= 4  # the branch before and after, logs, headers


def test_what_cannot_be_read_again_is_said(hub: Hub) -> None:
    hub.settle()
    with pytest.raises(CommandError, match="say why"):
        call_command("resync", "0")
    assert not Resync.objects.exists()
    with pytest.raises(CommandError, match="is not applied yet"):
        call_command("resync", str(hub.node.block + 1), reason="why not")
    with pytest.raises(CommandError, match="counted from 0"):
        call_command("resync", "-5", reason="why not")
    out = StringIO()
    call_command("resync", "0", reason="to be sure", stdout=out)
    assert "0 missing" in out.getvalue()
    with pytest.raises(CommandError, match="already"):
        call_command("resync", "0", reason="once more")
    assert OperatorAction.objects.count() == Resync.objects.count() == 1
