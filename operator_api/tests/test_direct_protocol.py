"""Direct requests on connections as clients keep them: open, in pieces, several at once, proxied, cut off."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, cast

import pytest

from ledger.models import Transfer as TransferRow
from operator_api import direct_protocol
from operator_api.direct_protocol import DirectProtocol
from operator_api.limits import Buckets
from operator_api.pipeline import Pipeline
from operator_api.simulation.play import Play
from operator_api.tests.direct_server import Payer, Server, payer

pytestmark = pytest.mark.django_db(transaction=True)


class Client:
    """A connection that stays open."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._received = b""

    def send(self, *bodies: bytes, headers: str = "") -> None:
        """Requests for transfers with these bodies, in one packet."""
        self.socket.sendall(b"".join(self.request(body, headers) for body in bodies))

    def request(self, body: bytes, headers: str = "") -> bytes:
        head = f"POST /transfer/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer."""
        while b"\r\n\r\n" not in self._received:
            self._read()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(self._received) < length:
            self._read()
        body, self._received = self._received[:length], self._received[length:]
        return int(status.split()[1]), headers, body

    def _read(self) -> None:
        more = self.socket.recv(65_536)
        assert more, "the server closed the connection"
        self._received += more


def next_body(one: Payer) -> bytes:
    """The body of the next transfer, which is taken to be accepted."""
    body = json.dumps(one.body()).encode()
    one.accepted()
    return body


@pytest.fixture
def one(server: Server, play: Play) -> Payer:
    """A payer whose requests over open connections are known."""
    made = payer(server, play)
    client = Client(server.port)
    client.send(next_body(made))
    assert client.answer()[0] == 201
    server.general.asked = 0
    return made


def test_a_connection_stays_open_for_the_next_request(server: Server, one: Payer) -> None:
    client = Client(server.port)
    for _ in range(3):
        client.send(next_body(one))
        status, headers, body = client.answer()
        assert (status, headers.get("connection")) == (201, None)
        assert json.loads(body)["amount"] == "1"
    assert server.general.asked == 0


def test_requests_sent_at_once_are_answered_in_order(server: Server, one: Payer) -> None:
    """The first goes directly, those behind it wait for it and then go the general way."""
    client = Client(server.port)
    client.send(next_body(one), b"{}", next_body(one), b"[]")
    assert [client.answer()[0] for _ in range(4)] == [201, 400, 201, 400]
    client.send(next_body(one))
    assert client.answer()[0] == 201
    assert server.general.asked == 3


def test_refused_requests_leave_the_connection_usable(server: Server, one: Payer) -> None:
    client = Client(server.port)
    client.send(b"{")
    assert client.answer()[0] == 400
    client.send(next_body(one))
    assert client.answer()[0] == 201
    assert server.general.asked == 1


@pytest.mark.parametrize(("seconds", "general"), [(60.0, 0), (0.001, 1)])
def test_a_body_in_pieces_is_waited_for(
    server: Server, one: Payer, monkeypatch: pytest.MonkeyPatch, seconds: float, general: int
) -> None:
    """Directly for a moment, and then on the general way."""
    monkeypatch.setattr(direct_protocol, "PIECES_SECONDS", seconds)
    client = Client(server.port)
    whole = client.request(next_body(one))
    for start in range(0, len(whole), 300):
        client.socket.sendall(whole[start : start + 300])
        time.sleep(0.02)
    assert client.answer()[0] == 201
    assert server.general.asked == general
    client.send(next_body(one))
    assert client.answer()[0] == 201
    assert server.general.asked == general


def test_who_goes_in_the_middle_of_a_body_is_not_waited_for(
    server: Server, one: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_protocol, "PIECES_SECONDS", 0.05)
    client = Client(server.port)
    body = next_body(one)
    client.socket.sendall(client.request(body)[:-10])
    client.socket.close()
    time.sleep(0.2)
    assert server.general.asked == 0
    again = Client(server.port)
    again.send(body)
    assert again.answer()[0] == 201


def test_a_large_body_goes_the_general_way(server: Server, one: Payer) -> None:
    client = Client(server.port)
    client.send(b'{"amount": "' + b"1" * 70_000 + b'"}')
    assert client.answer()[0] == 400
    client.send(next_body(one))
    assert client.answer()[0] == 201
    assert server.general.asked == 1


def test_what_a_client_sent_before_it_left_is_done(server: Server, one: Payer) -> None:
    before = TransferRow.objects.count()
    client = Client(server.port)
    client.send(next_body(one))
    client.socket.close()
    deadline = time.monotonic() + 20
    while TransferRow.objects.count() == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client = Client(server.port)
    client.send(next_body(one))
    assert client.answer()[0] == 201


@pytest.mark.parametrize("server", [["127.0.0.1"]], indirect=True)
def test_the_limit_of_the_client_behind_a_proxy_is_counted_once(server: Server, one: Payer) -> None:
    found = server.direct_way.limits = server.limits.writes = Buckets(0.001, 6)
    client = Client(server.port)
    for remaining in (5, 4):
        client.send(next_body(one), headers="X-Forwarded-For: 192.0.2.1\r\n")
        _, headers, _ = client.answer()
        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("6", str(remaining))
    assert server.general.asked == 0
    client.send(b"{}", headers="X-Forwarded-For: 192.0.2.1\r\n")
    status, headers, _ = client.answer()
    assert (status, headers["x-ratelimit-remaining"]) == (400, "3")
    found.take("192.0.2.1", 3)
    body = next_body(one)
    client.send(body, headers="X-Forwarded-For: 192.0.2.1\r\n")
    assert client.answer()[0] == 429
    client.send(body, headers="X-Forwarded-For: 192.0.2.2\r\n")
    assert client.answer()[0] == 201


@pytest.mark.parametrize("server", [["127.0.0.1"]], indirect=True)
def test_whose_signature_was_not_valid_is_decided_apart(
    server: Server, one: Payer, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[bool] = []
    real = Pipeline.submit

    def submit(line: Pipeline, *arguments: Any) -> None:
        apart.append(arguments[-1])
        real(line, *arguments)

    monkeypatch.setattr(Pipeline, "submit", submit)
    client = Client(server.port)

    def answered(body: bytes, address: int) -> tuple[int, Any]:
        client.send(body, headers=f"X-Forwarded-For: 192.0.2.{address}\r\n")
        status, _, text = client.answer()
        return status, text

    good = json.loads(next_body(one))
    too_much = {**good, "amount": str(10**30)}
    forged = {**good, "debit_signature": good["debit_balance_signature"]}
    assert "OVERSPENDING" in str(answered(json.dumps(too_much).encode(), 1))
    assert "INVALID_DEBIT_SIGNATURE" in str(answered(json.dumps(forged).encode(), 1))
    assert answered(json.dumps(good).encode(), 1)[0] == 201
    assert answered(next_body(one), 2)[0] == 201
    assert apart == [False, False, True, False]
    good = one.body()
    forged = {**good, "debit_signature": good["debit_balance_signature"]}
    client.send(json.dumps(forged).encode(), headers="X-Forwarded-For: 192.0.2.3\r\n")
    client.socket.close()  # does not keep it from being remembered
    deadline = time.monotonic() + 10
    while not server.direct_way.doubts("192.0.2.3"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- heads that a connection knows ------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of the heads that are parsed."""
    found: list[bytes] = []
    whole = DirectProtocol.on_headers_complete

    def on_headers_complete(protocol: DirectProtocol) -> None:
        found.append(protocol.url)
        whole(protocol)

    monkeypatch.setattr(DirectProtocol, "on_headers_complete", on_headers_complete)
    return found


def same_length(one: Payer) -> bytes:
    """The body of the next transfer, as long as all others of this kind."""
    return next_body(one).ljust(2_000)


def test_a_head_that_comes_again_is_parsed_once(server: Server, one: Payer, parsed: list[bytes]) -> None:
    client = Client(server.port)
    for _ in range(6):
        client.send(same_length(one))
        status, headers, body = client.answer()
        assert (status, headers["content-length"]) == (201, str(len(body)))
        assert json.loads(body)["amount"] == "1"
    assert len(parsed) == 1
    assert server.general.asked == 0


def knowing(server: Server, one: Payer, headers: str = "") -> Client:
    """A connection that knows the head of requests."""
    client = Client(server.port)
    client.send(next_body(one), headers=headers)
    assert client.answer()[0] == 201
    return client


def test_ids_are_those_of_each_request(server: Server, one: Payer, parsed: list[bytes]) -> None:
    client = knowing(server, one)
    names = set()
    for _ in range(3):
        client.send(same_length(one))
        names.add(client.answer()[1]["x-request-id"])
    assert len(names) == 3
    for given in ("one", "two", "two", "two", "one"):
        client.send(same_length(one), headers=f"X-Request-ID: {given}\r\n")
        assert client.answer()[1]["x-request-id"] == given
    assert len(parsed) == 1 + 3
    assert server.general.asked == 0


def test_a_changed_head_is_noticed(server: Server, one: Payer, parsed: list[bytes]) -> None:
    client = knowing(server, one)
    client.send(same_length(one), headers="Origin: http://localhost:3000\r\n")
    assert client.answer()[1]["access-control-allow-origin"] == "http://localhost:3000"
    client.send(same_length(one))
    assert "access-control-allow-origin" not in client.answer()[1]
    assert (len(parsed), server.general.asked) == (2, 1)
    client.send(same_length(one), headers="Connection: close\r\n")
    assert client.answer()[1]["connection"] == "close"
    assert client.socket.recv(1) == b""


def test_bodies_behind_a_known_head_have_lengths_of_their_own(
    server: Server, one: Payer, parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the general way is told, too."""
    client = knowing(server, one)
    for held in (False, True):
        monkeypatch.setattr(
            "operator_api.direct.held", lambda held=held: held
        )  # as if: Django lets them pass
        for length in (1_000, 999, 1_001):
            client.send(next_body(one).ljust(length))
            assert client.answer()[0] == 201
    assert (len(parsed), server.general.asked) == (1, 3)


@pytest.mark.parametrize("length", ["", "-1", "+5", "5 ", "0x5", "4", "6", "5" * 5_000])
def test_other_lengths_than_the_bodys_are_for_the_parser(length: str) -> None:
    head = "POST /transfer/ HTTP/1.1\r\nContent-Length: {}\r\nAccept: */*\r\n\r\n"
    sent = head.format(2).encode() + b"{}"
    found = direct_protocol.known(cast(Any, None), sent, b"{}")
    assert found is not None
    assert found.body(sent) == b"{}"
    assert found.body(head.format(5).encode() + b"12345") == b"12345"
    assert found.body(head.format(length).encode() + b"12345") is None


@pytest.mark.parametrize(
    "head",
    [
        "POST /transfer/ HTTP/1.1\nContent-Length: 2\r\n\r\n",
        "POST /transfer/ HTTP/1.1\r\nContent-Length: 2\n\r\n\r\n",
        "POST /transfer/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /transfer/ HTTP/1.1\r\nContent-Length: 2\r\n\r\n\r\n",
        "POST /transfer/ HTTP/1.1\r\nContent-Length: 2\r\nA: "
        + direct_protocol.LARGEST_HEAD * "a"
        + "\r\n\r\n",
    ],
)
def test_unusual_heads_are_not_known(head: str) -> None:
    assert direct_protocol.known(cast(Any, None), head.encode() + b"{}", b"{}") is None


def test_what_is_refused_behind_a_known_head_goes_the_general_way(server: Server, one: Payer) -> None:
    """Each time, as if the head were new."""
    client = knowing(server, one)
    for _ in range(2):
        client.send(b"{".ljust(2_000))
        status, headers, _ = client.answer()
        assert (status, headers["content-type"]) == (400, "application/json")
        client.send(same_length(one))
        assert client.answer()[0] == 201
    assert server.general.asked == 2


def test_a_known_head_may_come_with_more_and_with_less(
    server: Server, one: Payer, parsed: list[bytes]
) -> None:
    client = knowing(server, one)
    client.send(same_length(one), same_length(one), b"{}")
    assert [client.answer()[0] for _ in range(3)] == [201, 201, 400]
    whole = client.request(same_length(one))
    for start in range(0, len(whole), 700):
        client.socket.sendall(whole[start : start + 700])
        time.sleep(0.02)
    assert client.answer()[0] == 201
    client.socket.sendall(b"GET /health/live HTTP/1.1\r\n")
    time.sleep(0.05)  # the head that follows would be a header of this one
    client.socket.sendall(client.request(b" " * 2_000))
    assert client.answer()[0] == 400
    client = knowing(server, one)
    client.send(same_length(one))
    time.sleep(0)
    client.send(same_length(one))
    assert [client.answer()[0] for _ in range(2)] == [201, 201]


@pytest.mark.parametrize("server", [["127.0.0.1"]], indirect=True)
def test_the_client_in_a_known_head_is_the_one_who_is_counted(
    server: Server, one: Payer, parsed: list[bytes]
) -> None:
    server.direct_way.limits = server.limits.writes = Buckets(0.001, 4)
    client = knowing(server, one, "X-Forwarded-For: 192.0.2.1\r\n")
    for address, remaining in ((1, 2), (2, 3), (2, 2), (1, 1)):
        client.send(same_length(one), headers=f"X-Forwarded-For: 192.0.2.{address}\r\n")
        assert client.answer()[1]["x-ratelimit-remaining"] == str(remaining)
    assert len(parsed) == 3
    for status in (400, 429):
        client.send(b" " * 2_000, headers="X-Forwarded-For: 192.0.2.1\r\n")
        assert client.answer()[0] == status
