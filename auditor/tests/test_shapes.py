"""What is rendered has exactly the documented keys, with the documented kinds of values."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from rest_framework import serializers as drf

from auditor import render, selectors, serializers
from ledger.deliveries import deliveries
from ledger.models import Token, Wallet, Withdrawal
from ledger.store import StoredTransfer, chain_status
from ledger.transfer_rows import confirmed
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db


def assert_shape(value: Any, field: Any, path: str = "") -> None:
    """`value` has exactly the fields that the serializer declares, in its order, of their kinds."""
    if value is None:
        assert field.allow_null, path
    elif isinstance(field, drf.ListSerializer | drf.ListField):
        assert isinstance(value, list), path
        for item in value:
            assert_shape(item, field.child, f"{path}[]")
    elif isinstance(field, drf.Serializer):
        assert set(value) == set(field.fields), path
        for name, inner in field.fields.items():
            assert_shape(value[name], inner, f"{path}.{name}")
    elif isinstance(field, drf.IntegerField):
        assert type(value) is int, path
    elif isinstance(field, drf.BooleanField):
        assert type(value) is bool, path
    else:
        assert type(value) is str, path
        if isinstance(field, serializers.AmountText):
            assert re.fullmatch("0|[1-9][0-9]*", value), path


@pytest.fixture
def play() -> Play:
    return Play()


def _history(wallet_id: int, eon: int) -> selectors.WalletHistory:
    return selectors.wallet_history(Wallet.objects.select_related("token").get(pk=wallet_id), eon)


def test_wallet_states(play: Play) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 10**30)
    play.pay(alice, bob, 10**25)
    play.pay(bob, alice, 5)
    play.next_eon()
    request = play.request_withdrawal(alice, 7)
    Withdrawal.objects.create(
        wallet_id=alice.wallet_id,
        request=request,
        txid=bytes(32),
        log_index=3,
        block=4,
        eon_number=2,
        amount=7,
        time=request.time,
    )
    for eon in (1, 2):
        for player in (alice, bob):
            state = render.wallet_state(_history(player.wallet_id, eon))
            assert_shape(state, serializers.WalletStateSerializer())
            assert orjson.loads(orjson.dumps(state)) == state
    state = render.wallet_state(_history(alice.wallet_id, 2))
    assert state["withdrawals"][0]["request"] == state["withdrawal_requests"][0]
    assert state["withdrawal_requests"][0]["slashed"] is False
    first = render.wallet_state(_history(alice.wallet_id, 1))
    assert first["transactions"][0]["amount"] == "1" + "0" * 25
    assert [row["delivery_proof"]["merkle_proof"] is None for row in first["transactions"]] == [False, True]


def test_transactions_status_tokens_and_registrations(play: Play) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    play.pay(alice, bob, 10)
    play.next_eon()
    row = selectors.full_transfers().get()
    full = render.transaction(row, deliveries([row])[row.pk])
    assert_shape(full, serializers.TransactionSerializer())
    assert full["delivery_proof"]["transfer_membership_values"] == []
    assert_shape(render.concise_transaction(row), serializers.ConciseTransactionSerializer())
    assert_shape(render.token(Token.objects.get()), serializers.TokenSerializer())
    assert_shape(render.status(chain_status()), serializers.StatusSerializer())
    assert_shape(render.positions(chain_status()), serializers.PositionsSerializer())
    assert_shape(render.admission(row.wallet), serializers.AdmissionSerializer())


def test_the_receipt_in_memory_is_the_one_of_the_row(play: Play) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    for amount in (1, 2, 3):
        stored = play.pay(alice, bob, amount)
        assert isinstance(stored, StoredTransfer)
        receipt = render.receipt_of(stored)
        assert_shape(receipt, serializers.TransferReceiptSerializer())
        assert render.receipt_told(confirmed([stored.id])[stored.id]) == receipt
    assert len(receipt["sender_active_state"]["tx_set_proof"]) == 2
    assert not receipt["sender_active_state"]["tx_set_hash"].startswith("0x")


def test_every_documented_shape_has_a_name_of_its_own() -> None:
    classes = [
        item
        for item in vars(serializers).values()
        if isinstance(item, type) and issubclass(item, drf.Serializer) and item is not drf.Serializer
    ]
    names = [item.Meta.ref_name for item in classes]  # type: ignore[attr-defined]  # declared by each
    assert len(names) == len(set(names)) > 15
