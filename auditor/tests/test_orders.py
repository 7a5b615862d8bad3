"""Orders as the audit endpoints show them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from auditor import render, render_swaps, selectors, serializers, serializers_swaps
from auditor.tests.test_endpoints import get
from auditor.tests.test_shapes import assert_shape
from ledger import store
from ledger.models import Transfer, Wallet
from ledger.order_deliveries import order_deliveries
from ledger.orders import StoredOrder
from ledger.transaction_sets import order_of
from nocust.leaves import COMPLETE_START
from nocust.merkle import membership_root
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from operator_api.simulation.wallets import SimulatedWallet
from swapper.tests.market import fill, market, next_eon, place, row, trader

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    game = Play()
    market(game)
    return game


def end(one: Trader, *amounts: int) -> StoredOrder:
    """Its order frozen and cancelled after (out, in), or finalised after (in)."""
    commands = [one.freeze(), one.cancel(*amounts)] if len(amounts) == 2 else [one.finalize(*amounts)]
    stored = None
    for command in commands:
        (stored,) = store.execute([command])
    assert isinstance(stored, StoredOrder), stored
    return stored


def state(player: SimulatedWallet, eon: int) -> Any:
    return get(f"/audit/{eon}/0x{player.token.hex()}/{player.address.hex()}/")


def test_a_full_order_through_its_life(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=3)
    place(buyer, 60, 30, eons=2, sell=False)
    key = row(seller, 1).pk
    seen = get(f"/audit/transactions/{key}")
    assert_shape(seen, serializers.TransactionSerializer())
    names = ("processed", "complete", "voided", "cancelled", "appended", "swap", "passive", "sell_order")
    assert [seen[name] for name in names] == [False, False, False, False, True, True, False, True]
    assert (seen["amount"], seen["amount_swapped"], seen["position"]) == ("100", "200", None)
    assert (seen["sender_starting_balance"], seen["recipient_starting_balance"]) == ("100", "0")
    assert seen["recipient_fulfillment_active_state"]["operator_signature"] is None
    assert seen["recipient_active_state"]["operator_signature"] is not None
    assert seen["matched_amounts"] == {"matched_in": "0", "matched_out": "0"}
    fill(buyer, seller, 60, 30)
    assert get(f"/audit/transactions/{key}")["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
    bought = get(f"/audit/transactions/{row(buyer, 1).pk}")
    assert (bought["complete"], bought["sell_order"]) == (True, False)
    assert len(bought["recipient_fulfillment_active_state"]["operator_signature"]) == 130
    end(buyer, 30)
    bought = get(f"/audit/transactions/{row(buyer, 1).pk}")
    assert bought["recipient_finalization_active_state"]["updated_gains"] == "60"
    assert get(f"/audit/transactions/{row(buyer, 2).pk}")["voided"] is True
    end(seller, 30, 60)
    seen = get(f"/audit/transactions/{key}")
    assert_shape(seen, serializers.TransactionSerializer())
    assert (seen["processed"], seen["cancelled"]) == (True, True)
    assert len(seen["swap_freezing_signature"]) == 130
    assert seen["sender_cancellation_active_state"]["updated_gains"] == "70"
    assert seen["recipient_cancellation_active_state"]["updated_gains"] == "260"
    assert seen["sender_finalization_active_state"] is None


def test_the_receipt_in_memory_is_the_one_of_the_row(play: Play) -> None:
    seller = trader(play, 100)
    stored = place(seller, 100, 200, eons=2)
    receipt = render_swaps.order_receipt_of(stored)
    assert_shape(receipt, serializers_swaps.SwapReceiptSerializer())
    names = ("sender_active_state", "recipient_active_state", "recipient_fulfillment_active_state")
    assert render_swaps.order_receipt(selectors.orders(*names).get(pk=stored.order.row)) == receipt
    assert orjson.loads(orjson.dumps(receipt)) == receipt


def test_wallet_states_list_what_is_in_the_sets(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=3)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    for eon, expected in ((1, [row(seller, 1).pk]), (2, [])):
        for player in (seller.debit, seller.credit):
            assert [item["id"] for item in state(player, eon)["transactions"]] == expected
    next_eon(play, seller)
    for player in (seller.debit, seller.credit):
        found = state(player, 2)
        assert_shape(found, serializers.WalletStateSerializer())
        (order,) = found["transactions"]
        assert order["id"] == row(seller, 2).pk
        assert order["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
        assert len(order["sender_active_state"]["operator_signature"]) == 130
        assert state(player, 3)["transactions"] == []
    before = state(seller.debit, 1)["transactions"][0]
    assert before["matched_amounts"] == {"matched_in": "60", "matched_out": "30"}
    assert before["processed"] is True


def test_the_number_of_queries_does_not_grow(play: Play) -> None:
    def count(traders: int) -> int:
        wallets = []
        for _ in range(traders):
            one = trader(play, 10)
            place(one, 10, 10)
            wallets.append(one.debit.wallet_id)
        rows = list(Wallet.objects.filter(pk__in=wallets).select_related("token"))
        with CaptureQueriesContext(connection) as queries:
            for history in selectors.wallet_histories(rows, 1).values():
                assert render.wallet_state(history)["transactions"][0]["swap"]
        return len(queries)

    count(1)  # the connection prepares the statements
    assert count(1) == count(7)


def test_lists(play: Play) -> None:
    seller, buyer = trader(play, 100), trader(play, 60, sells=1)
    place(seller, 100, 200, eons=20)
    place(buyer, 60, 30)
    fill(buyer, seller, 60, 30)
    (alice,) = play.register(1)
    play.deposit(alice, 1)
    play.pay(alice, play.register(1)[0], 1)
    page = get("/audit/transactions/", tx_id=str(seller.tx_id))
    assert page["count"] == len(page["results"]) == 20
    assert_shape(page, serializers.TransactionPageSerializer())
    assert [item["eon_number"] for item in page["results"]] == list(range(1, 21))
    assert {item["amount_swapped"] for item in page["results"]} == {"200"}
    assert len(get("/audit/transactions/", tx_id=str(seller.tx_id), limit=3)["results"]) == 3
    assert get("/audit/transactions/", swap="true")["count"] == 21
    (transfer,) = get("/audit/transactions/", swap="false")["results"]
    assert transfer["amount_swapped"] is None
    (done,) = get("/audit/transactions/", swap="true", complete="true")["results"]
    assert done["tx_id"] == str(buyer.tx_id)
    search = seller.debit.address.hex()
    mine = get("/audit/transactions/", search=search, swap="true", ordering="-time", limit=1000)
    assert mine["count"] == 20
    end(seller, 30, 60)
    assert get("/audit/transactions/", voided="true")["count"] == 19
    assert get("/audit/transactions/", cancelled="true", voided="false")["count"] == 1
    ordered = get("/audit/transactions/", ordering="-amount_swapped", limit=50)["results"]
    assert [item["amount_swapped"] for item in ordered if item["swap"]] == ["200"] * 20 + ["30"]


def test_all_rows_of_an_order_have_their_full_form(play: Play) -> None:
    seller = trader(play, 100)
    place(seller, 100, 200, eons=3)
    for item in Transfer.objects.filter(swap=True):
        seen = get(f"/audit/transactions/{item.pk}")
        assert_shape(seen, serializers.TransactionSerializer())
        assert seen["appended"] is (item.eon_number == 1)


def test_the_deliveries_of_orders_are_proven(play: Play) -> None:
    """In whichever way an order ends: its leaf is in the set that the next checkpoint commits to."""
    filled, cancelled, kept = (trader(play, 100) for _ in range(3))
    buyer = trader(play, 150, sells=1)
    rows = [place(one, 100, 100, eons=3).order.row for one in (filled, cancelled, kept)]
    rows.append(place(buyer, 150, 150).order.row)
    fill(buyer, filled, 100, 100)
    fill(buyer, cancelled, 30, 30)
    end(filled, 100)
    end(cancelled, 30, 30)
    assert [get(f"/audit/transactions/{row_id}")["delivery_proof"] for row_id in rows] == [None] * 4
    play.next_eon()
    starts = {rows[0]: COMPLETE_START, rows[1]: COMPLETE_START, rows[2]: 0, rows[3]: 0}
    for row_id, start in starts.items():
        seen = get(f"/audit/transactions/{row_id}")
        assert_shape(seen, serializers.TransactionSerializer())
        proof = seen["delivery_proof"]
        assert proof["transfer_membership_values"] is None
        committed = proof["merkle_proof"]
        assert (committed["eon_number"], committed["trail"]) == (2, seen["recipient"]["trail_identifier"])
        order = Transfer.objects.select_related("wallet__token", "recipient__token").get(pk=row_id)
        chain = [bytes.fromhex(text.removeprefix("0x")) for text in proof["transfer_membership_chain"]]
        root = membership_root(proof["transfer_membership_trail"], chain, order_of(order).leaf(start))
        assert root.hex() == committed["active_state"]["tx_set_hash"].removeprefix("0x")
    (sent,) = state(filled.debit, 1)["transactions"]
    (received,) = state(filled.credit, 1)["transactions"]
    assert sent["delivery_proof"] == get(f"/audit/transactions/{rows[0]}")["delivery_proof"]
    assert received["delivery_proof"] == {**sent["delivery_proof"], "merkle_proof": None}


def test_the_deliveries_of_many_orders_cost_as_many_queries(play: Play) -> None:
    traders = [trader(play, 100) for _ in range(6)]
    for one in traders:
        place(one, 100, 100)
    play.next_eon()
    rows = list(Transfer.objects.filter(swap=True, eon_number=1))
    costs = []
    for count in (1, len(rows)):
        with CaptureQueriesContext(connection) as queries:
            assert len(order_deliveries(rows[:count])) == count
        costs.append(len(queries))
    assert costs[1] <= costs[0] <= 8
