"""Requests of the same wallets at the same moment: real threads, connections and HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from django.db import transaction

from ledger import store
from ledger.accounts_sql import lock_wallets
from ledger.engine import Fill
from ledger.group_commit import GroupCommitter
from ledger.models import RootCommitment, Transfer
from ledger.orders import StoredOrder
from ledger.sql import fetch
from ledger.tests import http
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.racing import Running, race, until, waiting_for_a_lock
from ledger.verification import verify_orders
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader, order_body
from operator_api.simulation.wallets import transfer_body
from swapper.tests.market import market, place, row, trader
from swapper.tests.test_ending_endpoints import cancellation, finalization, freezing, put

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def play() -> Play:
    game = Play()
    market(game)
    return game


def post(path: str, body: Any) -> tuple[int, Any]:
    response = http.client().post(path, data=json.dumps(body).encode(), content_type="application/json")
    return response.status_code, json.loads(response.content)


def name(found: tuple[int, Any]) -> str:
    """The status, or the code of a refusal."""
    status, body = found
    if status != 400:
        return str(status)
    errors = body if isinstance(body, list) else body["non_field_errors"]
    return str(errors[0]["code"])


def test_one_of_many_orders_of_the_same_wallets(play: Play) -> None:
    for _ in range(6):
        one = trader(play, 100)
        bodies = [order_body(one.place(100, wanted, 2)) for wanted in range(1, 9)]
        codes = Counter(name(found) for found in race([partial(post, "/swap/", body) for body in bodies]))
        assert codes == {"201": 1, "DEBIT_WALLET_CANNOT_ADD_TRANSACTION": 7}
        assert Transfer.objects.filter(wallet_id=one.debit.wallet_id).count() == 2
    check_ledger()


def test_the_same_order_many_times(play: Play) -> None:
    one = trader(play, 100)
    body = order_body(one.place(100, 50, 20))
    codes = Counter(name(found) for found in race([partial(post, "/swap/", body)] * 8))
    assert codes == {"201": 1, "unique": 7}
    assert Transfer.objects.filter(swap=True).count() == 20
    check_ledger()


def test_an_order_and_transfers(play: Play) -> None:
    """Whatever comes first, what is signed for another history is refused."""
    wins = Counter[str]()
    for _ in range(8):
        one, other = trader(play, 100), trader(play, 100)
        actions: list[Callable[[], Any]] = [
            partial(post, "/swap/", order_body(one.place(100, 50))),
            partial(post, "/transfer/", transfer_body(one.debit.transfer(other.debit.owner, 30))),
            partial(post, "/transfer/", transfer_body(other.debit.transfer(one.debit.owner, 1))),
        ]
        Random(len(wins)).shuffle(actions)
        order, payment, received = (name(actions_result) for actions_result in _in_order(actions))
        assert order in {"201", "DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH", "DEBIT_WALLET_OVERSPENDING"}
        if order == "201":
            assert {payment, received} == {
                "DEBIT_WALLET_CANNOT_ADD_TRANSACTION",
                "CREDIT_WALLET_CANNOT_ADD_TRANSACTION",
            }
        else:
            assert "201" in {payment, received}
        wins[order] += 1
    check_ledger()


def _in_order(actions: list[Callable[[], Any]]) -> list[tuple[int, Any]]:
    """The outcomes of an order, a payment and a receipt, whichever way they were started."""
    found = dict(zip(map(_kind, actions), race(actions), strict=True))
    return [found[kind] for kind in sorted(found)]


def _kind(action: Any) -> int:
    path, body = action.args
    return 0 if path == "/swap/" else 1 if body["amount"] == "30" else 2


def test_closing_once(play: Play) -> None:
    for _ in range(5):
        seller, buyer = trader(play, 100), trader(play, 60, sells=1)
        place(seller, 100, 200, 3)
        place(buyer, 60, 30, 3)
        _match(buyer, seller)
        key, other = row(seller, 1).pk, row(buyer, 1).pk
        frozen, cancelled = freezing(seller.freeze()), cancellation(seller.cancel(30, 60))
        done = finalization(buyer.finalize(30))
        codes = Counter(name(item) for item in race([partial(put, f"/swap/{key}/freeze", frozen)] * 4))
        assert codes == {"200": 1, "SWAP_ALREADY_FROZEN": 3}
        found = race(
            [partial(put, f"/swap/{key}/cancel", cancelled)] * 3
            + [partial(put, f"/swap/{other}/finalize", done)] * 3
        )
        for part in (found[:3], found[3:]):
            assert Counter(map(name, part)) == {"200": 1, "SWAP_ALREADY_CLOSED": 2}
    check_ledger()


def _match(taker: Trader, maker: Trader) -> Any:
    owners = tuple(wallet.owner for one in (taker, maker) for wallet in (one.debit, one.credit))
    return GroupCommitter().submit(Fill(taker.tx_id, maker.tx_id, 60, 30, owners))


def test_freezing_against_the_matching(play: Play) -> None:
    """The answer to a freezing says what was matched before, and nothing is matched after."""
    seen = set()
    for _ in range(10):
        seller, buyer = trader(play, 100), trader(play, 60, sells=1)
        place(seller, 100, 200, 2)
        place(buyer, 60, 30, 2)
        key = row(seller, 1).pk
        frozen = freezing(seller.freeze())
        (status, body), matched = race(
            [partial(put, f"/swap/{key}/freeze", frozen), partial(_match, buyer, seller)]
        )
        assert status == 200, body
        out = 30 if isinstance(matched, StoredOrder) else 0
        assert body["matched_amounts"] == {"matched_in": str(2 * out), "matched_out": str(out)}
        assert row(seller, 1).matched_out == out
        ended = put(f"/swap/{key}/cancel", cancellation(seller.cancel(out, 2 * out)))
        assert ended[0] == 200, ended
        seen.add(out)
    verify_orders()
    check_ledger()
    play.next_eon()
    check_checkpoint(2)


def test_orders_and_their_ends_while_the_eon_changes(play: Play) -> None:
    """Each request is answered for one eon or the other, and the ledger adds up."""
    made = [trader(play, 100) for _ in range(12)]
    for one in made[:6]:
        place(one, 100, 200, 3)
    ends = [partial(put, f"/swap/{row(one, 1).pk}/freeze", freezing(one.freeze())) for one in made[:6]]
    new = [partial(post, "/swap/", order_body(one.place(100, 200, 3))) for one in made[6:]]
    *found, checkpoint = race([*ends, *new, play.next_eon])
    assert isinstance(checkpoint, RootCommitment), checkpoint
    allowed = {"200", "201", "EON_NUMBER_OUT_OF_SYNC", "SWAP_ALREADY_VOIDED", "SWAP_ALREADY_FROZEN"}
    assert {name(item) for item in found} <= allowed, found
    check_ledger()
    check_checkpoint(2)
    play.next_eon()
    check_ledger()
    check_checkpoint(3)


def _somebody_waits() -> bool:
    """Whether a session waits for a lock, asked in a transaction, where PostgreSQL repeats what it said before."""
    fetch("SELECT pg_stat_clear_snapshot()")
    return waiting_for_a_lock()


def test_a_checkpoint_waits_for_who_ends_an_order_and_not_the_other_way(play: Play) -> None:
    """Both take wallets before rows of orders; otherwise each of them would wait for the other."""
    one = trader(play, 100)
    place(one, 100, 200, 3)
    command = one.freeze()
    play.enter_next_eon()
    with transaction.atomic():
        lock_wallets(sorted(owner.wallet for owner in command.owners))
        checkpoint = Running(play.close_eon)
        until(_somebody_waits)
        (frozen,) = store.run([command])
    assert isinstance(frozen, StoredOrder)
    assert isinstance(checkpoint.outcome(), RootCommitment)
    assert row(one, 2).void_reason == "it was frozen"
    check_ledger()
    check_checkpoint(2)
