"""What the database itself holds of editions and their signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag

import pytest
from django.db import IntegrityError, transaction

from ledger.sql import execute
from ledger.tests.racing import Running, until, waiting_for_a_lock
from operator_api.simulation.play import Play
from tos.models import TOSConfig, TOSSignature


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(IntegrityError, match=message), transaction.atomic():
        yield


@pytest.fixture
def play() -> Play:
    made = Play()
    made.register(1)
    return made


@pytest.mark.django_db
def test_a_signature_has_its_edition(play: Play) -> None:
    with refused("a signature has no edition"):
        TOSSignature.objects.create(address=b"\x01" * 20, tos_config_id=10**6, tos_signature=bytes(65))
    with refused("a signature has no edition"):
        TOSSignature.objects.update(tos_config_id=10**6)


@pytest.mark.django_db
def test_an_edition_that_was_signed_stays(play: Play) -> None:
    other = TOSConfig.objects.create(privacy_policy_digest="ab" * 32, terms_of_service_digest="cd" * 32)
    for statement in ("DELETE FROM tos_tosconfig", "UPDATE tos_tosconfig SET id = id + 1000"):
        with refused("was signed"):
            execute(f"{statement} WHERE id = %s", [play.config.pk])
    assert execute("DELETE FROM tos_tosconfig WHERE id = %s", [other.pk]) == 1


@pytest.mark.django_db(transaction=True)
def test_an_edition_that_is_being_signed_is_not_deleted(play: Play) -> None:
    other = TOSConfig.objects.create(privacy_policy_digest="ab" * 32, terms_of_service_digest="cd" * 32)
    signed, go = Flag(), Flag()

    def sign() -> None:
        with transaction.atomic():
            TOSSignature.objects.create(address=b"\x01" * 20, tos_config=other, tos_signature=bytes(65))
            signed.set()
            assert go.wait(30)

    signing = Running(sign)
    assert signed.wait(30)
    deleting = Running(lambda: execute("DELETE FROM tos_tosconfig WHERE id = %s", [other.pk]))
    until(waiting_for_a_lock)
    go.set()
    assert signing.outcome() is None
    assert isinstance(deleting.outcome(), IntegrityError)
