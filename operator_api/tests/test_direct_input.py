"""Reading a regular body gives what the serializers give, or leaves it to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from ledger import directory
from ledger.engine import PlaceOrder, Transfer
from ledger.tests import http
from ledger.tests.test_store import funded
from operator_api import plain_input
from operator_api.plain_input import IRREGULAR
from operator_api.simulation.play import Play
from operator_api.simulation.traders import order_body
from operator_api.simulation.wallets import transfer_body
from swapper import direct as orders
from swapper.serializers import read_order
from swapper.tests.market import market, trader
from tos import services as terms
from transactor import direct as transfers
from transactor.serializers import read_transfer

pytestmark = pytest.mark.django_db
Reading = tuple[Callable[[Any], Any], Callable[[Any], Any], Any]

NUMBERS = st.integers(-(2**70), 2**260)
VALUES = st.one_of(
    NUMBERS,
    NUMBERS.map(str),
    NUMBERS.map("0{}".format),
    NUMBERS.map(" {} ".format),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text(max_size=140),
    st.binary(min_size=20, max_size=20).map(bytes.hex),
    st.binary(min_size=65, max_size=65).map(bytes.hex),
    st.sampled_from(http.HOSTILE),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.sampled_from(["value", "address", "token"]), st.text(max_size=3), max_size=3),
)


@pytest.fixture(params=["transfer", "order", "order of 3 eons"])
def reading(request: pytest.FixtureRequest) -> Reading:
    """The direct and the general way to read a good body, and the body."""
    play = Play()
    if request.param == "transfer":
        alice, bob = funded(play, 2)
        return transfers.read, read_transfer, transfer_body(alice.transfer(bob.owner, 10, marker=5))
    market(play)
    eons = 3 if "3" in request.param else 1
    return orders.read, read_order, order_body(trader(play, 100).place(100, 7, eons))


def agrees(reading: Reading, body: Any) -> bool:
    """Whether the direct way reads the body; if it does, then as the general one."""
    direct, general, _ = reading
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        found: Transfer | PlaceOrder = direct(orjson.loads(text))
    except IRREGULAR:
        return False
    assert found == general(json.loads(text))
    return True


def test_a_good_body_is_read(reading: Reading) -> None:
    assert agrees(reading, reading[2])


def test_reading_asks_the_database_nothing_about_those_that_were_met(
    reading: Reading, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert agrees(reading, reading[2])  # the open pairs are remembered on their own
    directory.clear()
    terms.clear()
    plain_input.meet([None, [], {"wallet": {"address": 7}}, reading[2]])
    with django_assert_num_queries(0):
        reading[0](reading[2])


def test_what_no_field_takes_is_left_to_the_general_way(reading: Reading) -> None:
    taken = [agrees(reading, body) for body in http.hostile(reading[2])]
    # Some large numbers are fields' proper values, and an order need not say whether it sells.
    assert sum(taken) <= 16 < len(taken)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bodies_are_read_alike(reading: Reading, data: st.DataObject) -> None:
    body = reading[2]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(http.paths(body))))
        body = http.put(body, place, data.draw(VALUES))
    agrees(reading, body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 2**256 - 1), form=st.sampled_from(["{}", "0{}", " {}", "{}.0", "{}e0", "+{}"]))
def test_numbers_are_read_alike_in_every_form(reading: Reading, number: int, form: str) -> None:
    for name in ("amount", "nonce"):
        agrees(reading, {**reading[2], name: number})
        agrees(reading, {**reading[2], name: form.format(number)})
