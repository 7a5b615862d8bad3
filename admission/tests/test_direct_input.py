"""Reading a regular registration gives what the serializers give, or leaves it to them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.exceptions import ValidationError

from admission import direct
from admission.serializers import AdmissionSerializer, BulkAdmissionSerializer
from admission.tests.test_direct import bulk, entry, fresh
from ledger.tests import http
from operator_api.plain_input import IRREGULAR
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=140),
    st.binary(min_size=20, max_size=20).map(bytes.hex),
    st.binary(min_size=65, max_size=65).map(bytes.hex),
    st.sampled_from(http.HOSTILE),
)


def agrees(data: Any, single: bool = False) -> bool:
    """Whether the direct way reads the body; if it does, then as the serializers."""
    try:
        found = (direct.read_one if single else direct.read)(orjson.loads(json.dumps(data)))
    except IRREGULAR:
        return False
    serializer = (AdmissionSerializer if single else BulkAdmissionSerializer)(data=data)
    try:
        serializer.is_valid(raise_exception=True)
    except ValidationError as error:
        raise AssertionError(data) from error
    assert found._asdict() == serializer.validated_data
    return True


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bodies_are_read_alike(play: Play, data: st.DataObject) -> None:
    sent = bulk(play, *fresh(play, 2))
    assert agrees(sent)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(list(http.paths(sent))))
        sent = http.put(sent, place, data.draw(VALUES))
    agrees(sent)


def test_other_spellings_are_read_alike(play: Play) -> None:
    (player,) = fresh(play, 1)
    one = entry(play, player)
    taken = [
        agrees(changed, single=True)
        for changed in (
            one,
            one | {"more": 1},
            one | {"address": f"0x{one['address'].upper()}"},
            one | {"token": one["token"].lower()},
            one | {"authorization": {"value": one["authorization"]["value"].upper(), "more": None}},
            one | {"authorization": {"value": "0x" + one["authorization"]["value"]}},
            one | {"authorization": {"value": one["authorization"]["value"][:-2] + " 1"}},
            one | {"authorization": one["authorization"]["value"]},
        )
    ]
    assert taken == [True] * 5 + [False] * 3


def test_reading_asks_the_database_nothing_for_a_while(
    play: Play, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(direct, "REMEMBERED_SECONDS", 1000.0)
    assert agrees(bulk(play, *fresh(play, 1)))
    sent = bulk(play, *fresh(play, 3))
    with django_assert_num_queries(0):
        direct.read(sent)


def test_not_more_than_the_limit_are_read(play: Play, settings: Settings) -> None:
    settings.BULK_ADMISSION_LIMIT = 3
    players = fresh(play, 4)
    assert agrees(bulk(play, *players[:3]))
    assert not agrees(bulk(play, *players))
