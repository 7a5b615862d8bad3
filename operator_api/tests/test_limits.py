"""Limits, Host and Origin checks and headers, over real sockets where the server decides."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from pytest_django import Settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from ledger.engine import Transfer
from ledger.tests import http
from operator_api import limits, middleware_limits
from operator_api.bridge import Bridge
from operator_api.limits import Buckets, TooManyRequests
from operator_api.middleware_limits import RateLimits, network
from operator_api.origins import WelcomeOnly
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import transfer_body
from operator_api.tests.server import Start, request, serving, talk

ORIGIN = "http://localhost:3000"


def opened(url: str, origin: str | None = None) -> None:
    """Open a websocket and close it."""
    with connect(url, origin=None if origin is None else Origin(origin)):
        pass


class Clock:
    """What the buckets take for the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_bucket_empties_and_fills_at_its_rate(clock: Clock) -> None:
    buckets = Buckets(rate=2, size=4)
    assert [buckets.take("a").remaining for _ in range(4)] == [3, 2, 1, 0]
    refused = buckets.take("a")
    assert refused.wait == pytest.approx(0.5)
    assert refused.remaining == 0
    assert refused.reset == pytest.approx(2)
    assert buckets.take("b").remaining == 3
    clock.now += 0.5
    assert buckets.take("a").wait == 0
    assert buckets.take("a").wait > 0
    clock.now += 100
    assert [buckets.take("a").wait == 0 for _ in range(5)] == [True] * 4 + [False]


def test_to_look_takes_nothing(clock: Clock) -> None:
    buckets = Buckets(rate=1, size=2)
    for _ in range(5):
        assert buckets.take("a", 0) == (0.0, 2, 0.0)
    buckets.take("a")
    buckets.take("a")
    assert buckets.take("a", 0).wait == pytest.approx(1)


def test_strangers_do_not_fill_the_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST", 100)
    buckets = Buckets(rate=1, size=1)
    for number in range(1000):
        clock.now += 0.1
        buckets.take(number)
        assert len(buckets._full_at) <= 100
    for number in range(1000):
        buckets.take(-number)
        assert len(buckets._full_at) <= 100
    assert buckets.take("honest").wait == 0


def test_an_owner_of_a_network_is_one_client() -> None:
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("::ffff:192.0.2.1") == network("192.0.2.1")
    assert network("fe80::1%eth0") == network("fe80::1")
    assert network("unknown") == "unknown"


def answering(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"{}"]


async def socket_end(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


async def protocols(scope: dict[str, Any], receive: Any, send: Any) -> None:
    application: Any = WelcomeOnly(socket_end) if scope["type"] == "websocket" else bridge
    await application(scope, receive, send)


bridge = Bridge(answering, 4, 1000)


@pytest.fixture
def limited(settings: Settings) -> Iterator[int]:
    """The port of a server with room for 4 writes and 3 reads, which come back too slowly for a test to see."""
    settings.HUB_LIMIT_BURST_SECONDS = 1
    settings.HUB_LIMIT_WRITES = 4
    settings.HUB_LIMIT_READS = 3
    application: Any = RateLimits(protocols)
    for found in (application.writes, application._reads):
        found._interval *= 1000
        found._window *= 1000
    with serving(ProxyHeadersMiddleware(application, ["127.0.0.1"])) as port:
        yield port


def test_writes_are_limited_by_address_and_say_so(limited: int) -> None:
    for left in (3, 2, 1, 0):
        status, headers, _ = talk(limited, request("POST /transfer/", "Content-Length: 0"))
        assert status == 200
        assert headers["x-ratelimit-limit"] == "4"
        assert headers["x-ratelimit-remaining"] == str(left)
        assert "retry-after" not in headers
    status, headers, body = talk(
        limited, request("PUT /swap/1/freeze", "Content-Length: 0", f"Origin: {ORIGIN}")
    )
    assert (status, json.loads(body)) == (429, {"detail": "Too many requests of this IP address."})
    assert headers["x-ratelimit-remaining"] == "0"
    assert 240 <= int(headers["retry-after"]) <= 251
    assert 990 <= int(headers["x-ratelimit-reset"]) <= 1001
    assert headers["access-control-allow-origin"] == ORIGIN
    assert "Retry-After" in django_settings.CORS_EXPOSE_HEADERS
    assert "retry-after" in headers["access-control-expose-headers"]
    # Reads, cheap requests and other clients have room.
    assert talk(limited, request("GET /audit/"))[0] == 200
    assert talk(limited, request("GET /health/live"))[0] == 200
    assert (
        talk(limited, request("POST /transfer/", "Content-Length: 0", "X-Forwarded-For: 192.0.2.7"))[0] == 200
    )


def test_expensive_reads_are_limited_and_cheap_ones_are_not(limited: int) -> None:
    for path in ("/audit/", "/analytics/wallets/", "/audit/1/a/b/"):
        assert talk(limited, request(f"GET {path}"))[0] == 200
    status, headers, _ = talk(limited, request("GET /audit/", "Origin: http://evil.example"))
    assert status == 429
    assert "access-control-allow-origin" not in headers
    for path in ("/metrics", "/sla/", "/static/x"):
        status, headers, _ = talk(limited, request(f"GET {path}"))
        assert status == 200
        assert "x-ratelimit-limit" not in headers


def test_only_proxies_that_are_trusted_name_the_client(settings: Settings) -> None:
    settings.HUB_LIMIT_BURST_SECONDS = 1
    settings.HUB_LIMIT_WRITES = 1
    application: Any = ProxyHeadersMiddleware(RateLimits(protocols), ["10.0.0.0/8"])  # type: ignore[arg-type]  # ASGI twice
    with serving(application) as port:
        answers = [
            talk(port, request("POST /", "Content-Length: 0", f"X-Forwarded-For: 192.0.2.{number}"))[0]
            for number in range(8)
        ]
    assert 429 in answers


def test_who_is_refused_is_not_in_the_log(limited: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(10):
            talk(
                limited, request("GET /audit/1/secret", "X-Forwarded-For: 192.0.2.9", "Authorization: secret")
            )
    text = caplog.text
    assert text.count("requests refused with 429") == 1
    assert "192.0.2.9" not in text
    assert "secret" not in text


def test_a_limit_of_nothing_is_none(settings: Settings) -> None:
    settings.HUB_LIMIT_WRITES = settings.HUB_LIMIT_READS = 0
    with serving(RateLimits(protocols)) as port:
        for _ in range(20):
            status, headers, _ = talk(port, request("POST /", "Content-Length: 0"))
            assert status == 200
            assert "x-ratelimit-limit" not in headers


def test_a_body_too_large_is_told_to_the_page_that_sent_it(limited: int) -> None:
    head = request("POST /", "Content-Length: 2000", f"Origin: {ORIGIN}")
    status, headers, _ = talk(limited, head, b"x" * 2000)
    assert status == 413
    assert headers["access-control-allow-origin"] == ORIGIN


def test_websockets_are_opened_by_welcome_pages_only(settings: Settings) -> None:
    settings.HUB_LIMIT_READS = 0
    with serving(RateLimits(protocols)) as port:
        url = f"ws://localhost:{port}/ws/"
        opened(url)  # no browser
        opened(url, origin=ORIGIN)
        opened(url, origin=f"http://localhost:{port}")  # the hub's own pages
        for origin in ("http://evil.example", "null", "http://["):
            with pytest.raises(InvalidStatus) as refused:
                opened(url, origin=origin)
            assert refused.value.response.status_code == 403
        settings.ALLOWED_HOSTS = ["hub.example"]
        with pytest.raises(InvalidStatus) as refused:
            opened(url)
        assert refused.value.response.status_code == 403
        settings.ALLOWED_HOSTS = ["localhost"]
        settings.CORS_ALLOW_ALL_ORIGINS = True
        opened(url, origin="http://evil.example")


def test_opening_websockets_is_limited(limited: int) -> None:
    url = f"ws://localhost:{limited}/ws/"
    for _ in range(3):
        opened(url)
    with pytest.raises(InvalidStatus) as refused:
        opened(url)
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) > 0


@pytest.fixture
def address_limit(settings: Settings) -> Iterator[None]:
    settings.HUB_LIMIT_ADDRESS = 1
    settings.HUB_LIMIT_BURST_SECONDS = 2
    limits._address_buckets.cache_clear()
    yield
    limits._address_buckets.cache_clear()


def test_only_what_an_address_did_counts(address_limit: None, clock: Clock) -> None:
    owner, other = b"a" * 20, b"b" * 20
    for _ in range(5):
        with pytest.raises(ValueError, match="refused"), limits.of_address(owner):
            raise ValueError("refused")
    for _ in range(2):
        with limits.of_address(owner):
            pass
    with pytest.raises(TooManyRequests) as refused, limits.of_address(owner):
        raise AssertionError("this is not reached")
    assert refused.value.headers == {
        "X-RateLimit-Limit": "2",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "2",
        "Retry-After": "1",
    }
    with limits.of_address(other):
        pass
    clock.now += 1
    with limits.of_address(owner):
        pass


@pytest.mark.parametrize("path", ["/nowhere", "/swagger/", "/sla/"])
def test_security_headers_are_on_every_answer(client: Client, path: str) -> None:
    response = client.get(path)
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    policy = response["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert ("default-src 'none'" in policy) == (path != "/swagger/")
    assert "http" not in policy  # nothing of others


def test_a_host_that_is_not_the_hub_s_is_refused(client: Client) -> None:
    assert client.get("/sla/", HTTP_HOST="evil.example").status_code == 400


def test_the_hub_runs_behind_all_of_it(settings: Settings) -> None:
    from operator_api.asgi import application

    with serving(application) as port:
        status, headers, _ = talk(port, request("GET /swagger/?format=openapi", f"Origin: {ORIGIN}"))
    assert status == 200
    assert headers["access-control-allow-origin"] == ORIGIN
    assert int(headers["x-ratelimit-remaining"]) < int(headers["x-ratelimit-limit"])
    assert middleware_limits.WRITES


@pytest.mark.django_db
def test_an_address_that_transfers_too_often_waits(address_limit: None, clock: Clock) -> None:
    play = Play()
    alice, bob, carol = play.register(3)
    for player in (alice, carol):
        play.deposit(player, 100)
    received = 0
    for amount in (1, 2):
        command = alice.transfer(bob.owner, amount)
        assert http.post("/transfer/", transfer_body(command))[0] == 201
        alice.accepted(command, received)
        received += amount
    body = json.dumps(transfer_body(alice.transfer(bob.owner, 3)))
    refused = Client().post("/transfer/", body, "application/json")
    assert (refused.status_code, refused["Retry-After"], refused["X-RateLimit-Remaining"]) == (429, "1", "0")
    assert refused.json()["detail"].startswith("Too many requests of this address.")
    assert http.post("/transfer/", transfer_body(carol.transfer(bob.owner, 3)))[0] == 201
    clock.now += 1
    assert Client().post("/transfer/", body, "application/json").status_code == 201


@pytest.mark.django_db
def test_what_clients_sign_is_not_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    accepted, refused, failed = (alice.transfer(bob.owner, amount) for amount in (1, 1000, 2))
    client = Client(raise_request_exception=False, REMOTE_ADDR="192.0.2.9")
    with caplog.at_level(logging.INFO):
        statuses = [_send(client, accepted), _send(client, refused)]
        monkeypatch.setattr("transactor.services.committer.submit", _fail)
        statuses.append(_send(client, failed))
    assert statuses == [201, 400, 500]
    assert "RuntimeError" in caplog.text
    for command in (accepted, refused, failed):
        for secret in (command.signature, command.marker_signature):
            assert secret.hex()[:20] not in caplog.text
            assert repr(secret)[2:20] not in caplog.text
    assert "192.0.2.9" not in caplog.text


def _send(client: Client, command: Transfer) -> int:
    return client.post("/transfer/", json.dumps(transfer_body(command)), "application/json").status_code


def _fail(_: Any) -> None:
    raise RuntimeError
