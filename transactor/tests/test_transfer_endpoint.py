"""POST /transfer/ as the outside sees it."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from ledger.engine import Transfer
from ledger.models import ActiveState, ChainStatus, Token, TokenCommitment, Wallet
from ledger.models import Transfer as TransferRow
from ledger.store import chain_status, rules
from ledger.tests import http
from ledger.tests.checks import account_rows, check_ledger, row_counts
from ledger.tests.test_store import funded
from leveller.models import Agreement
from nocust.addresses import to_checksum
from nocust.messages import active_state_hash
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet, transfer_body
from tos import services as tos
from tos.models import TOSConfig, TOSSignature

pytestmark = pytest.mark.django_db
URL = "/transfer/"


@pytest.fixture
def play() -> Play:
    return Play()


def send(command: Transfer) -> tuple[int, Any]:
    return http.post(URL, transfer_body(command))


@pytest.mark.parametrize("url", ["/transfer/", "/transfer"])
def test_the_answer_is_a_countersigned_receipt(play: Play, url: str) -> None:
    alice, bob = funded(play, 2, 10**24)
    command = alice.transfer(bob.owner, 10**21 + 7, marker=5)
    status, body = http.post(url, transfer_body(command))
    assert status == 201
    assert list(body) == [
        "id",
        "wallet",
        "amount",
        "time",
        "eon_number",
        "sender_active_state",
        "recipient",
        "nonce",
        "position",
        "tx_id",
    ]
    row = TransferRow.objects.get(pk=body["id"])
    assert body["wallet"] == reference(alice)
    assert body["recipient"] == reference(bob)
    assert (body["amount"], body["nonce"]) == ("1000000000000000000007", str(command.nonce))
    assert (body["position"], body["eon_number"]) == ("0", 1)
    assert body["tx_id"] == str(row.tx_id) == str(uuid.UUID(body["tx_id"]))
    assert body["time"] == int(row.time.timestamp())
    check_state(play, alice, body["sender_active_state"], command)
    alice.accepted(command, 0)
    status, body = send(alice.transfer(bob.owner, 1))
    assert (status, body["position"]) == (201, "1000000000000000000007")
    assert re.fullmatch("0x[0-9a-f]{64}", body["sender_active_state"]["tx_set_proof"][0])
    assert body["sender_active_state"]["tx_set_index"] == 1
    check_ledger()


def reference(player: SimulatedWallet) -> dict[str, Any]:
    return {
        "address": to_checksum(player.address),
        "token": to_checksum(player.token),
        "trail_identifier": player.trail,
    }


def check_state(play: Play, player: SimulatedWallet, state: dict[str, Any], command: Transfer) -> None:
    """The operator signed what the sender signed."""
    assert list(state) == [
        "wallet_signature",
        "operator_signature",
        "updated_spendings",
        "updated_gains",
        "tx_set_hash",
        "tx_set_proof",
        "tx_set_index",
    ]
    assert state["wallet_signature"] == command.signature.hex()
    assert (state["updated_spendings"], state["updated_gains"]) == (str(command.amount), "0")
    assert (state["tx_set_proof"], state["tx_set_index"]) == ([], 0)
    message = active_state_hash(
        play.contract,
        player.token,
        player.address,
        player.trail,
        command.eon,
        bytes.fromhex(state["tx_set_hash"]),
        command.amount,
        0,
    )
    operator = Wallet.objects.get(token=play.tokens[0], trail_identifier=0).address
    assert is_valid(message, bytes.fromhex(state["operator_signature"]), operator)


@pytest.mark.parametrize(
    ("amount", "marker", "nonce"),
    [("100", "0", "7"), (100, 0, 7), (" 100 ", "0", " 7"), ("1e2", "0e5", "7"), ("1.00e+2", 0, "0.7e1")],
)
def test_numbers_may_be_written_in_several_ways(play: Play, amount: Any, marker: Any, nonce: Any) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 100, nonce=7))
    body |= {"amount": amount, "debit_balance": marker, "nonce": nonce, "eon_number": "1"}
    status, answer = http.post(URL, body)
    assert status == 201, answer
    assert (answer["amount"], answer["nonce"]) == ("100", "7")


def test_a_large_amount_with_an_exponent(play: Play) -> None:
    alice, bob = funded(play, 2, 2 * 10**21)
    body = transfer_body(alice.transfer(bob.owner, 15 * 10**20)) | {"amount": "1.5e+21"}
    status, answer = http.post(URL, body)
    assert (status, answer["amount"]) == (201, "1500000000000000000000")


@pytest.mark.parametrize("spelling", ["lower", "upper", "checksum", "0xlower", "0xupper", "0xchecksum"])
def test_addresses_in_any_spelling(play: Play, spelling: str) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))

    def spell(text: str) -> str:
        changed = {"lower": text.lower(), "upper": text.upper()}.get(spelling.removeprefix("0x"), text)
        return "0x" + changed if spelling.startswith("0x") else changed

    for side in ("wallet", "recipient"):
        body[side] = {key: spell(value) for key, value in body[side].items()}
        body[side]["trail_identifier"] = 99  # extra keys are ignored
    status, answer = http.post(URL, body)
    assert (status, answer["wallet"]) == (201, reference(alice))


def test_zero_is_an_amount(play: Play) -> None:
    alice, bob = play.register(2)
    assert send(alice.transfer(bob.owner, 0))[0] == 201


# --- refusals, each in its shape -------------------------------------------------------------------------------


def refused_without_trace(command: Transfer | dict[str, Any]) -> tuple[int, Any]:
    before = row_counts(), account_rows()
    found = http.post(URL, command if isinstance(command, dict) else transfer_body(command))
    assert (row_counts(), account_rows()) == before
    return found


def test_another_eon(play: Play) -> None:
    alice, bob = funded(play, 2)
    for eon in (0, 2, 2**63 - 1):
        alice.eon = eon
        assert http.code(refused_without_trace(alice.transfer(bob.owner, 1))) == "EON_NUMBER_OUT_OF_SYNC"
    alice.eon = 1
    command = alice.transfer(bob.owner, 1)
    play.enter_next_eon()
    assert http.code(refused_without_trace(command)) == "EON_NUMBER_OUT_OF_SYNC"


def test_a_closed_ledger(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    ChainStatus.objects.update(head_block=0)  # the head fell back behind the checkpoint
    assert http.code(refused_without_trace(alice.transfer(bob.owner, 1))) == "EON_NUMBER_OUT_OF_SYNC"


def test_overspending(play: Play) -> None:
    alice, bob = funded(play, 2)
    for amount in (101, 2**256 - 1):
        found = refused_without_trace(alice.transfer(bob.owner, amount))
        assert http.code(found) == "DEBIT_WALLET_OVERSPENDING"
    found = refused_without_trace(alice.transfer(bob.owner, 60, marker=41))
    assert http.code(found) == "DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE"


def test_signatures_of_something_else(play: Play) -> None:
    alice, bob = funded(play, 2)
    good = alice.transfer(bob.owner, 1)
    for forged in (bytes(65), b"\xff" * 65, bob.transfer(bob.owner, 1).signature, good.signature[:-1]):
        found = refused_without_trace(replace(good, signature=forged))
        assert http.code(found) == "INVALID_DEBIT_SIGNATURE"
        found = refused_without_trace(replace(good, marker_signature=forged))
        assert http.code(found) == "INVALID_DEBIT_BALANCE_SIGNATURE"
    body = transfer_body(good)
    for text in ("zz" * 65, "0", "é" * 10, "00" * 64 + "0"):
        found = refused_without_trace(body | {"debit_signature": {"value": text}})
        assert http.code(found) == "INVALID_DEBIT_SIGNATURE"
        found = refused_without_trace(body | {"debit_balance_signature": {"value": text}})
        assert http.code(found) == "INVALID_DEBIT_BALANCE_SIGNATURE"


def test_the_marker_is_signed_for_its_eon_and_amount(play: Play) -> None:
    alice, bob = funded(play, 2)
    good = alice.transfer(bob.owner, 1, marker=5)
    found = refused_without_trace(replace(good, marker=4))
    assert http.code(found) == "INVALID_DEBIT_BALANCE_SIGNATURE"


def test_a_repeated_request(play: Play) -> None:
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)
    assert send(command)[0] == 201
    assert http.object_code(refused_without_trace(command)) == "unique"


def test_to_itself(play: Play) -> None:
    (alice,) = funded(play, 1)
    found = refused_without_trace(alice.transfer(alice.owner, 1))
    assert http.object_code(found) == "DEBIT_CREDIT_WALLET_ADDRESS_MATCH"


def test_across_tokens(play: Play) -> None:
    (alice,) = funded(play, 1)
    token = play.add_token(b"\x11" * 20, "Token", "TOK")
    (stranger,) = play.register(1, token)
    twin = SimulatedWallet(alice.signer, play.contract, token.address)
    play.admit([twin], token)
    for recipient in (stranger, twin):
        found = refused_without_trace(alice.transfer(recipient.owner, 1))
        assert http.object_code(found) == "DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH"


def test_unknown_tokens_and_wallets(play: Play) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    for side in ("wallet", "recipient"):
        unknown = http.put(body, (side, "token"), "11" * 20)
        assert http.field_code(refused_without_trace(unknown), side) == "TOKEN_NOT_REGISTERED"
    unknown = http.put(body, ("recipient", "address"), "11" * 20)
    assert http.field_code(refused_without_trace(unknown), "recipient") == "WALLET_NOT_ADMITTED"
    operator = to_checksum(Wallet.objects.get(trail_identifier=0).address)
    Token.objects.create(address=b"\x22" * 20, trail=1, name="Other", short_name="OTH", block=0)
    unknown = http.put(body, ("wallet",), {"address": operator, "token": "22" * 20})
    assert http.field_code(refused_without_trace(unknown), "wallet") == "WALLET_NOT_ADMITTED"


def test_an_unregistered_sender_has_signed_no_terms(play: Play) -> None:
    (bob,) = funded(play, 1)
    stranger = SimulatedWallet.create(play.contract, play.contract)
    found = refused_without_trace(stranger.transfer(bob.owner, 0))
    assert (found[0], list(found[1])) == (403, ["code", "message"])
    assert found[1]["code"] == "INVALID_TOS_SIGNATURE"


def test_new_terms_bar_senders_after_the_window(play: Play, settings: Settings) -> None:
    alice, bob = funded(play, 2)
    config = tos.publish("cc" * 32, "dd" * 32)
    command = alice.transfer(bob.owner, 1)
    assert send(command)[0] == 201
    alice.accepted(command, 0)
    TOSConfig.objects.update(time=F("time") - timedelta(days=settings.TOS_UPDATE_WINDOW_DAYS))
    tos.clear()
    assert send(alice.transfer(bob.owner, 1))[0] == 403
    tos.remember(alice.address, config, alice.signer.sign(tos.digest(config)))
    assert send(alice.transfer(bob.owner, 1))[0] == 201


def test_without_terms_everybody_may_send(play: Play) -> None:
    alice, bob = funded(play, 2)
    TOSSignature.objects.all().delete()
    TOSConfig.objects.all().delete()
    tos.clear()
    assert send(alice.transfer(bob.owner, 1))[0] == 201


def test_the_service_level(play: Play, settings: Settings) -> None:
    settings.SLA_THRESHOLD = 2
    rules.cache_clear()
    try:
        alice, bob = funded(play, 2)
        for _ in range(2):
            command = alice.transfer(bob.owner, 1)
            status, answer = send(command)
            assert status == 201
            alice.accepted(command, int(answer["position"]))
        command = alice.transfer(bob.owner, 1)
        assert http.code(refused_without_trace(command)) == "DEBIT_WALLET_EXCEEDED_SLA"
        _subscribe(alice)
        status, answer = send(command)
        assert status == 201
        alice.accepted(command, int(answer["position"]))
        back = bob.transfer(alice.owner, 1)
        Agreement.objects.update(expiry=timezone.now() - timedelta(seconds=1))
        assert http.code(refused_without_trace(back)) == "CREDIT_WALLET_EXCEEDED_SLA"
        _subscribe(alice)
        assert send(back)[0] == 201
    finally:
        rules.cache_clear()


def _subscribe(player: SimulatedWallet) -> None:
    Agreement.objects.create(
        address=player.address,
        transfer=TransferRow.objects.exclude(pk__in=Agreement.objects.values("transfer")).earliest("id"),
        beginning=timezone.now(),
        expiry=timezone.now() + timedelta(days=1),
    )


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("CHAIN_HALTED", {"halted": True}),
        ("CHAIN_FORKED", {"forked": True}),
        ("CHAIN_BEHIND", {"node_block": 10**6}),
    ],
)
def test_while_the_chain_is_not_right(play: Play, reason: str, changes: dict[str, Any]) -> None:
    alice, bob = funded(play, 2)
    ChainStatus.objects.update(**changes)
    found = refused_without_trace(alice.transfer(bob.owner, 1))
    assert found == (400, [{"message": ErrorCode[reason].value, "code": reason}])


def test_before_the_chain_was_read(play: Play) -> None:
    alice, bob = funded(play, 2)
    ChainStatus.objects.all().delete()
    status, body = send(alice.transfer(bob.owner, 1))
    assert (status, list(body)) == (503, ["detail"])


@pytest.mark.parametrize(
    "field",
    [
        "wallet",
        "recipient",
        "amount",
        "nonce",
        "eon_number",
        "debit_signature",
        "debit_balance",
        "debit_balance_signature",
    ],
)
def test_every_field_is_needed(play: Play, field: str) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    assert http.field_code(refused_without_trace(http.drop(body, (field,))), field) == "required"
    assert http.field_code(refused_without_trace(body | {field: None}), field) == "null"


@pytest.mark.parametrize("field", ["amount", "nonce", "debit_balance"])
def test_amounts_are_checked_as_fields(play: Play, field: str) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    for value in (-1, "-1", "-99"):
        assert http.field_code(refused_without_trace(body | {field: value}), field) == "min_value"
    texts: list[Any] = ["1.5", "1.0", "abc", "", "0x1", True, [], {}, 2**256, str(2**256), "1e99", "NaN"]
    for value in texts:
        assert http.field_code(refused_without_trace(body | {field: value}), field) == "invalid"


def test_a_signature_is_a_text_in_an_object(play: Play) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    for field in ("debit_signature", "debit_balance_signature"):
        found = refused_without_trace(body | {field: {}})
        assert http.field_code(found, field, "value") == "required"
        found = refused_without_trace(body | {field: {"value": "0" * 600}})
        assert http.field_code(found, field, "value") == "max_length"
        found = refused_without_trace(body | {field: {"value": ""}})
        assert http.field_code(found, field, "value") == "blank"
        found = refused_without_trace(body | {field: "00" * 65})
        assert http.field_code(found, field, "non_field_errors") == "invalid"


def test_a_wallet_is_an_object_of_two_addresses(play: Play) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    for side in ("wallet", "recipient"):
        found = refused_without_trace(body | {side: [body[side]]})
        assert http.field_code(found, side, "non_field_errors") == "invalid"
        for key in ("address", "token"):
            found = refused_without_trace(http.drop(body, (side, key)))
            assert http.field_code(found, side, key) == "required"
            found = refused_without_trace(http.put(body, (side, key), "11" * 19))
            assert http.field_code(found, side, key) == "INVALID_ADDRESS"


@pytest.mark.slow
def test_hostile_bodies_are_refused_in_a_documented_shape(play: Play) -> None:
    alice, bob = funded(play, 2)
    before = row_counts(), account_rows()
    for body in http.hostile(transfer_body(alice.transfer(bob.owner, 1))):
        http.check_refusal(http.post(URL, body))
    assert (row_counts(), account_rows()) == before
    assert send(alice.transfer(bob.owner, 1))[0] == 201


def test_other_methods_and_media_types(play: Play) -> None:
    alice, bob = funded(play, 2)
    body = transfer_body(alice.transfer(bob.owner, 1))
    client = http.client()
    for response, status in (
        (client.get(URL), 405),
        (client.put(URL, body, content_type="application/json"), 405),
        (client.post(URL, "x", content_type="text/plain"), 415),
        (client.post(URL, body, content_type="application/json", headers={"accept": "text/html"}), 406),
    ):
        assert response.status_code == status
        assert list(response.json()) == ["detail"]
    form = client.post(URL, {"amount": "1"})
    http.check_refusal((form.status_code, form.json()))


def test_a_bad_authorization_header_does_no_harm(play: Play) -> None:
    alice, bob = funded(play, 2)
    response = http.client().post(
        URL,
        transfer_body(alice.transfer(bob.owner, 1)),
        content_type="application/json",
        headers={"authorization": "Basic bm90OnJpZ2h0"},
    )
    assert response.status_code == 201


def test_nothing_of_refused_requests_is_in_the_checkpoint(play: Play) -> None:
    alice, bob = funded(play, 2)
    refused_without_trace(alice.transfer(bob.owner, 101))
    play.next_eon()
    assert TokenCommitment.objects.get(root_commitment__eon_number=chain_status().eon).upper_bound == 200
    assert not ActiveState.objects.exists()
