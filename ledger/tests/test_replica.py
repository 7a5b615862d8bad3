"""History comes from a real replica that follows by streaming; whatever must be new comes from the database."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DatabaseError, OperationalError, connections, transaction
from django.test import Client

from auditor.bounded import TooManyRowsError
from auditor.listing import Counts
from auditor.views import find_wallet_states
from contractor.models import Alarm
from heartbeat import tasks, watch
from ledger import replica
from ledger.models import StreamPosition, Wallet
from ledger.sql import execute, fetch
from ledger.tests.standby import SECONDS, Standby
from nocust.addresses import to_checksum
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from operator_api.tests.server import request, talk
from restoration.models import Hold
from scripts.hub.testing import RUNS
from synchronizer.tests.servers import Server

pytestmark = pytest.mark.django_db(transaction=True)

LAG = 30  # seconds


@pytest.fixture(scope="module")
def standby(django_db_setup: None, django_db_blocker: Any) -> Iterator[Standby]:
    with django_db_blocker.unblock():
        source = connections["default"].get_connection_params()
    RUNS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="standby-", dir=RUNS))
    folder.chmod(0o755)  # the database's user must pass through
    made = Standby(folder, {name: source[name] for name in ("host", "port", "user", "password", "dbname")})
    made.make()
    made.start()
    yield made
    made.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _configured(standby: Standby, settings: Any) -> Iterator[None]:
    """The settings of a hub with a replica."""
    options = {"options": "-c default_transaction_read_only=on", "connect_timeout": 2}
    default = connections["default"].settings_dict
    connections.databases["replica"] = {**default, "PORT": standby.address["port"], "OPTIONS": options}
    settings.DATABASE_ROUTERS = ["ledger.replica.Router"]
    settings.HUB_REPLICA_LAG_SECONDS = LAG
    wrapper = connections["replica"]

    def ensure_connection() -> None:
        """As outside of tests, where databases that a test did not name are not closed to it."""
        if wrapper.connection is None:
            with wrapper.wrap_database_errors:
                wrapper.connect()

    wrapper.ensure_connection = ensure_connection  # type: ignore[method-assign]
    replica.forget()
    yield
    replica.forget()
    wrapper.close()
    del connections["replica"]
    del connections.databases["replica"]


@pytest.fixture
def play() -> Play:
    return Play()


def commit_something() -> None:
    """As the hub does each second."""
    execute("UPDATE ledger_chainstatus SET updated = now()")


def catch_up(standby: Standby) -> None:
    """Let the replica have all that was committed, and the hub notice how far it is."""
    standby.resume()
    commit_something()
    standby.reach(fetch("SELECT pg_current_wal_lsn()::text")[0][0])
    replica.forget()


def source() -> str:
    """Where reading reads."""
    replicated: bool = fetch("SELECT pg_is_in_recovery()")[0][0]
    return "replica" if replicated else "database"


def state(wallet: SimulatedWallet, eon: int) -> tuple[int, Any, int]:
    path = f"/audit/{eon}/{to_checksum(wallet.token)}/{to_checksum(wallet.address)}/"
    response = Client().get(path)
    return response.status_code, json.loads(response.content), int(response.headers.get("Stream-Position", 0))


def paid(play: Play) -> tuple[SimulatedWallet, SimulatedWallet]:
    """Two wallets that paid each other in the first eon."""
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    play.pay(alice, bob, 30)
    return alice, bob


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `read` gave its work to, from now on."""
    seen: list[str] = []
    real = replica.read

    def read(work: Any, eon: int | None = None) -> Any:
        def noting() -> Any:
            seen.append(source())
            return work()

        return real(noting, eon)

    monkeypatch.setattr("ledger.replica.read", read)
    return seen


def test_closed_eons_come_from_the_replica_and_open_ones_do_not(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = paid(play)
    seen = reads(monkeypatch)
    catch_up(standby)
    before = [state(alice, eon) for eon in (1, 2)]
    assert seen == ["database", "database"]
    play.next_eon()
    catch_up(standby)
    del seen[:]
    found = [state(alice, eon) for eon in (1, 2)]
    assert seen == ["replica", "database"]
    assert found[0][1]["transactions"][0]["amount"] == before[0][1]["transactions"][0]["amount"] == "30"
    del connections.databases["replica"]
    assert state(alice, 1) == found[0], "the same from the database"
    connections.databases["replica"] = connections["replica"].settings_dict


def test_a_wallet_reads_what_it_wrote_however_far_behind_the_replica_is(play: Play, standby: Standby) -> None:
    alice, bob = paid(play)
    play.next_eon()
    catch_up(standby)
    standby.pause()
    play.pay(alice, bob, 5)
    assert [row["amount"] for row in state(alice, 2)[1]["transactions"]] == ["5"]
    play.next_eon()
    replica.forget()
    assert replica.read(source, 1) == "replica"
    assert replica.read(source, 2) == "database", "the replica does not have the end of that eon"
    assert [row["amount"] for row in state(alice, 2)[1]["transactions"]] == ["5"]
    catch_up(standby)
    assert replica.read(source, 2) == "replica"


def test_a_wallet_that_the_replica_does_not_have_yet_is_found(play: Play, standby: Standby) -> None:
    paid(play)
    play.next_eon()
    catch_up(standby)
    standby.pause()
    (late,) = play.register(1)
    assert state(late, 1)[0] == 200
    standby.resume()


def test_states_that_are_read_together_come_from_it_too(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = paid(play)
    play.next_eon()
    catch_up(standby)
    names = [
        {"eon_number": str(eon), "token": one.token.hex(), "wallet": one.address.hex()}
        for eon in (1, 2)
        for one in (alice, bob)
    ]
    seen = reads(monkeypatch)
    found = [document for document, _ in filter(None, find_wallet_states(names))]
    assert seen == ["replica", "database"]
    assert found == [state(one, eon)[1] for eon in (1, 2) for one in (alice, bob)]


def test_one_that_is_behind_is_left_alone_until_it_has_caught_up(
    play: Play, standby: Standby, settings: Any
) -> None:
    paid(play)
    play.next_eon()
    catch_up(standby)
    assert replica.read(source) == "replica"
    standby.pause()
    settings.HUB_REPLICA_LAG_SECONDS = 1
    time.sleep(1.1)
    replica.forget()
    assert replica.read(source) == replica.read(source, 1) == "database"
    settings.HUB_REPLICA_LAG_SECONDS = LAG
    catch_up(standby)
    assert replica.read(source) == "replica"


def test_one_that_is_away_is_done_without(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _ = paid(play)
    play.next_eon()
    catch_up(standby)
    expected = state(alice, 1)
    assert replica.read(source, 1) == "replica"
    seen = reads(monkeypatch)
    standby.stop()
    assert state(alice, 1) == expected, "it broke off in the middle"
    assert replica.read(source, 1) == "database"
    assert state(alice, 1) == expected
    assert seen[-2:] == ["database", "database"]
    standby.start()
    catch_up(standby)
    assert replica.read(source, 1) == "replica"


@pytest.mark.alarm("replica not read")
def test_the_operator_is_told_of_one_that_is_away(play: Play, standby: Standby, settings: Any) -> None:
    settings.HUB_ALARM_CALM_SECONDS = 0
    catch_up(standby)

    def told() -> list[tuple[str, str, bool]]:
        watch.forget()
        tasks.heartbeat_watch()
        rows = Alarm.objects.filter(subject="replica not read")
        return [(row.subject, row.text, row.cleared is None) for row in rows]

    assert told() == []
    standby.stop()
    replica.forget()
    ((_, text, standing),) = told()
    assert standing
    assert "history is read from the database, not from its replica: OperationalError" in text
    standby.start()
    catch_up(standby)
    ((_, _, standing),) = told()
    assert not standing


def test_one_of_another_hub_or_that_was_promoted_is_not_read(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(play)
    catch_up(standby)
    monkeypatch.setattr(replica, "_cluster", 1)
    assert replica.read(source) == "database"
    replica.forget()
    connections["replica"].close()
    monkeypatch.setitem(
        connections["replica"].settings_dict, "PORT", connections["default"].settings_dict["PORT"]
    )
    assert replica.read(source) == "database"
    assert "not a replica" in replica._known.reason


def test_nothing_is_written_there_and_no_decision_reads_it(play: Play, standby: Standby) -> None:
    alice, _ = paid(play)
    catch_up(standby)

    def write() -> str:
        wallet = Wallet.objects.get(pk=alice.wallet_id)
        assert wallet._state.db == "replica"
        Wallet.objects.filter(pk=wallet.pk).update(registration_eon_number=wallet.registration_eon_number)
        return source()

    assert replica.read(write) == "replica", "a write goes to the database, whatever it was read from"
    with transaction.atomic():
        assert replica.read(source) == "database"
    with pytest.raises(DatabaseError), connections["replica"].cursor() as cursor:
        cursor.execute("UPDATE ledger_chainstatus SET updated = now()")
    assert not Hold.objects.exists(), "a replica is no restored database"


def test_figures_and_lists_of_closed_eons(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(play)
    play.next_eon()
    seen = reads(monkeypatch)
    catch_up(standby)
    for query, where in (
        ("eon_number=1", "replica"),
        ("eon_number=2", "database"),
        ("eon_number=1&cursor=", "replica"),
    ):
        body = json.loads(Client().get(f"/audit/transactions/?{query}").content)
        assert seen.pop() == where
        assert len(body["results"]) == (1 if where == "replica" else 0)
    cache.clear()
    assert json.loads(Client().get("/analytics/transactions/").content)["total"] == 1
    assert seen == ["replica"]


def test_what_takes_too_long_to_find_is_not_looked_for_twice(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(play)
    play.next_eon()
    catch_up(standby)
    asked: list[str] = []

    def count(_: Any) -> int:
        asked.append(source())
        raise TooManyRowsError

    monkeypatch.setattr("auditor.listing.count", count)
    monkeypatch.setattr("auditor.listing.counts", Counts())
    assert Client().get("/audit/transactions/?eon_number=1").status_code == 400
    assert asked == ["replica"]


class Process:
    """A real server process with the replica, and a wallet whose states it is asked for."""

    def __init__(self, server: Server, wallet: SimulatedWallet) -> None:
        self.server = server
        self._place = f"{to_checksum(wallet.token)}/{to_checksum(wallet.address)}/"

    def states(self, eon: int) -> list[tuple[int, Any]]:
        """The position in the streams that the answer names, and the state: of a plain read, and of Django's."""
        return [self._state(f"{eon}/{self._place}{query}") for query in ("", "?transfer_id=0")]

    def _state(self, path: str) -> tuple[int, Any]:
        status, headers, body = talk(self.server.port, request(f"GET /audit/{path}"))
        assert status == 200, body
        return int(headers["stream-position"]), json.loads(body)

    def positions(self, eon: int) -> set[int]:
        """The positions that both name."""
        return {position for position, _ in self.states(eon)}

    def reads_replica(self, standby: Standby) -> bool:
        """Whether a change that the replica does not have yet is missing in the closed eon."""
        catch_up(standby)
        standby.pause()
        before = tell_more()
        assert self.positions(2) == {before + 1}
        try:
            return self.positions(1) == {before}
        finally:
            standby.resume()

    def check_meanwhile(self, happens: Callable[[], None]) -> None:
        """Ask for the closed eon from several threads before, while and after something happens to the replica."""
        expected = self.states(1)
        over = threading.Event()

        def ask() -> None:
            last = False
            while not last:
                last = over.is_set()
                assert self.states(1) == expected

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                happens()
            finally:
                over.set()
        for one in asking:
            one.result()


def tell_more() -> int:
    """The position that the streams had until now; answers name the next one as soon as they come from a database
    that has it."""
    known, _ = StreamPosition.objects.get_or_create(id=1)
    StreamPosition.objects.update(last=known.last + 1)
    return known.last


@pytest.fixture
def process(play: Play, standby: Standby, tmp_path: Path, settings: Any) -> Iterator[Process]:
    alice, _ = paid(play)
    play.next_eon()
    catch_up(standby)
    url = "postgresql://{user}@{host}:{port}/{dbname}".format(**standby.address)
    environment = {"HUB_REPLICA_DATABASE_URL": url, "HUB_REPLICA_LAG_SECONDS": "3600", "LOG_LEVEL": "INFO"}
    server = Server(settings.REDIS_URL, tmp_path, environment)
    server.start()
    try:
        asyncio.run(server.started())
        made = Process(server, alice)
        for eon in (1, 2):  # the first one goes the general way
            made.states(eon)
        yield made
    finally:
        server.kill()


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_server_process_reads_closed_eons_from_the_replica(process: Process, standby: Standby) -> None:
    assert process.reads_replica(standby)


def test_a_server_process_answers_while_the_replica_is_killed(process: Process, standby: Standby) -> None:
    assert process.reads_replica(standby)
    catch_up(standby)
    process.check_meanwhile(standby.stop)
    try:
        before = tell_more()
        assert process.positions(1) == {before + 1}
    finally:
        standby.start()
    wait(lambda: process.reads_replica(standby))


def test_a_server_process_answers_while_the_replica_hangs(process: Process, standby: Standby) -> None:
    assert process.reads_replica(standby)
    catch_up(standby)
    with ExitStack() as freezing:

        def freeze() -> None:
            """As soon as several threads of the server have a session there, which they would wait for."""
            sessions = "SELECT count(*) > 2 FROM pg_stat_activity WHERE query LIKE 'EXECUTE%%'"
            wait(lambda: standby.sql(sessions)[0][0])
            freezing.enter_context(standby.frozen())

        process.check_meanwhile(freeze)
        before = tell_more()
        assert process.positions(1) == {before + 1}
    wait(lambda: process.reads_replica(standby))


def test_one_that_hangs_is_done_without(play: Play, standby: Standby) -> None:
    catch_up(standby)
    assert replica.read(source) == "replica"
    with standby.frozen():
        assert replica.read(source) == "database"
        assert replica.trouble()
    replica.forget()
    assert replica.read(source) == "replica"


def test_a_read_may_take_long_while_the_replica_takes_connections(
    play: Play, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up(standby)
    asked: list[bool] = []
    takes_connections = replica._takes_connections

    def asking() -> bool:
        asked.append(takes_connections())
        return asked[-1]

    monkeypatch.setattr(replica, "PATIENCE", 0.0)
    monkeypatch.setattr(replica, "_takes_connections", asking)

    def work() -> str:
        wait(lambda: len(asked) > 1)
        return source()

    assert replica.read(work) == "replica"
    assert all(asked)


@pytest.mark.django_db(transaction=True)
def test_a_standby_in_the_databases_place_is_not_used(play: Play, standby: Standby) -> None:
    """It may be promoted under the connection, which would be written to and never looked at."""
    catch_up(standby)
    other = connections["default"].copy()
    other.settings_dict = {**other.settings_dict, "PORT": standby.address["port"]}
    with pytest.raises(OperationalError, match="recovery is in progress"):
        other.ensure_connection()
    assert other.connection is None
