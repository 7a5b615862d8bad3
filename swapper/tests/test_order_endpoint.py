"""POST /swap/ as the outside sees it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from auditor import render_swaps, selectors, serializers_swaps
from auditor.tests.test_shapes import assert_shape
from ledger.engine import PlaceOrder
from ledger.models import ActiveState, ChainStatus, TokenPair, Wallet
from ledger.models import Transfer as TransferRow
from ledger.tests import http
from ledger.tests.checks import account_rows, check_ledger, row_counts
from ledger.verification import verify_orders
from nocust.addresses import to_checksum
from nocust.messages import active_state_hash
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader, order_body
from operator_api.simulation.wallets import SimulatedWallet
from swapper.selectors import open_pairs
from swapper.tests.market import market, next_eon, place, row, trader, values
from tos.models import TOSSignature

pytestmark = pytest.mark.django_db
URL = "/swap/"
LISTS = {
    "debit_signature": "debit_signatures",
    "debit_balance_signature": "debit_marker_signatures",
    "credit_signature": "credit_signatures",
    "credit_balance_signature": "credit_marker_signatures",
    "credit_fulfillment_signature": "fulfillment_signatures",
}


@pytest.fixture
def play() -> Play:
    game = Play()
    market(game)
    return game


def send(order: PlaceOrder) -> tuple[int, Any]:
    return http.post(URL, order_body(order))


@pytest.mark.parametrize("url", ["/swap/", "/swap"])
@pytest.mark.parametrize("eons", [1, 5, 20])
def test_the_answer_is_a_countersigned_receipt(play: Play, url: str, eons: int) -> None:
    alice = trader(play, 10**24)
    order = alice.place(10**24, 10**21 + 7, eons)
    status, body = http.post(url, order_body(order))
    assert status == 201, body
    assert_shape(body, serializers_swaps.SwapReceiptSerializer())
    stored = selectors.orders(*ActiveStates).get(pk=body["id"])
    assert body == render_swaps.order_receipt(stored)
    assert body["tx_id"] == str(uuid.UUID(body["tx_id"]))
    assert (body["amount"], body["amount_swapped"]) == ("1" + "0" * 24, "1000000000000000000007")
    assert (body["complete"], body["sell_order"], body["eon_number"]) == (False, True, 1)
    assert body["matched_amounts"] == {"matched_in": "0", "matched_out": "0"}
    assert body["wallet"] == reference(alice.debit)
    assert body["recipient"] == reference(alice.credit)
    check_state(alice.debit, body["sender_active_state"], order.debit_signatures[0])
    check_state(alice.credit, body["recipient_active_state"], order.credit_signatures[0])
    fulfilled = body["recipient_fulfillment_active_state"]
    assert (fulfilled["operator_signature"], fulfilled["updated_gains"]) == (None, str(10**21 + 7))
    rows = TransferRow.objects.filter(tx_id=body["tx_id"]).order_by("id")
    assert [item.eon_number for item in rows] == list(range(1, eons + 1))
    assert [item.appended for item in rows] == [True] + [False] * (eons - 1)
    assert len({(item.time, item.nonce) for item in rows}) == 1
    assert verify_orders() == eons - 1
    assert set(rows.all().values_list("verified", flat=True)) == {True}
    check_ledger()


ActiveStates = ("sender_active_state", "recipient_active_state", "recipient_fulfillment_active_state")


def reference(player: SimulatedWallet) -> dict[str, Any]:
    return {
        "address": to_checksum(player.address),
        "token": to_checksum(player.token),
        "trail_identifier": player.trail,
    }


def check_state(player: SimulatedWallet, state: dict[str, Any], signature: bytes) -> None:
    """The operator signed what the owner signed."""
    assert state["wallet_signature"] == signature.hex()
    assert (state["tx_set_proof"], state["tx_set_index"]) == ([], 0)
    message = active_state_hash(
        player.contract,
        player.token,
        player.address,
        player.trail,
        1,
        bytes.fromhex(state["tx_set_hash"]),
        int(state["updated_spendings"]),
        int(state["updated_gains"]),
    )
    operator = Wallet.objects.filter(trail_identifier=0)[0].address
    assert is_valid(message, signature, player.address)
    assert is_valid(message, bytes.fromhex(state["operator_signature"]), operator)


def test_what_clients_leave_out_and_how_they_write_numbers(play: Play) -> None:
    alice = trader(play, 15 * 10**20)
    body = order_body(alice.place(15 * 10**20, 10**21, 5))
    del body["sell_order"]
    body |= {"amount": "1.5e+21", "amount_swapped": "1e+21", "eon_number": "1"}
    status, answer = http.post(URL, body)
    assert status == 201, answer
    assert (answer["amount"], answer["sell_order"]) == ("1500000000000000000000", True)


def test_an_order_to_buy(play: Play) -> None:
    alice = trader(play, 100)
    status, answer = send(alice.place(100, 200, sell=False))
    assert (status, answer["sell_order"]) == (201, False)


def test_the_answer_needs_few_queries(play: Play) -> None:
    """Those of the store; the receipt is made of what was written."""
    first, second = trader(play, 100), trader(play, 100)
    send(first.place(100, 200, 5))
    with CaptureQueriesContext(connection) as queries:
        assert send(second.place(100, 200, 5))[0] == 201
    selects = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert not [sql for sql in selects if '"ledger_transfer"' in sql or '"ledger_activestate"' in sql]
    assert len(queries) <= 25


def test_in_a_later_eon_with_a_history(play: Play) -> None:
    alice, bob = trader(play, 100), trader(play, 50)
    next_eon(play, alice, bob)
    payment = bob.debit.transfer(alice.debit.owner, 20)
    assert http.post("/transfer/", transfer(payment))[0] == 201
    order = alice.place(120, 300, 5)
    assert send(order)[0] == 201
    check_ledger()


def transfer(command: Any) -> Any:
    from operator_api.simulation.wallets import transfer_body

    return transfer_body(command)


# --- refusals, each in its shape and without a trace ------------------------------------------------------------


def refused(order: PlaceOrder | dict[str, Any]) -> tuple[int, Any]:
    before = row_counts(), account_rows()
    found = http.post(URL, order if isinstance(order, dict) else order_body(order))
    assert found[0] != 201
    assert (row_counts(), account_rows()) == before
    return found


def test_swaps_can_be_switched_off(play: Play, settings: Settings) -> None:
    settings.SWAPS_ENABLED = False
    assert http.object_code(refused(trader(play, 100).place(100, 1))) == "SWAPPING_DISABLED"


def test_lists_of_signatures(play: Play, settings: Settings) -> None:
    alice = trader(play, 100)
    body = order_body(alice.place(100, 200, 3))
    for name in LISTS:
        for changed in (body[name][:2], [*body[name], body[name][0]], []):
            found = refused(body | {name: changed})
            assert http.object_code(found) == "WRONG_NUMBER_OF_SIGNATURES"
    assert http.object_code(refused(body | {name: [] for name in LISTS})) == "WRONG_NUMBER_OF_SIGNATURES"
    many = body | {name: body[name] * 7 for name in LISTS}
    assert http.object_code(refused(many)) == "TOO_MANY_FUTURE_SIGNATURES"
    settings.SWAPS_PERSISTENCE_LIMIT = 2
    found = refused(body)
    assert http.object_code(found) == "TOO_MANY_FUTURE_SIGNATURES"
    assert "2" in found[1]["non_field_errors"][0]["message"]


def test_wallets_of_two_owners_or_one_token(play: Play) -> None:
    alice, bob = trader(play, 100), trader(play, 100)
    body = order_body(alice.place(100, 200))
    theirs = order_body(bob.place(100, 200))
    found = refused(body | {"recipient": theirs["recipient"]})
    assert http.object_code(found) == "DEBIT_CREDIT_WALLET_ADDRESS_MISMATCH"
    found = refused(body | {"recipient": body["wallet"]})
    assert http.object_code(found) == "DEBIT_CREDIT_TOKEN_ADDRESS_MATCH"


def test_pairs(play: Play) -> None:
    alice = trader(play, 100)
    order = alice.place(100, 200)
    wanted = TokenPair.objects.filter(token_from=play.tokens[0])
    wanted.update(paused=True)
    open_pairs.clear()
    assert http.code(refused(order)) == "TOKEN_PAIR_BLOCKED"
    wanted.delete()
    open_pairs.clear()
    assert http.code(refused(order)) == "TOKEN_PAIR_BLOCKED"
    other = trader(play, 100, sells=1)
    assert send(other.place(100, 200))[0] == 201  # the other direction


def test_a_pair_is_found_without_asking_each_time(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = (play.tokens[0].address, play.tokens[1].address)
    assert pair in open_pairs
    with CaptureQueriesContext(connection) as queries:
        assert pair in open_pairs
    assert not queries
    TokenPair.objects.update(paused=True)
    monkeypatch.setattr("swapper.selectors.time.monotonic", lambda: 10.0**12)
    assert pair not in open_pairs


def test_another_eon(play: Play) -> None:
    alice = trader(play, 100)
    good = alice.place(100, 200)
    for eon in (0, 2, 2**63 - 1):
        assert http.code(refused(replace(good, eon=eon))) == "EON_NUMBER_OUT_OF_SYNC"
    play.enter_next_eon()
    assert http.code(refused(good)) == "EON_NUMBER_OUT_OF_SYNC"
    alice.enter(2, 100, 0)
    found = refused(alice.place(100, 200))
    assert http.code(found) == "EON_NUMBER_OUT_OF_SYNC"
    assert "not closed" in found[1][0]["message"]


def test_wallets_that_an_order_holds(play: Play) -> None:
    alice = trader(play, 100)
    order = place(alice, 100, 200).order
    again = replace(alice.place(100, 200), nonce=order.nonce + 1)
    assert http.code(refused(again)) == "DEBIT_WALLET_CANNOT_ADD_TRANSACTION"
    back = Trader(alice.credit, alice.debit)
    found = refused(back.place(1, 1))
    assert http.code(found) == "DEBIT_WALLET_CANNOT_ADD_TRANSACTION"


def test_balances(play: Play) -> None:
    alice = trader(play, 100)
    assert http.code(refused(alice.place(101, 1))) == "DEBIT_WALLET_OVERSPENDING"
    found = refused(alice.place(99, 1))
    assert http.code(found) == "DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH"
    assert "100" in found[1][0]["message"]
    play.deposit(alice.credit, 1)
    assert http.code(refused(alice.place(100, 1))) == "CREDIT_WALLET_BALANCE_NOT_ZERO"


@pytest.mark.parametrize(
    ("name", "first", "later"),
    [
        ("debit_balance_signature", "INVALID_DEBIT_BALANCE_SIGNATURE", "INVALID_DEBIT_BALANCE_SIGNATURE"),
        ("credit_balance_signature", "INVALID_CREDIT_BALANCE_SIGNATURE", "INVALID_CREDIT_BALANCE_SIGNATURE"),
        ("debit_signature", "INVALID_DEBIT_SIGNATURE", "INVALID_FUTURE_DEBIT_SIGNATURE"),
        ("credit_signature", "INVALID_CREDIT_SIGNATURE", "INVALID_FUTURE_CREDIT_SIGNATURE"),
        (
            "credit_fulfillment_signature",
            "INVALID_CREDIT_FULFILLMENT_SIGNATURE",
            "INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE",
        ),
    ],
)
def test_signatures(play: Play, name: str, first: str, later: str) -> None:
    alice, bob = trader(play, 100), trader(play, 100)
    order = alice.place(100, 200, 2)
    body = order_body(order)
    theirs = order_body(replace(bob.place(100, 200, 2), nonce=order.nonce))
    for text in (theirs[name][0]["value"], "00" * 65, "ff" * 65, "zz" * 65, "0", "ab" * 64):
        found = refused(http.put(body, (name, 0, "value"), text))
        assert http.code(found) == first
    for text in ("zz" * 65, "0", "ab" * 64):
        found = refused(http.put(body, (name, 1, "value"), text))
        assert http.code(found) == later
    status, _ = http.post(URL, http.put(body, (name, 1), theirs[name][1]))
    assert status == 201  # whose it is, is found out later
    verify_orders()
    bad = TransferRow.objects.get(eon_number=2)
    assert (bad.voided, bad.void_reason) == (True, f"{later} for eon 2")


def test_the_first_bad_signature_is_the_one_that_is_named(play: Play) -> None:
    body = order_body(trader(play, 100).place(100, 200))
    order = [
        ("debit_balance_signature", "INVALID_DEBIT_BALANCE_SIGNATURE"),
        ("credit_balance_signature", "INVALID_CREDIT_BALANCE_SIGNATURE"),
        ("debit_signature", "INVALID_DEBIT_SIGNATURE"),
        ("credit_signature", "INVALID_CREDIT_SIGNATURE"),
        ("credit_fulfillment_signature", "INVALID_CREDIT_FULFILLMENT_SIGNATURE"),
    ]
    spoilt = body
    for name, code in reversed(order):
        spoilt = spoilt | {name: values((bytes(65),))}
        assert http.code(refused(spoilt)) == code
    assert http.code(refused(spoilt | {"eon_number": 2})) == "EON_NUMBER_OUT_OF_SYNC"
    wrong_funds = spoilt | {"amount": "101"}
    assert http.code(refused(wrong_funds)) == "DEBIT_WALLET_OVERSPENDING"


def test_a_repeated_request_and_a_used_nonce(play: Play) -> None:
    alice = trader(play, 100)
    order = alice.place(100, 200, 5)
    status, answer = send(order)
    assert status == 201
    assert http.object_code(refused(order)) == "unique"
    alice.accepted(order, uuid.UUID(answer["tx_id"]))
    stored = row(alice, 3)
    assert stored.nonce == order.nonce


def test_amounts(play: Play) -> None:
    body = order_body(trader(play, 100).place(100, 200))
    for name, zero, code in (
        ("amount", "INVALID_DEBIT_AMOUNT", "INVALID_DEBIT_AMOUNT"),
        ("amount_swapped", "min_value", "INVALID_CREDIT_AMOUNT"),
    ):
        assert http.field_code(refused(body | {name: "-1"}), name) == "min_value"
        for number in (0, "0", "0e5"):
            assert http.field_code(refused(body | {name: number}), name) == zero
        for number in (2**126, str(2**256 - 1), "1e+39"):
            assert http.field_code(refused(body | {name: number}), name) == code
        wrong: list[Any] = [2**256, "1.5", "x", "", True, [], {}]
        for value in wrong:
            assert http.field_code(refused(body | {name: value}), name) == "invalid"


def test_the_largest_amounts(play: Play) -> None:
    alice = trader(play, 2**126 - 1)
    status, answer = send(alice.place(2**126 - 1, 2**126 - 1, 3))
    assert (status, answer["amount"]) == (201, str(2**126 - 1))


@pytest.mark.parametrize(
    "field", ["wallet", "recipient", "amount", "amount_swapped", "nonce", "eon_number", *LISTS]
)
def test_every_field_is_needed(play: Play, field: str) -> None:
    body = order_body(trader(play, 100).place(100, 200))
    assert http.field_code(refused(http.drop(body, (field,))), field) == "required"
    assert http.field_code(refused(body | {field: None}), field) == "null"


def test_a_list_says_which_item_is_wrong(play: Play) -> None:
    body = order_body(trader(play, 100).place(100, 200, 3))
    for name in LISTS:
        for value in ({}, "x", {"value": "00" * 65}):
            found = refused(body | {name: value})
            assert http.field_code(found, name, "non_field_errors") == "not_a_list"
        status, answer = refused(http.put(body, (name, 1), {}))
        assert (status, list(answer)) == (400, [name])
        assert (answer[name][0], answer[name][2]) == ({}, {})
        assert answer[name][1]["value"][0]["code"] == "required"
        _, answer = refused(http.put(body, (name, 1), "x"))
        assert answer[name][1]["non_field_errors"][0]["code"] == "invalid"
        _, answer = refused(http.put(body, (name, 1, "value"), "00" * 66))
        assert answer[name][1]["value"][0]["code"] == "max_length"


def test_unknown_tokens_and_wallets(play: Play) -> None:
    body = order_body(trader(play, 100).place(100, 200))
    for side in ("wallet", "recipient"):
        unknown = http.put(body, (side, "token"), "11" * 20)
        assert http.field_code(refused(unknown), side) == "TOKEN_NOT_REGISTERED"
    unknown = http.put(body, ("recipient", "address"), "11" * 20)
    assert http.field_code(refused(unknown), "recipient") == "WALLET_NOT_ADMITTED"


def test_terms_must_be_signed(play: Play) -> None:
    alice = trader(play, 100)
    TOSSignature.objects.filter(address=alice.debit.address).delete()
    from tos import services as tos

    tos.clear()
    status, body = refused(alice.place(100, 200))
    assert (status, body["code"]) == (403, "INVALID_TOS_SIGNATURE")


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("CHAIN_HALTED", {"halted": True}),
        ("CHAIN_FORKED", {"forked": True}),
        ("CHAIN_BEHIND", {"node_block": 10**6}),
    ],
)
def test_while_the_chain_is_not_right(play: Play, reason: str, changes: dict[str, Any]) -> None:
    alice = trader(play, 100)
    ChainStatus.objects.update(**changes)
    found = refused(alice.place(100, 200))
    assert found == (400, [{"message": ErrorCode[reason].value, "code": reason}])


def test_before_the_chain_was_read(play: Play) -> None:
    alice = trader(play, 100)
    ChainStatus.objects.all().delete()
    status, body = send(alice.place(100, 200))
    assert (status, list(body)) == (503, ["detail"])


@pytest.mark.slow
def test_hostile_bodies_are_refused_in_a_documented_shape(play: Play) -> None:
    alice = trader(play, 100)
    good = order_body(alice.place(100, 200, 2))
    before = row_counts(), account_rows()
    for body in http.hostile(good):
        if not _means(body, good):
            http.check_refusal(http.post(URL, body))
    assert (row_counts(), account_rows()) == before
    assert http.post(URL, good)[0] == 201


def _means(body: Any, good: dict[str, Any]) -> bool:
    """Whether a body says the same: `sell_order` is true if it is missing."""
    return (
        isinstance(body, dict)
        and (body | {"sell_order": True}) == good
        and body.get("sell_order", True) is True
    )


def test_other_methods(play: Play) -> None:
    for method in ("get", "put", "patch", "delete"):
        assert getattr(http.client(), method)(URL).status_code == 405


def test_nothing_of_refused_orders_stays(play: Play) -> None:
    alice = trader(play, 100)
    refused(alice.place(101, 200, 5))
    play.next_eon()
    assert not ActiveState.objects.exists()
