"""Registrations are answered alike on the direct and on the general way."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from admission import direct
from admission.services import Request
from ledger.models import Account, Blacklist, ChainStatus, Deposit, Event, Outbox, Token, Wallet
from ledger.tests import http
from ledger.tests.checks import check_ledger, row_counts
from ledger.tests.racing import race
from nocust.addresses import to_checksum
from nocust.messages import admission_hash
from nocust.signatures import is_valid
from operator_api import limits
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from operator_api.tests.conftest import play, server
from operator_api.tests.direct_server import Server, same
from restoration import middleware as restoration
from restoration.models import Hold
from tos import services as tos
from tos.models import TOSConfig, TOSSignature

__all__ = ["play", "server"]  # fixtures
BULK, ONE = "/admission/bulk/", "/admission/"
pytestmark = pytest.mark.django_db(transaction=True)


def fresh(play: Play, count: int, token: Token | None = None) -> list[SimulatedWallet]:
    return [SimulatedWallet.create(play.contract, (token or play.tokens[0]).address) for _ in range(count)]


def entry(play: Play, player: SimulatedWallet, eon: int | None = None) -> dict[str, Any]:
    return player.registration(play.eon if eon is None else eon, tos.digest(play.config))


def bulk(play: Play, *players: SimulatedWallet, eon: int | None = None) -> dict[str, Any]:
    return {"admissions": [entry(play, player, eon) for player in players]}


def body(play: Play, path: str, player: SimulatedWallet, eon: int | None = None) -> dict[str, Any]:
    return entry(play, player, eon) if path.rstrip("/") == "/admission" else bulk(play, player, eon=eon)


def rendered(player: SimulatedWallet) -> dict[str, Any]:
    return {
        "authorization": None,
        "address": to_checksum(player.address),
        "token": to_checksum(player.token),
        "tos_signature": None,
    }


@pytest.fixture(params=[BULK, ONE])
def path(request: pytest.FixtureRequest, server: Server, play: Play) -> str:
    """One whose requests are answered directly."""
    found: str = request.param
    assert server.post(found, body(play, found, fresh(play, 1)[0]))[0] == 201
    return found


@pytest.mark.parametrize("path", ["/admission/bulk/", "/admission/bulk", "/admission/", "/admission"])
@pytest.mark.parametrize("headers", [(), ("Origin: http://localhost:3000",), ("Accept: */*",)])
def test_registrations_are_answered_alike(
    server: Server, play: Play, path: str, headers: tuple[str, ...]
) -> None:
    one, other = fresh(play, 2)
    general = server.post(path, body(play, path, one), *headers)
    answer = server.direct(path, body(play, path, other), *headers)
    same(general, answer)
    found = [one["admissions"][0] if "bulk" in path else one for one in (dict(general[2]), dict(answer[2]))]
    assert found == [rendered(one), rendered(other)]
    assert [list(item) for item in found] == [list(rendered(one))] * 2


def test_what_is_written_is_the_same(server: Server, play: Play) -> None:
    """Wallets in order of submission, countersigned, with the terms signed, told, and their deposits credited."""
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    assert server.post(BULK, bulk(play, *fresh(play, 1)))[0] == 201
    Outbox.objects.all().delete()
    players = [player for pair in zip(fresh(play, 2), fresh(play, 2, token), strict=True) for player in pair]
    for number, player in enumerate(players[1:], 1):
        play.deposit(player, number)
    answer = server.direct(BULK, bulk(play, *players))
    assert answer[2] == {"admissions": [rendered(player) for player in players]}
    rows = [Wallet.objects.select_related("token").get(address=player.address) for player in players]
    assert [(row.token.address, row.trail_identifier) for row in rows] == [
        (player.token, trail) for player, trail in zip(players, (2, 1, 3, 2), strict=True)
    ]
    operator = Wallet.objects.get(token=token, trail_identifier=0).address
    sent = bulk(play, *players)["admissions"]
    for row, one in zip(rows, sent, strict=True):
        message = admission_hash(
            play.contract, row.token.address, row.address, row.trail_identifier, play.eon
        )
        assert is_valid(message, row.registration_operator_authorization, operator)
        assert row.registration_authorization.hex() == one["authorization"]["value"]
        signed = TOSSignature.objects.get(address=row.address)
        assert (signed.tos_config_id, signed.tos_signature.hex()) == (
            play.config.pk,
            one["tos_signature"]["value"],
        )
    told = Outbox.objects.filter(event=Event.REGISTERED_WALLET).order_by("id")
    assert [row.object_id for row in told] == [row.pk for row in rows]
    assert list(Token.objects.values_list("wallet_count", flat=True)) == [4, 3]
    credited = [(row.wallet_id, row.deposited) for row in Account.objects.order_by("deposited")]
    assert credited == [(row.pk, number) for number, row in enumerate(rows[1:], 1)]
    assert not Deposit.objects.filter(wallet__isnull=True).exists()
    check_ledger()


def test_what_is_refused_is_refused_alike(server: Server, play: Play, path: str) -> None:
    """Each bad body, and then on the way without the direct one."""
    player, stranger = fresh(play, 2)
    good, foreign = entry(play, player), entry(play, stranger)
    bad = [
        *http.hostile(good),
        good | {"token": "11" * 20},
        good | {"authorization": foreign["authorization"]},
        good | {"tos_signature": foreign["tos_signature"]},
        good | {"authorization": good["tos_signature"]},
        entry(play, player, eon=play.eon + 1),
    ]
    before = row_counts(), TOSSignature.objects.count(), list(Token.objects.values())
    for one in bad:
        sent = {"admissions": [foreign, one]} if path == BULK and not isinstance(one, bytes) else one
        content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        answer = server.post(path, content)
        assert (answer[0], answer[2]) == http.post(path, content)
        http.check_refusal((answer[0], answer[2]))
    assert (row_counts(), TOSSignature.objects.count(), list(Token.objects.values())) == before
    assert server.direct(path, body(play, path, player))[0] == 201


def test_those_that_are_skipped_are_skipped_alike(server: Server, play: Play) -> None:
    known, unwanted, new, *many = fresh(play, 24)
    assert server.post(BULK, bulk(play, known))[0] == 201
    Blacklist.objects.create(address=unwanted.address)
    answer = server.post(BULK, bulk(play, known, unwanted, new, new))
    assert (answer[0], answer[2]) == (201, {"admissions": [rendered(new)]})
    answer = server.post(BULK, bulk(play, known, unwanted, new, new))
    assert (answer[0], answer[2]) == (201, {"admissions": []})
    assert server.post(BULK, {"admissions": []})[2] == {"admissions": []}
    assert (
        http.object_code((answer := server.post(BULK, bulk(play, *many)))[::2])
        == "TOO_MANY_ADMISSION_REQUESTS"
    )
    assert Wallet.objects.count() == 3
    assert server.direct(BULK, bulk(play, *many[:20]))[0] == 201


def test_alone_they_are_refused_alike(server: Server, play: Play) -> None:
    known, unwanted = fresh(play, 2)
    assert server.post(ONE, entry(play, known))[0] == 201
    Blacklist.objects.create(address=unwanted.address)
    for player, code in ((known, "WALLET_ALREADY_ADMITTED"), (unwanted, "WALLET_BLACKLISTED")):
        answer = server.post(ONE, entry(play, player))
        assert http.object_code(answer[::2]) == code


def test_the_hold_the_maintenance_and_the_chain_apply(server: Server, play: Play, path: str) -> None:
    request = body(play, path, fresh(play, 1)[0])
    for how in ("maintenance", "halted", "forked"):
        ChainStatus.objects.update(**{how: True})
        answer = server.post(path, request)
        assert (answer[0], answer[2]) == http.post(path, request)
        assert answer[2][0]["code"] in {"HUB_MAINTENANCE", "CHAIN_HALTED", "CHAIN_FORKED"}
        ChainStatus.objects.update(**{how: False})
    hold = Hold.objects.create(reason="a test", noticed=timezone.now())
    restoration.forget()
    answer = server.post(path, request)
    assert (answer[0], answer[2]) == (503, {"detail": restoration.DETAIL})
    hold.delete()
    restoration.forget()
    assert server.direct(path, request)[0] == 201


def test_before_the_first_block_the_hub_is_not_ready(server: Server, play: Play, path: str) -> None:
    request = body(play, path, fresh(play, 1)[0])
    ChainStatus.objects.all().delete()
    for remembered in (True, False):
        if not remembered:
            direct.forget()
        status, _, found = server.post(path, request)
        assert (status, list(found)) == (503, ["detail"])


def test_a_new_eon_is_noticed_at_once(server: Server, play: Play, path: str) -> None:
    """Whatever is remembered of the eon before."""
    early, late, last = fresh(play, 3)
    old = body(play, path, early)
    play.next_eon()
    answer = server.post(path, old)
    assert http.object_code(answer[::2]) == "INVALID_ADMISSION_SIGNATURE"
    assert server.post(path, body(play, path, late))[0] == 201
    direct.forget()
    assert server.direct(path, body(play, path, last))[0] == 201
    eons = Wallet.objects.order_by("trail_identifier").values_list("registration_eon_number", flat=True)
    assert list(eons)[1:] == [1, 2, 2]


def test_new_terms_are_noticed_at_once(server: Server, play: Play, path: str) -> None:
    """Whatever is remembered of those before, as if another process had published them."""
    early, late, last = fresh(play, 3)
    old = body(play, path, early)
    play.config = TOSConfig.objects.create(
        privacy_policy_digest="cc" * 32,
        terms_of_service_digest="dd" * 32,
        time=play.config.time + timedelta(seconds=1),
    )
    answer = server.post(path, old)
    assert http.object_code(answer[::2]) == "INVALID_TOS_SIGNATURE"
    assert server.post(path, body(play, path, late))[0] == 201
    direct.forget()
    assert server.direct(path, body(play, path, last))[0] == 201


def test_without_terms_nobody_registers(server: Server, play: Play, path: str) -> None:
    request = body(play, path, fresh(play, 1)[0])
    TOSSignature.objects.all().delete()
    TOSConfig.objects.all().delete()
    for remembered in (True, False):
        if not remembered:
            direct.forget()
        assert http.object_code(server.post(path, request)[::2]) == "TOS_NOT_PUBLISHED"


def test_the_limit_of_an_address_applies(
    server: Server, play: Play, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [play.add_token(bytes([number]) * 20, "Token", "TOK") for number in (17, 18, 19)]
    (player,) = fresh(play, 1)
    twins = [SimulatedWallet(player.signer, play.contract, token.address) for token in tokens]
    found = limits.Buckets(0.001, 2)
    monkeypatch.setattr(limits, "_address_buckets", lambda: found)
    for twin in twins[:2]:
        assert server.direct(path, body(play, path, twin))[0] == 201
    status, headers, _ = server.post(path, body(play, path, twins[2]))
    assert (status, headers["x-ratelimit-remaining"]) == (429, "0")


def test_equal_registrations_at_once_are_taken_once(server: Server, play: Play) -> None:
    """In one request more than once is left to the general way; in several each wallet is in one answer."""
    assert server.post(BULK, bulk(play, *fresh(play, 1)))[0] == 201
    for _ in range(5):
        players = fresh(play, 4)
        sent = [bulk(play, *players[start:], *players[:start]) for start in range(4)]
        answers = race([partial(server.post, BULK, one) for one in sent])
        assert [answer[0] for answer in answers] == [201] * 4
        found = [one["address"] for answer in answers for one in answer[2]["admissions"]]
        assert sorted(found) == sorted(to_checksum(player.address) for player in players)
    check_trails(play, 21)


def test_an_address_in_two_tokens_at_once(server: Server, play: Play) -> None:
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    assert server.post(BULK, bulk(play, *fresh(play, 1)))[0] == 201
    players = fresh(play, 6)
    twins = [SimulatedWallet(player.signer, play.contract, token.address) for player in reversed(players)]
    answers = race([partial(server.direct, BULK, bulk(play, *some)) for some in (players, twins)])
    assert [len(answer[2]["admissions"]) for answer in answers] == [6, 6]
    assert TOSSignature.objects.count() == 7


def test_many_at_once_share_transactions_and_none_is_lost(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admission import services

    assert server.post(BULK, bulk(play, *fresh(play, 1)))[0] == 201
    batches: list[int] = []
    admit_all: Callable[..., Any] = services.admit_all

    def counting(requests: list[Request]) -> Any:
        batches.append(len(requests))
        return admit_all(requests)

    monkeypatch.setattr(services, "admit_all", counting)
    groups = [[fresh(play, 3) for _ in range(6)] for _ in range(8)]

    def register(mine: list[list[SimulatedWallet]]) -> int:
        return sum(server.direct(BULK, bulk(play, *players))[0] for players in mine)

    assert race([partial(register, mine) for mine in groups]) == [6 * 201] * 8
    assert sum(batches) == 48
    assert len(batches) < 48
    check_trails(play, 1 + 144)


def check_trails(play: Play, count: int) -> None:
    """So many were registered beside the operator, without gaps."""
    trails = Wallet.objects.order_by("trail_identifier").values_list("trail_identifier", flat=True)
    assert list(trails) == list(range(count + 1))
    assert Token.objects.get(pk=play.tokens[0].pk).wallet_count == count + 1
