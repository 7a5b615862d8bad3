"""What the operator's people do by hand, and that it is written down."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from contractor.models import ContractState
from ledger.archive import LEAST_KEPT
from ledger.models import Blacklist, ChainStatus, Outbox, TokenPair
from ledger.tests import http
from operator_api import admin_actions as actions
from operator_api.admin_actions import ActionError
from operator_api.error_codes import ErrorCode
from operator_api.error_pages import document, places
from operator_api.models import OperatorAction
from operator_api.simulation.play import Play
from operator_api.simulation.traders import order_body
from operator_api.simulation.wallets import transfer_body
from restoration.models import Hold
from swapper.tests import market
from swapper.tests.test_ending_endpoints import cancellation, finalization, freezing
from synchronizer.models import SetAside

pytestmark = pytest.mark.django_db
REASON = "moving the database"


def maintenance(*arguments: str, reason: str = REASON) -> str:
    out = StringIO()
    call_command("maintenance", *arguments, reason=reason, stdout=out)
    return out.getvalue().strip()


def notes() -> list[tuple[str, str]]:
    return list(OperatorAction.objects.order_by("id").values_list("action", "subject"))


def test_maintenance_refuses_writes_and_serves_reads() -> None:
    play = Play()
    market.market(play)
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    assert maintenance() == "no maintenance: the hub takes requests"
    assert "nothing new" in maintenance("on")
    body = transfer_body(alice.transfer(bob.owner, 1))
    status, answer = http.post("/transfer/", body)
    assert (status, answer[0]["code"]) == (400, "HUB_MAINTENANCE")
    assert http.client().get("/audit/").status_code == 200
    play.next_eon()  # what is in the ledger goes on
    assert ChainStatus.objects.get().maintenance
    maintenance("off")
    alice.enter(play.eon)
    assert http.post("/transfer/", transfer_body(alice.transfer(bob.owner, 1)))[0] == 201
    assert notes() == [("maintenance on", ""), ("maintenance off", "")]
    row = OperatorAction.objects.latest("id")
    assert row.who.startswith("manage.py by ")
    assert row.reason == REASON


def test_every_write_is_refused_in_maintenance() -> None:
    play = Play()
    market.market(play)
    maker, newcomer = (market.trader(play, 100, sells) for sells in (0, 0))
    order = market.place(maker, 100, 100).order
    alice = play.register(1)[0]
    actions.set_maintenance("somebody", True, REASON)
    registration = alice.registration(play.eon, bytes(32))
    bodies = {
        "/transfer/": transfer_body(alice.transfer(newcomer.debit.owner, 1)),
        "/transfer/delegated_withdrawal/": {
            "signature": "00" * 65,
            "wallet": registration["address"],
            "token": registration["token"],
            "amount": "1",
            "expiry": 50,
        },
        "/admission/": registration,
        "/admission/bulk/": {"admissions": [registration]},
        "/tos/": {"address": registration["address"], "tos_signature": registration["tos_signature"]},
        "/sla/{wallet}/": {"transfer_id": 1},
        "/swap/": order_body(newcomer.place(100, 100)),
        "/swap/{row}/freeze/": freezing(maker.freeze()),
        "/swap/{row}/cancel/": cancellation(maker.cancel(0, 0)),
        "/swap/{row}/finalize/": finalization(maker.finalize(0)),
    }
    writes = [
        (method, path)
        for path, item in document().paths.items()
        for method, _ in item.operations
        if method != "get"
    ]
    assert sorted({path for _, path in writes}) == sorted(bodies)
    for method, path in writes:
        url = path.replace("{row}", str(order.row)).replace("{wallet}", "0x" + alice.address.hex())
        response = getattr(Client(), method)(url, json.dumps(bodies[path]), "application/json")
        assert response.status_code == 400, path
        assert "HUB_MAINTENANCE" in str(response.json()), path
    assert len(places(document())[ErrorCode.HUB_MAINTENANCE]["400"]) == len(writes)


def test_what_is_so_already_is_neither_done_nor_noted() -> None:
    Play()
    for _ in range(2):
        with pytest.raises(CommandError, match="off already"):
            maintenance("off")
    with pytest.raises(ActionError, match="say why"):
        actions.set_maintenance("somebody", True, " ")
    assert not ChainStatus.objects.get().maintenance
    assert notes() == []


def test_pairs_are_paused_both_ways() -> None:
    play = Play()
    market.market(play)
    pair = TokenPair.objects.first()
    assert pair is not None
    actions.pause_pair("somebody", pair.token_from, pair.token_to, True, REASON)
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {True}
    with pytest.raises(ActionError, match="already"):
        actions.pause_pair("somebody", pair.token_to, pair.token_from, True, REASON)
    actions.pause_pair("somebody", pair.token_from, pair.token_to, False, REASON)
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {False}
    assert [action for action, _ in notes()] == ["pause pair", "resume pair"]


def test_pairs_are_added_both_ways() -> None:
    play = Play()
    lqd = play.add_token(b"\x11" * 20, "Liquid", "LQD")
    done = actions.add_pair("somebody", play.tokens[0], lqd, REASON)
    assert (done.action, done.subject) == ("add pair", "ETH and LQD")
    assert TokenPair.objects.count() == 2
    for token, other in ((lqd, play.tokens[0]), (lqd, lqd)):
        with pytest.raises(actions.ActionError):
            actions.add_pair("somebody", token, other, REASON)
    assert OperatorAction.objects.count() == 1
    assert TokenPair.objects.count() == 2


def test_addresses_are_barred_and_let_in() -> None:
    address = b"\x12" * 20
    actions.bar("somebody", address, REASON)
    assert Blacklist.objects.filter(address=address).exists()
    with pytest.raises(ActionError, match="already"):
        actions.bar("somebody", address, REASON)
    actions.let_in("somebody", address, REASON)
    assert not Blacklist.objects.exists()
    with pytest.raises(ActionError, match="not barred"):
        actions.let_in("somebody", address, REASON)
    assert [action for action, _ in notes()] == ["bar address", "let address in"]


def test_an_event_is_told_again() -> None:
    row = SetAside.objects.create(
        event="CONFIRMED_DEPOSIT", object_id=7, created=timezone.now(), reason="no such row"
    )
    actions.tell_again("somebody", row, REASON)
    assert not SetAside.objects.exists()
    assert list(Outbox.objects.values_list("event", "object_id")) == [("CONFIRMED_DEPOSIT", 7)]
    with pytest.raises(ActionError, match="already"):
        actions.tell_again("somebody", row, REASON)
    assert Outbox.objects.count() == 1


def test_all_events_that_were_set_aside_are_told_again() -> None:
    for number in (7, 8):
        SetAside.objects.create(
            event="CONFIRMED_DEPOSIT", object_id=number, created=timezone.now(), reason="no such row"
        )
    actions.tell_again("somebody", None, REASON)
    assert not SetAside.objects.exists()
    assert list(Outbox.objects.order_by("id").values_list("object_id", flat=True)) == [7, 8]
    assert notes() == [("tell again", "2 events")]
    with pytest.raises(ActionError, match="no event is set aside"):
        actions.tell_again("somebody", None, REASON)


def test_who_holds_the_hub_is_written_down() -> None:
    call_command("after_restore", hold="the disk was rolled back", stdout=StringIO())
    assert Hold.objects.get().reason == "the disk was rolled back"
    row = OperatorAction.objects.get()
    assert (row.action, row.reason) == ("hold", "the disk was rolled back")
    assert row.who.startswith("manage.py by ")


@pytest.mark.parametrize("reason", ["", "  "])
def test_nobody_holds_the_hub_without_a_reason(reason: str) -> None:
    with pytest.raises(CommandError, match="why"):
        call_command("after_restore", hold=reason, stdout=StringIO())
    assert not Hold.objects.exists()


@pytest.mark.parametrize("decision", ["nothing_lost", "accept_loss"])
def test_nothing_is_decided_about_a_hub_that_is_not_held(decision: str) -> None:
    with pytest.raises(CommandError, match="not held"):
        call_command("after_restore", **{decision: True}, stdout=StringIO())
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("change", ["update", "delete"])
def test_notes_stay(change: str) -> None:
    actions.bar("somebody", b"\x12" * 20, REASON)
    row = OperatorAction.objects.get()
    row.who = "somebody else"
    with pytest.raises(DatabaseError, match="not changed afterwards"), transaction.atomic():
        row.save() if change == "update" else row.delete()
    assert OperatorAction.objects.get().who == "somebody"


def archive_command(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("archive", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_archived_checkpoints_are_written_down(tmp_path: Path) -> None:
    play = Play()
    play.register(1)
    for _ in range(LEAST_KEPT + 1):
        play.next_eon()
    keep, folder = ("--keep", str(LEAST_KEPT)), str(tmp_path)
    assert archive_command("write", folder, *keep) == [
        "no checkpoint is old enough"
    ]  # the contract has none yet
    ContractState.objects.create(
        block=7,
        block_hash=bytes(32),
        parent_hash=bytes(32),
        timestamp=0,
        logs_possible=False,
        last_checkpoint_submission_eon=LEAST_KEPT + 2,
    )
    assert archive_command() == ["no checkpoint is archived"]
    first, second = archive_command("write", folder, *keep)
    assert first.startswith(f"eon 1: 0 rows archived; {tmp_path}/checkpoint-000000001.zip has")
    assert second.startswith("eon 2: 4 rows archived;")
    assert archive_command("write", folder, *keep) == ["no checkpoint is old enough"]
    assert [line.split("  ")[0] for line in archive_command("list")] == ["eon 1", "eon 2"]
    assert archive_command("restore", folder, "2", "--reason", "asked for")[0].startswith(
        "eon 2: 4 rows restored"
    )
    assert notes() == [
        ("archive checkpoint", "eon 1"),
        ("archive checkpoint", "eon 2"),
        ("restore checkpoint", "eon 2"),
    ]
    for wrong, reason in (
        (("write", folder, "--keep", "3"), f"at least {LEAST_KEPT}"),
        (("write", f"{folder}/nowhere", *keep), "No such file"),
        (("write", folder, *keep, "--reason", " "), "say why"),
        (("restore", folder, "1"), "say why"),
        (("restore", folder, "2", "--reason", REASON), "not archived"),
        (("restore", folder, "99", "--reason", REASON), "no checkpoint of eon 99"),
        (("restore", f"{folder}/nowhere", "1", "--reason", REASON), "No such file"),
    ):
        with pytest.raises(CommandError, match=reason):
            archive_command(*wrong)
    assert len(notes()) == 3
