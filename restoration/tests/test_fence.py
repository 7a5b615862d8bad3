"""A held hub: what it refuses, whatever the processes try, and what a decision lets through again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone
from psycopg2.errors import CheckViolation

from ledger.checkpoint import create_checkpoint
from ledger.directory import find_owner
from ledger.models import ActiveState, DelegatedWithdrawal, RootCommitment
from ledger.sql import execute, fetch
from ledger.store import StoredTransfer
from operator_api.restored import lost_states
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from restoration import holds, identity, middleware
from restoration.models import Hold, Identity, SubmittedRoot

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def players(play: Play) -> list[SimulatedWallet]:
    found = play.register(2)
    play.deposit(found[0], 100)
    assert isinstance(play.pay(found[0], found[1], 1), StoredTransfer)
    return found


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    middleware.forget()
    yield
    middleware.forget()


def refuses(act: Any, what: str) -> None:
    with pytest.raises((IntegrityError, CheckViolation), match=what), transaction.atomic():
        act()


def test_nothing_is_signed_while_nobody_has_decided(play: Play, players: list[SimulatedWallet]) -> None:
    identity.hold("a test")
    states = ActiveState.objects.count()
    refuses(lambda: play.pay(players[0], players[1], 1), "restoration: a state of eon 1")
    refuses(lambda: play.register(1), "restoration: a registration of eon 1")
    assert ActiveState.objects.count() == states
    with pytest.raises(IntegrityError, match="restoration: a withdrawal of eon 1"), transaction.atomic():
        DelegatedWithdrawal.objects.create(
            wallet_id=players[0].wallet_id,
            amount=1,
            expiry_block=100,
            signature=bytes(65),
            time=timezone.now(),
        )
    play.deposit(players[0], 5)  # what the chain did is applied


def test_after_a_loss_it_signs_from_the_next_eon_on(play: Play, players: list[SimulatedWallet]) -> None:
    identity.hold("a test")
    assert holds.decide(Hold.Decision.LOSS_ACCEPTED, play.eon + 1) == 1
    refuses(lambda: play.pay(players[0], players[1], 1), "restoration: a state of eon 1")
    play.enter_next_eon()
    play.close_eon()
    assert isinstance(play.pay(players[0], players[1], 1), StoredTransfer)
    assert play.register(1)
    assert holds.signs_from() == 2


def test_when_nothing_was_lost_it_signs_again_at_once(play: Play, players: list[SimulatedWallet]) -> None:
    identity.hold("a test")
    holds.decide(Hold.Decision.NOTHING_LOST, 0)
    assert isinstance(play.pay(players[0], players[1], 1), StoredTransfer)
    assert not holds.open_holds()


def test_a_checkpoint_is_repeated_only_if_it_is_the_one_on_chain(
    play: Play, players: list[SimulatedWallet]
) -> None:
    assert players
    play.enter_next_eon()
    with transaction.atomic():
        root = bytes(create_checkpoint(2, 60).merkle_root)
        transaction.set_rollback(True)
    identity.hold("a test")
    assert holds.bars_checkpoint(2)
    refuses(lambda: create_checkpoint(2, 60), "restoration: the checkpoint of eon 2")
    SubmittedRoot.objects.create(eon_number=2, merkle_root=bytes(32), block=61)
    refuses(lambda: create_checkpoint(2, 60), "what was signed in the eon before was lost")
    SubmittedRoot.objects.update(merkle_root=root)
    assert not holds.bars_checkpoint(2)
    with transaction.atomic():
        create_checkpoint(2, 60)
    assert RootCommitment.objects.filter(eon_number=2).exists()


def test_requests_for_a_signature_get_503_and_reading_goes_on(client: Client, play: Play) -> None:
    assert play.eon == 1
    assert client.post("/transfer/", {}, content_type="application/json").status_code == 400
    identity.hold("a test")
    middleware.forget()
    for path in ("/transfer/", "/admission/", "/admission/bulk/", "/swap/"):
        answer = client.post(path, {}, content_type="application/json")
        assert answer.status_code == 503, path
        assert answer.json() == {"detail": middleware.DETAIL}
    assert client.get("/audit/").status_code == 200


def test_a_change_of_the_databases_identity_holds_the_hub_once(play: Play) -> None:
    assert play.eon == 1
    Identity.objects.all().delete()
    identity.look(connection)
    identity.look(connection)
    assert Identity.objects.count() == 1
    assert not Hold.objects.exists()
    for change, reason in {
        "timeline = '000000AA'": "from timeline 000000AA",
        "cluster = 1": "moved to another PostgreSQL cluster",
        "place = 1": "the tables were restored",
    }.items():
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE restoration_identity SET {change}")  # noqa: S608  (constants)
        identity.look(connection)
        identity.look(connection)
        hold = Hold.objects.get(first_eon__isnull=True)
        assert reason in hold.reason
        assert hold.restored_eon == 1
        holds.decide(Hold.Decision.NOTHING_LOST, 0)


@pytest.mark.django_db(transaction=True)
def test_a_connection_whose_database_could_not_be_compared_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Play()
    identity.look(connection)
    Identity.objects.update(timeline="000000AA")
    other = connection.copy()
    options = {**connection.settings_dict["OPTIONS"], "options": "-c lock_timeout=50"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE restoration_identity")
            connection.close()
            for _ in range(2):
                with pytest.raises(OperationalError, match="lock timeout"):
                    connection.ensure_connection()
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    connection.ensure_connection()
    assert "from timeline 000000AA" in Hold.objects.get().reason


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_takes_no_writes_is_used_if_the_database_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may take them later, when nobody looks."""
    Play()
    identity.look(connection)
    options = {**connection.settings_dict["OPTIONS"], "options": "-c default_transaction_read_only=on"}
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        assert Identity.objects.exists()
        connection.close()
    Identity.objects.update(timeline="000000AA")
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        connection.close()
        for _ in range(2):
            with pytest.raises(OperationalError, match="takes no writes"):
                connection.ensure_connection()
    connection.ensure_connection()
    assert "from timeline 000000AA" in Hold.objects.get().reason


def test_wallets_are_looked_up_anew_after_a_hold(play: Play, players: list[SimulatedWallet]) -> None:
    """A server process lived through a failover in which a registration was lost, and its row is another's now."""
    lost = players[1]
    middleware.held()
    assert find_owner(lost.token, lost.address) == lost.owner
    execute("SET LOCAL session_replication_role = replica")
    execute("UPDATE ledger_wallet SET address = %s WHERE id = %s", [b"\7" * 20, lost.wallet_id])
    execute("SET LOCAL session_replication_role = DEFAULT")
    identity.hold("a test")
    holds.decide(Hold.Decision.NOTHING_LOST, 0)
    middleware.forget()
    assert not middleware.held()
    assert find_owner(lost.token, lost.address) is None
    assert find_owner(lost.token, b"\7" * 20) is not None


@pytest.fixture
def witness(play: Play) -> Iterator[str]:
    """The key of a witness that was written just now."""
    assert play.eon == 1
    Identity.objects.all().delete()
    identity.look(connection)
    row = Identity.objects.get()
    key = f"restoration:{row.cluster}/{row.timeline}"
    cache.delete(key)
    assert not identity.watch()
    yield key
    cache.delete(key)


def test_files_that_were_copied_back_are_noticed_by_the_witness(witness: str) -> None:
    assert not identity.watch()
    cache.set(witness, int(cache.get(witness)) + 1_000_000, timeout=None)
    assert identity.watch()
    assert "bytes before where it was" in Hold.objects.get().reason
    assert not identity.watch()


def test_a_hold_that_could_not_be_written_is_made_the_next_time(
    witness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise OperationalError("the database system is shutting down")

    cache.set(witness, int(cache.get(witness)) + 1_000_000, timeout=None)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "hold", fail)
        with pytest.raises(OperationalError):
            identity.watch()
    assert identity.watch()
    assert Hold.objects.count() == 1


def test_a_witness_that_another_process_moves_on_meanwhile_holds_nothing(
    witness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(key: str) -> int:
        """What is read after the other process has looked at a log that has grown."""
        assert key == witness
        fetch("SELECT pg_switch_wal()")
        return int(fetch(identity.POSITION)[0][1])

    with monkeypatch.context() as patch:
        patch.setattr(cache, "get", get)
        assert not identity.watch()
    assert not Hold.objects.exists()


def test_a_state_that_a_wallet_holds_shows_what_was_lost(play: Play, players: list[SimulatedWallet]) -> None:
    state = ActiveState.objects.latest("id")
    assert state.operator_signature is not None
    held = {
        "token": "0x" + players[0].token.hex(),
        "address": "0x" + players[0].address.hex(),
        "eon_number": state.eon_number,
        "updated_spendings": str(state.updated_spendings),
        "updated_gains": str(state.updated_gains),
        "tx_set_hash": bytes(state.tx_set_hash).hex(),
        "operator_signature": bytes(state.operator_signature).hex(),
    }
    assert lost_states([held]) == ([], 1)
    (told,), _ = lost_states([held | {"updated_spendings": "77"}])
    assert "the signature is not the operator's" in told
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger_activestate SET operator_signature = NULL WHERE id = %s", [state.pk])
    (told,), _ = lost_states([held])
    assert "the hub signed spent 1, gained 0; the ledger has nothing" in told
    with pytest.raises(ValueError, match="state 1 has no address"):
        lost_states([{"token": held["token"]}])
    with pytest.raises(ValueError, match="state 2: ValueError"):
        lost_states([held, held | {"eon_number": "x"}])
