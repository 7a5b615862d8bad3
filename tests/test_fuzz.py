"""Every answer is as the swagger page says, whatever is asked (`python -m tests.fuzz` asks much more)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection

from operator_api.simulation.play import Play
from operator_api.wsgi import application
from tests.fuzz import Known, known, run

CASES = 20
"""Requests to each endpoint."""


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """A request leaves the test's database connection alone, as with Django's own test client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.django_db
def test_every_answer_is_as_documented() -> None:
    facts = known(Play())
    schema = schemathesis.openapi.from_wsgi("/swagger/?format=openapi", application)
    statuses = run(schema, facts, CASES, 1, lambda line: None)
    assert statuses.total() > 300
    assert {200, 201, 400, 404} <= set(statuses)
    assert connection.in_atomic_block  # the answers were those of this ledger


@pytest.mark.django_db
def test_a_hub_that_has_read_no_chain_answers_as_documented() -> None:
    facts = known_nothing()
    schema = schemathesis.openapi.from_wsgi("/swagger/?format=openapi", application)
    statuses = run(schema, facts, 6, 2, lambda line: None)
    assert 503 in statuses


def known_nothing() -> Known:
    """Addresses of nobody."""
    return Known(addresses=["0x" + "11" * 20], tokens=["0x" + "22" * 20], numbers=[1])
