"""`manage.py transactions`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from contractor import attempts, follower, sender
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.models import EthereumTransaction
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.proxy import Proxy
from contractor.tests.test_sender import State, checkpoint, hopeless
from contractor.tests.test_sender_alarms import stuck
from contractor.transactions import queue
from heartbeat.tests.drill import Drill
from ledger.models import DelegatedWithdrawal
from nocust.signatures import Signer
from operator_api.models import OperatorAction

REASON = "it has to be mined"


def command(*arguments: object) -> str:
    out = StringIO()
    why = [] if arguments[:1] in ((), ("list",)) else ["--reason", REASON]
    call_command("transactions", *map(str, arguments), *why, stdout=out)
    return out.getvalue()


def test_what_is_on_its_way_is_listed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = stuck(hub, monkeypatch)
    (attempt,) = row.attempts.all()
    text = command()
    assert f"{row.pk}  sent        checkpoint/2; nonce {row.nonce};" in text
    assert attempt.hash.hex() in text
    assert "checkpoint/1" not in text
    assert "checkpoint/1" in command("list", "--all")
    assert len(command("list", "--all", "--limit", 1).splitlines()) == 1


def test_a_bump_sends_it_again_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = stuck(hub, monkeypatch)
    assert "will be bumped" in command("bump", row.pk)
    note = OperatorAction.objects.get()
    assert (note.action, note.subject, note.reason) == (
        "bump transaction",
        f"{row.pk} checkpoint/2",
        REASON,
    )
    assert note.who.startswith("manage.py by ")
    assert "to be bumped" in command()
    sender.step()
    first, second = row.attempts.all()
    assert second.gas_price > first.gas_price
    assert contract().node.knows(second.hash)
    sender.step()
    assert row.attempts.count() == 2
    hub.settle(5)
    assert checkpoint(2).state == State.CONFIRMED


@pytest.mark.parametrize("wish", ["bump", "cancel"])
def test_a_wish_stands_until_it_is_signed(
    hub: Hub, liar: Proxy, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    """A node that tells no fees delays it; one that does not take what was signed is no reason to offer more."""
    row = stuck(hub, monkeypatch)
    command(wish, row.pk)
    liar.fault = proxy.only("eth_gasPrice", proxy.broken)
    with pytest.raises(NodeError):
        sender.step()
    assert f"to be {wish}" in command()
    liar.fault = proxy.only("eth_sendRawTransaction", proxy.broken)
    with pytest.raises(NodeError):
        sender.step()
    assert row.attempts.count() == 2
    assert "to be" not in command()
    liar.fault = None
    hub.settle(2)
    (_, second) = row.attempts.all()
    assert (second.cancels, second.mined is not None) == (wish == "cancel", True)


def test_a_newer_wish_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator cancels while the sender bumps."""
    row = stuck(hub, monkeypatch)
    command("bump", row.pk)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: command("cancel", row.pk))
        sender.step()
    assert "to be cancelled" in command()
    sender.step()
    assert [attempt.cancels for attempt in row.attempts.all()] == [False, False, True]


def test_a_transaction_that_ended_has_no_wish(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = stuck(hub, monkeypatch)
    (first,) = row.attempts.all()
    attempts.send(contract(), row, first)
    hub.node.mine(4)
    follower.step()
    command("bump", row.pk)
    sender.step()
    row.refresh_from_db()
    assert (row.state, row.wish, row.attempts.count()) == (State.CONFIRMED, "", 1)


def test_a_cancelled_checkpoint_is_built_anew(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    row = stuck(hub, monkeypatch)
    command("cancel", row.pk)
    assert OperatorAction.objects.get().action == "cancel transaction"
    sender.step()
    newest = row.attempts.last()
    assert newest is not None
    assert newest.cancels
    assert "being cancelled" in command()
    found = hub.node.web3.eth.get_transaction("0x" + newest.hash.hex())
    assert (found["to"], found["value"], found["nonce"]) == (found["from"], 0, row.nonce)
    hub.settle(4)
    row.refresh_from_db()
    assert (row.state, row.tag) == (State.CANCELLED, f"cancelled/{row.pk}/checkpoint/2")
    assert checkpoint(2).pk != row.pk
    hub.settle(6)
    assert checkpoint(2).state == State.CONFIRMED
    assert contract().checkpoint(2) is not None


def test_a_cancellation_that_comes_too_late_changes_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = stuck(hub, monkeypatch)
    (first,) = row.attempts.all()
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        command("cancel", row.pk)
        sender.step()
    assert row.attempts.count() == 2
    attempts.send(contract(), row, first)
    hub.settle(5)
    row.refresh_from_db()
    assert row.state == State.CONFIRMED


def test_a_cancelled_delegated_withdrawal_frees_its_funds(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.settle()
    row = hopeless(hub, alice)
    command("cancel", row.pk)
    sender.step()
    row.refresh_from_db()
    assert (row.state, row.tag) == (State.CANCELLED, f"cancelled/{row.pk}/hopeless")
    assert not EthereumTransaction.objects.filter(tag="hopeless").exists()
    assert DelegatedWithdrawal.objects.get().state == DelegatedWithdrawal.State.FAILED
    assert "ALARM" not in caplog.text


def test_what_makes_no_sense_is_refused(hub: Hub) -> None:
    hub.settle()
    with pytest.raises(CommandError, match="there is no transaction 999"):
        command("bump", 999)
    with pytest.raises(CommandError, match="is confirmed already"):
        command("cancel", checkpoint(1).pk)
    with transaction.atomic():
        row = queue("submitCheckpoint", {"eon": 9, "root": "07" * 32}, tag="checkpoint/9")
    with pytest.raises(CommandError, match="not sent yet, and the hub needs it"):
        command("cancel", row.pk)
    with pytest.raises(CommandError, match="say why"):
        call_command("transactions", "bump", str(row.pk))
    assert EthereumTransaction.objects.exclude(wish="").count() == 0
    assert not OperatorAction.objects.exists()


@pytest.mark.alarm("nonce gap")
def test_a_gap_below_what_is_on_its_way_is_filled(
    hub: Hub, operator: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    """Another program used the operator's key, and a fork dropped what it sent."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    node = contract().node
    used = node.transaction_count(operator)
    with monkeypatch.context() as patch:
        patch.setattr(node, "transaction_count", lambda *_, **__: used + 1)
        hub.beat()
    assert checkpoint(2).nonce == used + 1
    hub.settle(3)
    drill.raised("nonce gap")
    drill.passes("nonce gap", lambda: hub.settle(4))
    assert checkpoint(2).state == State.CONFIRMED
