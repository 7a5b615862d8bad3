"""`manage.py pairs`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from ledger import store
from ledger.models import TokenPair
from nocust.messages import conduit
from operator_api.models import OperatorAction
from operator_api.simulation.play import Play
from swapper import pairs
from swapper.selectors import open_pairs
from swapper.tests.market import LQD, place, trader

pytestmark = pytest.mark.django_db
ETHER = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
REASON = "a new market"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setattr(pairs, "SETTLE", 0.0)
    game = Play()
    game.add_token(LQD, "Liquid", "LQD")
    return game


def run(*arguments: str) -> str:
    out = StringIO()
    why = ["--reason", REASON] if arguments and arguments != ("list",) else []
    call_command("pairs", *arguments, *why, stdout=out)
    return out.getvalue()


def notes() -> list[tuple[str, str, str]]:
    return list(OperatorAction.objects.order_by("id").values_list("action", "subject", "reason"))


def test_from_nothing_to_trade_and_back(play: Play) -> None:
    assert run() == "no tokens are traded\n"
    ether, token = play.tokens
    assert (ether.address, token.address) not in open_pairs
    listed = run("add", "ETH", "lqd").splitlines()
    assert [line.split()[:5] for line in listed] == [
        ["ETH", "to", "LQD", "open", "0"],
        ["LQD", "to", "ETH", "open", "0"],
    ]
    assert ETHER in listed[0]
    assert (ether.address, token.address) in open_pairs
    assert (token.address, ether.address) in open_pairs
    assert {pair.conduit for pair in TokenPair.objects.all()} == {
        conduit(ether.address, token.address),
        conduit(token.address, ether.address),
    }
    assert "traded already" in run("add", ETHER, LQD.hex())
    assert run("pause", "LQD", "ETH").count("paused") == 2
    assert (ether.address, token.address) not in open_pairs
    assert "ETH and LQD is paused already" in run("pause", "ETH", "LQD")
    assert run("resume", "ETH", "LQD").count("open") == 2
    assert "ETH and LQD is open already" in run("resume", "ETH", "LQD")
    assert run("remove", "ETH", "LQD") == "no tokens are traded\n"
    assert (ether.address, token.address) not in open_pairs
    assert notes() == [
        ("add pair", "ETH and LQD", REASON),
        ("pause pair", "LQD and ETH", REASON),
        ("resume pair", "ETH and LQD", REASON),
        ("remove pair", "ETH and LQD", REASON),
    ]
    assert all(row.who.startswith("manage.py by ") for row in OperatorAction.objects.all())


@pytest.mark.parametrize("command", ["add", "pause", "resume", "remove"])
def test_nothing_is_done_without_a_reason(play: Play, command: str) -> None:
    if command != "add":
        run("add", "ETH", "LQD")
    before = list(TokenPair.objects.values()), notes()
    with pytest.raises(CommandError, match="say why"):
        call_command("pairs", command, "ETH", "LQD")
    assert (list(TokenPair.objects.values()), notes()) == before


def test_a_missing_direction_is_added(play: Play) -> None:
    ether, token = play.tokens
    TokenPair.between(token, ether).save()
    assert run("add", "ETH", "LQD").count("open") == 2
    assert TokenPair.objects.count() == 2


def test_a_pair_with_orders_stays(play: Play) -> None:
    run("add", "ETH", "LQD")
    seller = trader(play, 100)
    place(seller, 100, 200, eons=3)
    assert "1 orders" in run("list").splitlines()[0]
    with pytest.raises(CommandError, match="1 orders between LQD and ETH are not over"):
        run("remove", "LQD", "ETH")
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {False}
    for command in (seller.freeze(), seller.cancel(0, 0)):
        store.execute([command])
    run("remove", "LQD", "ETH")
    assert not TokenPair.objects.exists()


def test_an_order_that_comes_meanwhile_keeps_the_pair(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    run("add", "ETH", "LQD")
    seller = trader(play, 100)
    monkeypatch.setattr("swapper.pairs.time.sleep", lambda _: place(seller, 100, 200))
    with pytest.raises(CommandError, match="not over"):
        run("remove", "ETH", "LQD")
    assert set(TokenPair.objects.values_list("paused", flat=True)) == {False}
    assert [action for action, *_ in notes()] == ["add pair"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "ETH", "XYZ"), "no token 'XYZ'; known are ETH, LQD"),
        (("add", "ETH", "0x" + "11" * 20), "no token '0x1111"),
        (("add", "ETH", "ETH"), "two different tokens"),
        (("pause", "LQD", "LQD"), "two different tokens"),
        (("pause", "ETH", "LQD"), "not traded here"),
        (("resume", "ETH", "LQD"), "not traded here"),
        (("remove", "ETH", "LQD"), "not traded here"),
    ],
)
def test_what_cannot_be_done_is_said(play: Play, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*arguments)
    assert not TokenPair.objects.exists()


def test_a_name_of_two_tokens(play: Play) -> None:
    play.add_token(b"\x11" * 20, "Other", "LQD")
    with pytest.raises(CommandError, match="say which by its address"):
        run("add", "ETH", "LQD")
    assert "ETH to LQD" in run("add", "ETH", "0x" + "11" * 20)
