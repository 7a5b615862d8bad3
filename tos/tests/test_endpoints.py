"""The terms of service endpoints as the outside sees them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F

from ledger.tests import http
from nocust.addresses import to_checksum
from operator_api.models import OperatorAction
from operator_api.simulation.play import PRIVACY, TERMS, Play
from operator_api.simulation.wallets import SimulatedWallet
from tos import services
from tos.models import TOSConfig, TOSSignature

pytestmark = pytest.mark.django_db
URL = "/tos/"


@pytest.fixture
def play() -> Play:
    return Play()


def body(player: SimulatedWallet, config: TOSConfig) -> dict[str, Any]:
    return {
        "address": to_checksum(player.address),
        "tos_signature": player.signer.sign(services.digest(config)).hex(),
    }


@pytest.mark.parametrize("url", ["/tos/latest", "/tos/latest/"])
def test_the_latest_terms(play: Play, url: str) -> None:
    status, found = http.get(url)
    assert status == 200
    assert found == {
        "privacy_policy_digest": PRIVACY,
        "terms_of_service_digest": TERMS,
        "time": int(play.config.time.timestamp()),
    }
    newer = services.publish("CC" * 32, "dD" * 32)
    status, found = http.get(url)
    assert (found["privacy_policy_digest"], found["terms_of_service_digest"]) == ("CC" * 32, "dD" * 32)
    assert found["time"] == int(newer.time.timestamp())


def test_before_anything_is_published() -> None:
    assert http.get("/tos/latest") == (
        200,
        {"privacy_policy_digest": "", "terms_of_service_digest": ""},
    )


@pytest.mark.parametrize("url", ["/tos/", "/tos"])
@pytest.mark.parametrize("prefix", ["", "0x"])
def test_signing_new_terms(play: Play, url: str, prefix: str) -> None:
    (player,) = play.register(1)
    newer = services.publish("cc" * 32, "dd" * 32)
    request = body(player, newer) | {"address": prefix + player.address.hex()}
    assert http.post(url, request) == (
        201,
        {"address": to_checksum(player.address).removeprefix("0x"), "tos_signature": None},
    )
    stored = TOSSignature.objects.get(address=player.address, tos_config=newer)
    assert stored.tos_signature.hex() == request["tos_signature"]
    assert http.object_code(http.post(url, request)) == "LATEST_TOS_ALREADY_SIGNED"


def test_each_refusal_has_its_code(play: Play) -> None:
    (player,) = play.register(1)
    assert http.object_code(http.post(URL, body(player, play.config))) == "LATEST_TOS_ALREADY_SIGNED"
    newer = services.publish("cc" * 32, "dd" * 32)
    stranger = SimulatedWallet.create(play.contract, play.contract)
    assert http.object_code(http.post(URL, body(stranger, newer))) == "WALLET_NOT_ADMITTED"
    old = body(player, play.config)["tos_signature"]
    foreign = body(stranger, newer)["tos_signature"]
    for text in (old, foreign, "00" * 65, "ff" * 65, "00", "zz", "é"):
        found = http.post(URL, body(player, newer) | {"tos_signature": text})
        assert http.object_code(found) == "INVALID_TOS_SIGNATURE"
    for text in ("11" * 19, "zz" * 20, "0x"):
        found = http.post(URL, body(player, newer) | {"address": text})
        assert http.field_code(found, "address") == "INVALID_ADDRESS"
    TOSSignature.objects.all().delete()
    TOSConfig.objects.all().delete()
    assert http.object_code(http.post(URL, body(player, newer))) == "TOS_NOT_PUBLISHED"


@pytest.mark.parametrize("field", ["address", "tos_signature"])
def test_every_field_is_needed(play: Play, field: str) -> None:
    (player,) = play.register(1)
    request = body(player, play.config)
    assert http.field_code(http.post(URL, http.drop(request, (field,))), field) == "required"
    assert http.field_code(http.post(URL, request | {field: None}), field) == "null"
    assert http.field_code(http.post(URL, request | {field: ""}), field) == "blank"


def test_hostile_bodies_are_refused_in_a_documented_shape(play: Play) -> None:
    (player,) = play.register(1)
    newer = services.publish("cc" * 32, "dd" * 32)
    for request in http.hostile(body(player, newer)):
        http.check_refusal(http.post(URL, request))
    assert not TOSSignature.objects.filter(tos_config=newer).exists()


def test_who_may_transact(play: Play) -> None:
    (player,) = play.register(1)
    assert services.may_transact(player.address)
    assert not services.may_transact(b"\x01" * 20)
    newer = services.publish("cc" * 32, "dd" * 32)
    assert services.may_transact(player.address)  # within the window to sign again
    TOSConfig.objects.update(time=F("time") - timedelta(days=8))
    services.clear()
    assert not services.may_transact(player.address)
    services.remember(player.address, newer, bytes(65))
    assert services.may_transact(player.address)


@pytest.mark.parametrize("digest", ["", "aa", "zz" * 32, "aa" * 33, "0x"])
def test_only_digests_are_published(play: Play, digest: str) -> None:
    for pair in ((digest, TERMS), (PRIVACY, digest)):
        with pytest.raises(services.InvalidTermsError):
            services.publish(*pair)
    assert TOSConfig.objects.count() == 1


def test_the_same_terms_are_published_once(play: Play) -> None:
    assert services.publish(PRIVACY, TERMS).pk == play.config.pk
    assert services.publish("0x" + PRIVACY, "0x" + TERMS).pk == play.config.pk


def test_terms_that_were_replaced_can_be_published_again(play: Play) -> None:
    """They are the latest then, and who signed them need not sign again."""
    (player,) = play.register(1)
    between = services.publish("cc" * 32, "dd" * 32)
    services.remember(player.address, between, bytes(65))
    again = services.publish(PRIVACY, TERMS)
    latest = services.latest()
    assert latest is not None
    assert latest.pk == again.pk == play.config.pk
    TOSConfig.objects.update(time=F("time") - timedelta(days=8))
    services.clear()
    assert services.may_transact(player.address)


def test_the_command_publishes(play: Play) -> None:
    digests = {"privacy": "ee" * 32, "terms": "ff" * 32}
    with pytest.raises(CommandError, match="say why"):
        call_command("publish_terms", **digests)
    assert services.latest() == play.config
    for _ in range(2):  # the second time there is nothing to do
        call_command("publish_terms", **digests, reason="a new edition")
    latest = services.latest()
    assert latest is not None
    assert latest.terms_of_service_digest == "ff" * 32
    with pytest.raises(CommandError, match="64 hexadecimal digits"):
        call_command("publish_terms", privacy="nonsense", terms="ff" * 32, reason="a mistake")
    note = OperatorAction.objects.get()
    assert (note.action, note.subject, note.reason) == ("publish terms", str(latest), "a new edition")
