"""POST /admission/ and /admission/bulk/ as the outside sees them."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from ledger.models import Account, Blacklist, ChainStatus, Event, Outbox, Token, Wallet
from ledger.tests import http
from ledger.tests.checks import row_counts
from nocust.addresses import to_checksum
from nocust.messages import admission_hash
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from tos import services as tos
from tos.models import TOSConfig, TOSSignature

pytestmark = pytest.mark.django_db
URL = "/admission/"
BULK = "/admission/bulk/"


@pytest.fixture
def play() -> Play:
    return Play()


def fresh(play: Play, token: Token | None = None) -> SimulatedWallet:
    return SimulatedWallet.create(play.contract, (token or play.tokens[0]).address)


def body(play: Play, player: SimulatedWallet, eon: int | None = None) -> dict[str, Any]:
    return player.registration(play.eon if eon is None else eon, tos.digest(play.config))


def answer(player: SimulatedWallet) -> dict[str, Any]:
    return {
        "authorization": None,
        "address": to_checksum(player.address),
        "token": to_checksum(player.token),
        "tos_signature": None,
    }


def wallets() -> list[bytes]:
    """Addresses in order of trail, without the operator's."""
    rows = Wallet.objects.filter(trail_identifier__gt=0).order_by("token_id", "trail_identifier")
    return [row.address for row in rows]


@pytest.mark.parametrize("url", ["/admission/", "/admission"])
def test_a_wallet_is_admitted_at_once(play: Play, url: str) -> None:
    Outbox.objects.all().delete()
    player = fresh(play)
    found = http.post(url, body(play, player))
    assert found == (201, answer(player))
    assert list(found[1]) == ["authorization", "address", "token", "tos_signature"]
    wallet = Wallet.objects.get(address=player.address)
    assert (wallet.trail_identifier, wallet.registration_eon_number) == (1, 1)
    assert wallet.registration_authorization.hex() == body(play, player)["authorization"]["value"]
    message = admission_hash(play.contract, player.token, player.address, 1, 1)
    assert is_valid(message, wallet.registration_operator_authorization, settings.HUB_OWNER_ACCOUNT_ADDRESS)
    signed = TOSSignature.objects.get(address=player.address)
    assert signed.tos_config_id == play.config.pk
    assert [(row.event, row.object_id) for row in Outbox.objects.all()] == [
        (Event.REGISTERED_WALLET, wallet.pk)
    ]


def test_trails_follow_the_order_of_submission(play: Play) -> None:
    players = [fresh(play) for _ in range(3)]
    for player in players:
        assert http.post(URL, body(play, player))[0] == 201
    assert wallets() == [player.address for player in players]
    told = Outbox.objects.filter(event=Event.REGISTERED_WALLET).order_by("id")
    trails = [Wallet.objects.get(pk=row.object_id).trail_identifier for row in told]
    assert trails == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("CHAIN_HALTED", {"halted": True}),
        ("CHAIN_FORKED", {"forked": True}),
        ("CHAIN_BEHIND", {"node_block": 10**6}),
    ],
)
def test_nobody_is_admitted_while_the_chain_is_not_right(
    play: Play, reason: str, changes: dict[str, Any]
) -> None:
    """Also with a signature for an eon that the hub has not reached yet."""
    player, before = fresh(play), row_counts()
    ChainStatus.objects.update(**changes)
    answer = (400, [{"message": ErrorCode[reason].value, "code": reason}])
    assert http.post(URL, body(play, player)) == answer
    assert http.post(URL, body(play, player, eon=play.eon + 1)) == answer
    assert http.post(BULK, {"admissions": [body(play, player)]}) == answer
    assert row_counts() == before


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("case", ["lower", "upper"])
def test_addresses_in_any_spelling(play: Play, prefix: str, case: str) -> None:
    player = fresh(play)
    request = body(play, player)
    for key in ("address", "token"):
        request[key] = prefix + getattr(request[key], case)()
    assert http.post(URL, request) == (201, answer(player))
    assert http.object_code(http.post(URL, body(play, player))) == "WALLET_ALREADY_ADMITTED"


def test_signatures_may_be_written_in_capitals(play: Play) -> None:
    player = fresh(play)
    request = body(play, player)
    for key in ("authorization", "tos_signature"):
        request[key] = {"value": request[key]["value"].upper()}
    assert http.post(URL, request)[0] == 201


def test_a_deposit_that_was_waiting_is_credited(play: Play) -> None:
    player = fresh(play)
    play.deposit(player, 42)
    assert http.post(URL, body(play, player))[0] == 201
    wallet = Wallet.objects.get(address=player.address)
    assert Account.objects.get(wallet=wallet).available == 42
    told = Outbox.objects.filter(event=Event.CONFIRMED_DEPOSIT)
    assert told.count() == 1


def test_the_same_address_in_another_token(play: Play) -> None:
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    player = fresh(play)
    twin = SimulatedWallet(player.signer, play.contract, token.address)
    assert http.post(URL, body(play, player))[0] == 201
    assert http.post(URL, body(play, twin))[0] == 201
    assert TOSSignature.objects.filter(address=player.address).count() == 1


# --- refusals --------------------------------------------------------------------------------------------------


def refused_without_trace(url: str, request: Any) -> tuple[int, Any]:
    before = row_counts(), TOSSignature.objects.count(), list(Token.objects.values())
    found = http.post(url, request)
    assert (row_counts(), TOSSignature.objects.count(), list(Token.objects.values())) == before
    return found


def test_an_unknown_token(play: Play) -> None:
    request = body(play, fresh(play)) | {"token": "11" * 20}
    assert http.field_code(refused_without_trace(URL, request), "token") == "TOKEN_NOT_REGISTERED"
    found = refused_without_trace(BULK, {"admissions": [request]})
    assert http.object_code(found) == "TOKEN_NOT_REGISTERED"
    assert "11" * 20 in found[1]["non_field_errors"][0]["message"]


def test_a_second_registration(play: Play) -> None:
    player = fresh(play)
    assert http.post(URL, body(play, player))[0] == 201
    found = refused_without_trace(URL, body(play, player))
    assert http.object_code(found) == "WALLET_ALREADY_ADMITTED"
    play.next_eon()
    found = refused_without_trace(URL, body(play, player))
    assert http.object_code(found) == "WALLET_ALREADY_ADMITTED"


def test_a_barred_address(play: Play) -> None:
    player = fresh(play)
    Blacklist.objects.create(address=player.address)
    found = refused_without_trace(URL, body(play, player))
    assert http.object_code(found) == "WALLET_BLACKLISTED"
    assert refused_without_trace(BULK, {"admissions": [body(play, player)]}) == (201, {"admissions": []})


@pytest.mark.parametrize("url", [URL, BULK])
def test_an_authorization_for_another_eon_address_or_token(play: Play, url: str) -> None:
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    player, other = fresh(play), fresh(play)
    twin = SimulatedWallet(player.signer, play.contract, token.address)
    good = body(play, player)
    for authorization in (
        body(play, player, eon=0)["authorization"],
        body(play, player, eon=2)["authorization"],
        body(play, other)["authorization"],
        body(play, twin)["authorization"],
        {"value": "00" * 65},
        {"value": "ff" * 65},
        {"value": "00"},
        {"value": "nonsense"},
    ):
        request = good | {"authorization": authorization}
        found = refused_without_trace(url, request if url == URL else {"admissions": [request]})
        assert http.object_code(found) == "INVALID_ADMISSION_SIGNATURE"


@pytest.mark.parametrize("url", [URL, BULK])
def test_terms_that_were_not_signed(play: Play, url: str) -> None:
    player, other = fresh(play), fresh(play)
    good = body(play, player)
    for signature in (body(play, other)["tos_signature"], good["authorization"], {"value": "zz"}):
        request = good | {"tos_signature": signature}
        found = refused_without_trace(url, request if url == URL else {"admissions": [request]})
        assert http.object_code(found) == "INVALID_TOS_SIGNATURE"
    tos.publish("cc" * 32, "dd" * 32)
    found = refused_without_trace(url, good if url == URL else {"admissions": [good]})
    assert http.object_code(found) == "INVALID_TOS_SIGNATURE"


@pytest.mark.parametrize("url", [URL, BULK])
def test_without_published_terms_nobody_registers(play: Play, url: str) -> None:
    request = body(play, fresh(play))
    TOSSignature.objects.all().delete()
    TOSConfig.objects.all().delete()
    found = refused_without_trace(url, request if url == URL else {"admissions": [request]})
    assert http.object_code(found) == "TOS_NOT_PUBLISHED"


@pytest.mark.parametrize("url", [URL, BULK])
def test_before_the_chain_was_read(play: Play, url: str) -> None:
    request = body(play, fresh(play))
    ChainStatus.objects.all().delete()
    status, found = http.post(url, request if url == URL else {"admissions": [request]})
    assert (status, list(found)) == (503, ["detail"])


@pytest.mark.parametrize("field", ["authorization", "tos_signature", "token", "address"])
def test_every_field_is_needed(play: Play, field: str) -> None:
    request = body(play, fresh(play))
    for url in (URL, BULK):
        for changed, code in ((http.drop(request, (field,)), "required"), (request | {field: None}, "null")):
            found = refused_without_trace(url, changed if url == URL else {"admissions": [changed]})
            if url == BULK:
                status, errors = found
                assert list(errors) == ["admissions"]
                found = status, errors["admissions"][0]
            assert http.field_code(found, field) == code


def test_an_address_that_is_none(play: Play) -> None:
    request = body(play, fresh(play))
    for text in ("11" * 19, "11" * 21, "zz" * 20, "0x" + "11" * 19):
        for field in ("address", "token"):
            found = refused_without_trace(URL, request | {field: text})
            assert http.field_code(found, field) == "INVALID_ADDRESS"


# --- several at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/admission/bulk/", "/admission/bulk"])
def test_several_are_admitted_in_order(play: Play, url: str) -> None:
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    players = [fresh(play), fresh(play, token), fresh(play), fresh(play, token)]
    found = http.post(url, {"admissions": [body(play, player) for player in players]})
    assert found == (201, {"admissions": [answer(player) for player in players]})
    assert wallets() == [players[index].address for index in (0, 2, 1, 3)]
    told = Outbox.objects.filter(event=Event.REGISTERED_WALLET).order_by("id")
    addresses = [Wallet.objects.get(pk=row.object_id).address for row in told][-4:]
    assert addresses == [player.address for player in players]


def test_none_is_a_bulk_too(play: Play) -> None:
    assert http.post(BULK, {"admissions": []}) == (201, {"admissions": []})


def test_those_registered_and_repeated_are_skipped(play: Play) -> None:
    known, new = fresh(play), fresh(play)
    assert http.post(URL, body(play, known))[0] == 201
    requests = [body(play, known), body(play, new), body(play, new)]
    assert http.post(BULK, {"admissions": requests}) == (201, {"admissions": [answer(new)]})
    assert wallets() == [known.address, new.address]


def test_one_bad_entry_refuses_all(play: Play) -> None:
    requests = [body(play, fresh(play)) for _ in range(3)]
    requests[1] |= {"tos_signature": {"value": "00" * 65}}
    assert http.object_code(refused_without_trace(BULK, {"admissions": requests})) == "INVALID_TOS_SIGNATURE"


def test_too_many(play: Play) -> None:
    players = [fresh(play) for _ in range(settings.BULK_ADMISSION_LIMIT + 1)]
    requests = [body(play, player) for player in players]
    found = refused_without_trace(BULK, {"admissions": requests})
    assert http.object_code(found) == "TOO_MANY_ADMISSION_REQUESTS"
    status, found_body = http.post(BULK, {"admissions": requests[:-1]})
    assert (status, len(found_body["admissions"])) == (201, settings.BULK_ADMISSION_LIMIT)


def test_a_bulk_is_a_list(play: Play) -> None:
    assert http.field_code(http.post(BULK, {}), "admissions") == "required"
    found = http.post(BULK, {"admissions": {"0": body(play, fresh(play))}})
    assert http.field_code(found, "admissions", "non_field_errors") == "not_a_list"


@pytest.mark.parametrize("url", [URL, BULK])
def test_hostile_bodies_are_refused_in_a_documented_shape(play: Play, url: str) -> None:
    player = fresh(play)
    request = body(play, player)
    before = row_counts()
    for changed in http.hostile(request if url == URL else {"admissions": [request]}):
        found = http.post(url, changed)
        if found != (201, {"admissions": []}):
            http.check_refusal(found)
    assert row_counts() == before
    assert http.post(url, request if url == URL else {"admissions": [request]})[0] == 201


def test_errors_of_entries_stand_in_their_place(play: Play) -> None:
    good = body(play, fresh(play))
    status, found = http.post(BULK, {"admissions": [good, good | {"token": "zz"}, good, "x"]})
    assert status == 400
    entries = found["admissions"]
    assert [list(entry) for entry in entries] == [[], ["token"], [], ["non_field_errors"]]
    response = http.client().post(BULK, {"admissions[1]token": "zz"})
    http.check_refusal((response.status_code, response.json()))


@pytest.mark.parametrize("url", [URL, BULK])
def test_other_methods(play: Play, url: str) -> None:
    for method in ("get", "put", "delete"):
        response = getattr(http.client(), method)(url)
        assert (response.status_code, list(response.json())) == (405, ["detail"])
