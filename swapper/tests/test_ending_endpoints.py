"""PUT /swap/{id}/freeze, cancel and finalize as the outside sees them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from auditor import render_swaps, selectors, serializers_swaps
from auditor.tests.test_shapes import assert_shape
from ledger.engine import CancelOrder, FinalizeOrder, FreezeOrder
from ledger.models import ChainStatus, Transfer
from ledger.tests import http
from ledger.tests.checks import account_rows, check_ledger, row_counts
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from swapper.tests.market import fill, market, next_eon, place, row, trader, values

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    game = Play()
    market(game)
    return game


def put(path: str, body: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.client().put(path, data=data, content_type="application/json")
    return response.status_code, json.loads(response.content)


def freeze(row_id: int | str, command: FreezeOrder) -> tuple[int, Any]:
    return put(f"/swap/{row_id}/freeze", freezing(command))


def freezing(command: FreezeOrder) -> Any:
    return {"freezing_signature": {"value": command.signature.hex()}}


def cancel(row_id: int | str, command: CancelOrder) -> tuple[int, Any]:
    return put(f"/swap/{row_id}/cancel", cancellation(command))


def cancellation(command: CancelOrder) -> Any:
    return {
        "sender_cancellation_signature": values(command.debit_signatures),
        "recipient_cancellation_signature": values(command.credit_signatures),
    }


def finalize(row_id: int | str, command: FinalizeOrder) -> tuple[int, Any]:
    return put(f"/swap/{row_id}/finalize", finalization(command))


def finalization(command: FinalizeOrder) -> Any:
    return {"finalization_signature": values(command.signatures)}


def refused(found: tuple[int, Any], before: Any) -> str:
    assert before == (row_counts(), account_rows(), list(Transfer.objects.order_by("id").values()))
    return http.code(found)


def everything() -> Any:
    return row_counts(), account_rows(), list(Transfer.objects.order_by("id").values())


def filled(play: Play, eons: int = 5) -> tuple[Trader, Trader]:
    """A seller of 100 for 200 with a third of it sold, and the buyer that is satisfied."""
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons)
    place(buyer, 60, 30, eons)
    fill(buyer, seller, 60, 30)
    return seller, buyer


@pytest.mark.parametrize("slash", ["", "/"])
def test_freeze_then_cancel(play: Play, slash: str) -> None:
    seller, _ = filled(play)
    stored = row(seller, 1)
    status, body = put(f"/swap/{stored.pk}/freeze{slash}", freezing(seller.freeze()))
    assert status == 200
    assert body == {
        "id": stored.pk,
        "tx_id": str(stored.tx_id),
        "matched_amounts": {"matched_in": "60", "matched_out": "30"},
    }
    assert_shape(body, serializers_swaps.SwapFreezeSerializer())
    command = seller.cancel(30, 60)
    status, body = put(f"/swap/{stored.pk}/cancel{slash}", cancellation(command))
    assert status == 200
    assert_shape(body, serializers_swaps.SwapCancellationSerializer())
    states = ("sender_cancellation_active_state", "recipient_cancellation_active_state")
    assert body == render_swaps.order_cancellation(selectors.orders(*states).get(pk=stored.pk))
    debit, credit = (body[name] for name in states)
    assert (debit["updated_spendings"], debit["updated_gains"]) == ("100", "70")
    assert (credit["updated_spendings"], credit["updated_gains"]) == ("200", "260")
    assert debit["wallet_signature"] == command.debit_signatures[0].hex()
    assert len(debit["operator_signature"]) == len(credit["operator_signature"]) == 130
    check_ledger()


@pytest.mark.parametrize("slash", ["", "/"])
def test_finalize(play: Play, slash: str) -> None:
    _, buyer = filled(play)
    stored = row(buyer, 1)
    command = buyer.finalize(30)
    status, body = put(f"/swap/{stored.pk}/finalize{slash}", finalization(command))
    assert status == 200
    assert_shape(body, serializers_swaps.SwapFinalizationSerializer())
    found = selectors.orders("recipient_finalization_active_state").get(pk=stored.pk)
    assert body == render_swaps.order_finalization(found)
    state = body["recipient_finalization_active_state"]
    assert (state["updated_spendings"], state["updated_gains"]) == ("30", "60")
    check_ledger()


def test_any_row_names_the_order_and_the_answer_names_the_current_one(play: Play) -> None:
    seller, buyer = filled(play)
    next_eon(play, seller, buyer)
    late = trader(play, 80, sells=1)
    place(late, 80, 40)
    fill(late, seller, 80, 40)
    rows = {eon: row(seller, eon).pk for eon in range(1, 6)}
    status, body = freeze(rows[1], seller.freeze())
    assert (status, body["id"]) == (200, rows[2])
    assert body["matched_amounts"] == {"matched_in": "140", "matched_out": "70"}
    status, body = cancel(rows[5], seller.cancel(40, 80))
    assert (status, body["id"]) == (200, rows[2])
    assert body["tx_id"] == str(seller.tx_id)
    status, body = finalize(row(late, 2).pk, late.finalize(40))
    assert (status, body["id"]) == (200, row(late, 2).pk)
    check_ledger()


def test_repeated_requests(play: Play) -> None:
    seller, buyer = filled(play)
    key, frozen, cancelled = row(seller, 1).pk, seller.freeze(), seller.cancel(30, 60)
    assert freeze(key, frozen)[0] == 200
    assert refused(freeze(key, frozen), everything()) == "SWAP_ALREADY_FROZEN"
    assert cancel(key, cancelled)[0] == 200
    assert refused(cancel(key, cancelled), everything()) == "SWAP_ALREADY_CLOSED"
    other, done = row(buyer, 1).pk, buyer.finalize(30)
    assert finalize(other, done)[0] == 200
    assert refused(finalize(other, done), everything()) == "SWAP_ALREADY_CLOSED"


def test_at_the_wrong_moment(play: Play) -> None:
    seller, buyer = filled(play)
    key, other = row(seller, 1).pk, row(buyer, 1).pk
    before = everything()
    assert refused(cancel(key, seller.cancel(30, 60)), before) == "SWAP_NOT_FROZEN"
    assert refused(finalize(key, seller.finalize(60)), before) == "SWAP_NOT_FULFILLED"
    assert refused(freeze(other, buyer.freeze()), before) == "SWAP_ALREADY_FULFILLED"
    assert refused(cancel(other, buyer.cancel(60, 30)), before) == "SWAP_NOT_FROZEN"


def test_signatures_of_something_else(play: Play) -> None:
    seller, buyer = filled(play, 3)
    key, other = row(seller, 1).pk, row(buyer, 1).pk
    before = everything()
    for signature in (bytes(65), buyer.freeze().signature, b"\x01"):
        found = freeze(key, replace(seller.freeze(), signature=signature))
        assert refused(found, before) == "INVALID_FREEZING_SIGNATURE"
    good = buyer.finalize(30)
    assert refused(finalize(other, buyer.finalize(29)), before) == "INVALID_CREDIT_SIGNATURE"
    later = (*good.signatures[:2], good.signatures[0])
    found = finalize(other, replace(good, signatures=later))
    assert refused(found, before) == "INVALID_FUTURE_CREDIT_SIGNATURE"
    for wrong in (good.signatures[:2], (), (*good.signatures, bytes(65))):
        found = finalize(other, replace(good, signatures=wrong))
        assert refused(found, before) == "WRONG_NUMBER_OF_CREDIT_SIGNATURES"
    assert freeze(key, seller.freeze())[0] == 200
    before = everything()
    ending = seller.cancel(30, 60)
    for name, codes in (
        ("debit_signatures", ("INVALID_DEBIT_SIGNATURE", "INVALID_FUTURE_DEBIT_SIGNATURE")),
        ("credit_signatures", ("INVALID_CREDIT_SIGNATURE", "INVALID_FUTURE_CREDIT_SIGNATURE")),
    ):
        signatures = getattr(ending, name)
        for place_, code in ((0, codes[0]), (1, codes[1]), (2, codes[1])):
            spoilt = (*signatures[:place_], bytes(65), *signatures[place_ + 1 :])
            changes: dict[str, Any] = {name: spoilt}
            assert refused(cancel(key, replace(ending, **changes)), before) == code
    changes = {"debit_signatures": ending.debit_signatures[:2]}
    assert refused(cancel(key, replace(ending, **changes)), before) == "WRONG_NUMBER_OF_DEBIT_SIGNATURES"
    changes = {"credit_signatures": ()}
    assert refused(cancel(key, replace(ending, **changes)), before) == "WRONG_NUMBER_OF_CREDIT_SIGNATURES"
    assert cancel(key, ending)[0] == 200


def test_orders_that_are_over(play: Play) -> None:
    seller, buyer = filled(play, 1)
    key, other = row(seller, 1).pk, row(buyer, 1).pk
    frozen, done = seller.freeze(), buyer.finalize(30)
    next_eon(play)
    for found in (freeze(key, frozen), finalize(other, done)):
        assert http.code(found) == "SWAP_ALREADY_CLOSED"
        assert "over" in found[1][0]["message"]


def test_a_void_order_says_why(play: Play) -> None:
    seller = trader(play, 100)
    order = seller.place(100, 200, 3)
    from ledger import store
    from ledger.verification import verify_orders

    bad = replace(order, credit_signatures=(order.credit_signatures[0],) * 3)
    (stored,) = store.execute([bad])
    seller.accepted(bad, stored.order.tx_id)  # type: ignore[union-attr]
    verify_orders()
    next_eon(play, seller)
    code, message = _error(freeze(row(seller, 1).pk, seller.freeze()))
    assert code == "SWAP_ALREADY_VOIDED"
    assert "INVALID_FUTURE_CREDIT_SIGNATURE" in message


def _error(found: tuple[int, Any]) -> tuple[str, str]:
    assert found[0] == 400
    return found[1][0]["code"], found[1][0]["message"]


@pytest.mark.parametrize("action", ["freeze", "cancel", "finalize"])
def test_what_is_no_order(play: Play, action: str) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 5)
    payment = play.pay(alice, bob, 5)
    for key in (0, 10**9, 2**63, 10**30, "9" * 1000, payment.id):  # type: ignore[union-attr]
        status, body = put(f"/swap/{key}/{action}", {})
        assert (status, body) == (404, {"detail": "There is no such order."})
    assert http.client().put(f"/swap/-1/{action}").status_code == 404
    assert http.client().put(f"/swap/1/{action}XYZ").status_code == 404


def test_between_an_eon_and_its_checkpoint(play: Play) -> None:
    """Nothing can be signed then; an order frozen then ends with the checkpoint, which frees its wallets."""
    seller, buyer = filled(play)
    frozen, done = seller.freeze(), buyer.finalize(30)
    play.enter_next_eon()
    assert http.code(finalize(row(buyer, 1).pk, done)) == "SWAP_NOT_FULFILLED"
    status, body = freeze(row(seller, 1).pk, frozen)
    assert (status, body["id"]) == (200, row(seller, 2).pk)
    seller.enter(2, 70, 60)
    ending = seller.cancel(0, 0)
    assert http.code(cancel(row(seller, 1).pk, ending)) == "EON_NUMBER_OUT_OF_SYNC"
    play.close_eon()
    found = cancel(row(seller, 1).pk, ending)
    assert found == (400, [{"code": "SWAP_ALREADY_CLOSED", "message": "it was frozen"}])
    check_ledger()


@pytest.mark.parametrize(("reason", "changes"), [("CHAIN_HALTED", {"halted": True})])
def test_while_the_chain_is_not_right(play: Play, reason: str, changes: dict[str, Any]) -> None:
    seller, _ = filled(play)
    ChainStatus.objects.update(**changes)
    assert http.code(freeze(row(seller, 1).pk, seller.freeze())) == reason


@pytest.mark.slow
def test_hostile_bodies(play: Play) -> None:
    seller, buyer = filled(play, 2)
    key, other = row(seller, 1).pk, row(buyer, 1).pk
    before = everything()
    for path, body in (
        (f"/swap/{key}/freeze", freezing(seller.freeze())),
        (f"/swap/{key}/cancel", cancellation(seller.cancel(30, 60))),
        (f"/swap/{other}/finalize", finalization(buyer.finalize(30))),
    ):
        for hostile in http.hostile(body):
            http.check_refusal(put(path, hostile))
    assert everything() == before


@pytest.mark.parametrize("action", ["freeze", "cancel", "finalize"])
def test_only_put(play: Play, action: str) -> None:
    for method in ("get", "post", "patch", "delete"):
        assert getattr(http.client(), method)(f"/swap/1/{action}").status_code == 405


def test_someone_elses_order(play: Play) -> None:
    seller, buyer = filled(play)
    command = replace(seller.freeze(), order=UUID(int=1))
    found = freeze(row(buyer, 1).pk, command)
    assert http.code(found) == "SWAP_ALREADY_FULFILLED"
    stranger = trader(play, 100)
    place(stranger, 100, 200)
    found = freeze(row(stranger, 1).pk, command)
    assert http.code(found) == "INVALID_FREEZING_SIGNATURE"
