"""Plain reads are answered alike on both ways, and all that stands before them applies to both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from ledger import replica
from ledger.models import ChainStatus
from ledger.tests.racing import race
from operator_api import direct_reads
from operator_api.direct_reads import DirectReads, Readers
from operator_api.error_codes import NO_DATABASE_DETAIL
from operator_api.metrics import metrics
from operator_api.middleware_limits import RateLimits
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from operator_api.tests.direct_server import Answer, Counting
from operator_api.tests.redis_server import RedisServer
from operator_api.tests.server import request, serving, talk

pytestmark = pytest.mark.django_db(transaction=True)
OWN = {"date", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-reset"}


class Server:
    """A server with both ways."""

    def __init__(self, port: int, general: Counting) -> None:
        self.port = port
        self.general = general

    def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        return talk(self.port, request(f"{method} {path}", *headers))

    def direct(self, path: str, *headers: str) -> Answer:
        """The answer to a request that must not go the general way."""
        before = self.general.asked
        answer = self.get(path, *headers)
        assert self.general.asked == before, answer
        return answer

    def generally(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """The answer to a request that must go the general way."""
        before = self.general.asked
        answer = self.get(path, *headers, method=method)
        assert self.general.asked == before + 1, answer
        return answer


@pytest.fixture
def server() -> Iterator[Server]:
    general, readers = Counting(), Readers()
    with serving(RateLimits(DirectReads(general, readers))) as port:
        yield Server(port, general)
    readers.close()


@pytest.fixture
def play() -> Play:
    return Play()


def traded(play: Play) -> list[SimulatedWallet]:
    """Wallets with a past, in the third eon."""
    players = play.register(3)
    for player in players:
        play.deposit(player, 1000)
    for _ in range(2):
        play.pay(players[0], players[1], 7)
        play.next_eon()
    return players


def place_of(player: SimulatedWallet) -> str:
    return f"{player.token.hex()}/0x{player.address.hex()}"


def same(one: Answer, other: Answer) -> None:
    first, second = (
        {key: text for key, text in found[1].items() if key not in OWN} for found in (one, other)
    )
    assert (one[0], first, one[2]) == (other[0], second, other[2])


HEADERS: list[tuple[str, ...]] = [
    (),
    ("Accept: */*",),
    ("Accept: application/json, text/plain, */*",),
    ("Origin: http://localhost:3000",),
    ("Origin: http://elsewhere",),
    ("Accept: application/json; indent=4", "Accept-Encoding: gzip"),
    (
        'If-None-Match: "x"',
        "If-Modified-Since: Sat, 21 Nov 2026 00:00:00 GMT",
        "Cookie: a=b",
        "Range: bytes=0-3",
    ),
]


@pytest.mark.parametrize("headers", HEADERS)
def test_reads_are_answered_alike(server: Server, play: Play, headers: tuple[str, ...]) -> None:
    """The first request of a kind goes the general way, as one with a parameter that nobody knows does."""
    players = traded(play)
    paths = ["/audit", "/audit/", "/audit/tokens", "/audit/tokens/"]
    for player in players:
        paths += [f"/audit/{place_of(player)}/whois{end}" for end in ("", "/")]
        paths += [
            f"/audit/{eon}/{place_of(player)}{end}" for eon in (0, 1, 2, 3, 10**90) for end in ("", "/")
        ]
    for path in (
        "/audit",
        "/audit/tokens",
        f"/audit/{place_of(players[0])}/whois",
        f"/audit/1/{place_of(players[0])}",
    ):
        server.generally(path, *headers)
    for path in paths:
        expected = server.generally(f"{path}?unknown=1", *headers)
        assert expected[0] == 200
        same(server.direct(path, *headers), expected)
    assert "stream-position" in server.direct(paths[-1], *headers)[1]


def known(server: Server, play: Play) -> SimulatedWallet:
    """A wallet whose reads are answered directly."""
    player = traded(play)[0]
    for path in (
        "/audit/",
        "/audit/tokens",
        f"/audit/{place_of(player)}/whois",
        f"/audit/2/{place_of(player)}",
    ):
        server.get(path)
        server.direct(path)
    return player


def test_what_is_not_found_is_said_by_the_general_way(server: Server, play: Play) -> None:
    player = known(server, play)
    token, address = f"0x{player.token.hex()}", f"0x{player.address.hex()}"
    nobody = "0x" + "77" * 20
    places = [f"{token}/{nobody}", f"{nobody}/{address}"]
    for path in [f"/audit/{place}/whois" for place in places] + [f"/audit/2/{place}" for place in places]:
        answer = server.generally(path)
        assert (answer[0], json.loads(answer[2])) == (404, {"detail": "Not found."})
    for path in (
        f"/audit/x/{token}/{address}",
        f"/audit/2/{token}/{address}//",
        f"/audit/2/{token}/{address}%0A",
    ):
        assert server.generally(path)[0] == 404
    ChainStatus.objects.all().delete()
    assert server.generally("/audit/")[0] == 503


def test_other_methods_parameters_and_bodies_go_the_general_way(server: Server, play: Play) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"
    found = server.direct(path)
    assert server.generally(path, method="HEAD")[0] == 405
    assert server.generally(path, method="OPTIONS")[0] == 200
    assert server.generally(path, method="DELETE")[0] == 405
    before = server.general.asked
    assert talk(server.port, request(f"GET {path}", "Content-Length: 2", body=b"{}"))[0] == 200
    assert server.general.asked == before + 1
    assert json.loads(server.generally(f"{path}?transfer_id=1000000")[2])["transactions"] == []
    assert server.generally(f"{path}?transfer_id=x")[0] == 400
    assert server.generally(path, "Accept: text/html")[0] == 406
    assert server.generally(path, "Accept: text/html")[0] == 406
    assert server.direct(path.replace("/2/", "/%32/"))[2] == found[2]


def test_a_wallet_reads_what_was_written_before_it_asked(server: Server, play: Play) -> None:
    player = known(server, play)
    path = f"/audit/{play.eon}/{place_of(player)}"
    assert json.loads(server.direct(path)[2])["transactions"] == []
    play.pay(player, play.register(1)[0], 5)
    (transfer,) = json.loads(server.direct(path)[2])["transactions"]
    assert transfer["amount"] == "5"


def test_a_state_of_many_transfers_is_read_on_its_own(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.views.MANY_TRANSFERS", 2)
    player = known(server, play)
    recipient = play.register(1)[0]
    path = f"/audit/{play.eon}/{place_of(player)}"
    for _ in range(2):
        play.pay(player, recipient, 1)
    assert len(json.loads(server.direct(path)[2])["transactions"]) == 2
    play.pay(player, recipient, 1)
    assert len(json.loads(server.generally(path)[2])["transactions"]) == 3


def test_a_request_has_its_id_and_is_counted(server: Server, play: Play) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"
    route = next(found.route for found in direct_reads.endpoints() if "eon_number" in found.route)
    counter = metrics().requests.labels("GET", route, "200")
    before = counter._value.get()
    assert server.direct(path, "X-Request-ID: my-own.id")[1]["x-request-id"] == "my-own.id"
    assert len(server.direct(path, "X-Request-ID: not well-formed")[1]["x-request-id"]) == 32
    server.generally(path + "?a=b")
    assert counter._value.get() == before + 3


def test_the_limit_of_reads_applies(play: Play, settings: Settings) -> None:
    settings.HUB_LIMIT_READS, settings.HUB_LIMIT_BURST_SECONDS = 1, 3
    general, readers = Counting(), Readers()
    with serving(RateLimits(DirectReads(general, readers))) as port:
        server = Server(port, general)
        answers = [server.get("/audit/tokens/") for _ in range(4)]
    readers.close()
    assert [answer[0] for answer in answers] == [200, 200, 200, 429]
    assert [answer[1]["x-ratelimit-remaining"] for answer in answers[:3]] == ["2", "1", "0"]
    assert general.asked == 1
    same(answers[0], answers[1])


def test_a_database_that_does_not_answer_is_no_mistake_of_the_hub(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        patch.setattr("ledger.prepared.PreparedRead.fetch", lambda *_: connection.copy().ensure_connection())
        direct, general = server.direct(path), server.generally(path + "?a=b")
    for status, headers, body in (direct, general):
        assert (status, json.loads(body)) == (503, {"detail": NO_DATABASE_DETAIL})
        del headers["content-length"]
    same((503, direct[1], b""), (503, general[1], b""))
    assert server.direct(path)[0] == 200


def test_a_reader_whose_connection_was_closed_opens_another(server: Server, play: Play) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        assert cursor.fetchone()[0] > 0
    assert [server.get(path)[0] for _ in range(4)] == [200] * 4


def test_one_that_fails_spoils_no_other(server: Server, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"

    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError("nodes are missing")

    with monkeypatch.context() as patch:
        patch.setattr("auditor.selectors.wallet_states", fail)
        assert server.generally(path)[0] == 500
        assert server.direct("/audit/")[0] == 200
        patch.setattr(direct_reads, "find", fail)
        assert server.generally("/audit/")[0] == 200
    assert server.direct(path)[0] == 200


def test_reads_need_no_redis(server: Server, play: Play, settings: Settings) -> None:
    path = f"/audit/2/{place_of(known(server, play))}"
    with RedisServer() as redis:
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis.url}
        }
        before = server.direct(path)
        redis.stop()
        assert server.direct(path)[2] == before[2]


def test_what_the_replica_does_not_have_is_asked_again(
    server: Server, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(known(server, play))
    asked: list[int | None] = []

    def read(work: Any, eon: int | None = None) -> Any:
        asked.append(eon)
        return {} if isinstance(work, partial) and eon == 1 else work()

    monkeypatch.setattr(replica, "read", read)
    assert server.direct(f"/audit/2/{place}")[0] == 200
    assert server.generally(f"/audit/1/{place}")[0] == 200
    assert asked == [2, 1, 1]


def test_many_at_once_are_read_together(server: Server, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    known(server, play)
    players = play.register(6)
    batches: list[int] = []
    real = direct_reads.find

    def find(tickets: Any) -> None:
        batches.append(len(tickets))
        real(tickets)

    monkeypatch.setattr(direct_reads, "find", find)
    paths = [f"/audit/{eon}/{place_of(player)}" for player in players for eon in (1, 3)]
    paths += [f"/audit/{place_of(players[0])}/whois", "/audit/", "/audit/tokens", "/audit/tokens"]
    expected = {path: server.get(f"{path}?a=b")[2] for path in paths}

    def read(path: str) -> Any:
        return lambda: [server.direct(path)[2] for _ in range(10)]

    assert race([read(path) for path in paths]) == [[expected[path]] * 10 for path in paths]
    assert sum(batches) == 10 * len(paths)
    assert len(batches) < 10 * len(paths)
