"""WSGI behind a real server, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from operator_api import bridge
from operator_api.bridge import Bridge, variable
from operator_api.tests import server
from operator_api.tests.server import WSGI, Start, request, talk
from operator_api.wsgi import application as django_application

LARGEST = 100_000


@contextmanager
def serving(application: WSGI, workers: int = 4) -> Iterator[int]:
    """The port of a server of a WSGI application."""
    with server.serving(Bridge(application, workers, LARGEST)) as port:
        yield port


def echo(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """An application that answers with what it was given."""
    body = environ["wsgi.input"].read()
    text = {name: value for name, value in environ.items() if isinstance(value, str)}
    content = json.dumps({"environ": text, "length": len(body), "body": body[:100].decode("latin-1")})
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content.encode()]


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with serving(echo) as port:
        yield port


def test_the_environ_is_complete(echo_port: int) -> None:
    path = "/caf%C3%A9/%FF/a%2Fb?q=%20x&y=1"
    status, _, body = talk(
        echo_port,
        request(
            f"POST {path}",
            "Content-Type: text/plain",
            "Content-Length: 5",
            "X-Forwarded-For: 1.1.1.1",
            "X-Forwarded-For: 2.2.2.2",
            "Cookie: a=1",
            "Cookie: b=2",
            "X_Forwarded_For: 6.6.6.6",
            "X-Name: grün",
            body=b"hello",
        ),
    )
    assert status == 200
    found = json.loads(body)
    environ = found["environ"]
    assert found["body"] == "hello"
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/café/".encode().decode("latin-1") + "\xff/a/b",
        "QUERY_STRING": "q=%20x&y=1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(echo_port),
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "5",
        "HTTP_HOST": "localhost",
        "HTTP_X_FORWARDED_FOR": "1.1.1.1,2.2.2.2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_NAME": "grün".encode().decode("latin-1"),
        "wsgi.url_scheme": "http",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert int(environ["REMOTE_PORT"]) > 0


def test_a_header_with_an_underscore_passes_for_no_other() -> None:
    assert variable(b"x-forwarded-for") == "HTTP_X_FORWARDED_FOR"
    assert variable(b"x_forwarded_for") is None
    assert variable(b"content_length") is None


def test_a_body_in_chunks_arrives_whole(echo_port: int) -> None:
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (b"a" * 30_000, b"b" * 30_000, b"c")]
    head = request("POST /", "Transfer-Encoding: chunked")
    status, _, body = talk(echo_port, head, *chunks, b"0\r\n\r\n", pause=0.02)
    found = json.loads(body)
    assert status == 200
    assert found["length"] == 60_001
    assert found["environ"]["CONTENT_LENGTH"] == "60001"
    assert "HTTP_TRANSFER_ENCODING" not in found["environ"]


def test_a_body_of_just_the_limit_is_taken(echo_port: int) -> None:
    head = request("POST /", f"Content-Length: {LARGEST}")
    status, _, body = talk(echo_port, head, b"x" * LARGEST)
    assert status == 200
    assert json.loads(body)["length"] == LARGEST


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(echo_port: int) -> None:
    head = request("POST /", f"Content-Length: {LARGEST + 1}", "Expect: 100-continue")
    with socket.create_connection(("127.0.0.1", echo_port), timeout=20) as connection:
        connection.sendall(head)
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert b"application/json" in answer


def test_who_sends_too_much_reads_why(echo_port: int) -> None:
    size = 4 * 2**20
    status, headers, body = talk(echo_port, request("POST /", f"Content-Length: {size}"), b"x" * size)
    assert status == 413
    assert headers["connection"] == "close"
    assert json.loads(body) == {"detail": f"A request has at most {LARGEST} bytes."}


def test_too_much_in_chunks_is_refused(echo_port: int) -> None:
    chunk = b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000)
    head = request("POST /", "Transfer-Encoding: chunked")
    status, _, body = talk(echo_port, head, chunk, chunk, b"0\r\n\r\n")
    assert status == 413
    assert "at most" in json.loads(body)["detail"]


@pytest.mark.parametrize("part", [b"", b"five!"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_that_does_not_come_is_not_waited_for(
    echo_port: int, monkeypatch: pytest.MonkeyPatch, method: str, part: bytes
) -> None:
    monkeypatch.setattr(bridge, "BODY_SECONDS", 0.3)
    status, _, body = talk(echo_port, request(f"{method} /", "Content-Length: 10"), part)
    assert status == 408
    assert "did not arrive" in json.loads(body)["detail"]


def test_a_client_that_leaves_early_costs_nothing(echo_port: int, caplog: pytest.LogCaptureFixture) -> None:
    for part in (b"", b"half"):
        with socket.create_connection(("127.0.0.1", echo_port)) as connection:
            connection.sendall(request("POST /", "Content-Length: 10", body=part))
            time.sleep(0.05)
    time.sleep(0.1)
    assert talk(echo_port, request("GET /"))[0] == 200
    assert not caplog.records


def test_a_client_that_leaves_while_it_is_served_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    served = threading.Event()

    def slow(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            time.sleep(0.3)
            served.set()
        return echo(environ, start_response)

    with serving(slow) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request("GET /slow"))
            time.sleep(0.1)
        assert served.wait(5)
        time.sleep(0.1)
        assert talk(port, request("GET /"))[0] == 200
    assert not caplog.records


def test_a_slow_reader_holds_no_thread() -> None:
    size = 20 * 2**20

    def large(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/large":
            return echo(environ, start_response)
        start_response("200 OK", [("Content-Length", str(size))])
        return [b"x" * 2**20] * 20

    with serving(large, workers=1) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request("GET /large"))
            time.sleep(0.3)  # nothing of it is read, far more than the system's buffers take
            assert talk(port, request("GET /"))[0] == 200
            received = 0
            while more := connection.recv(2**20):
                received += len(more)
        assert received > size


def test_what_an_application_raises_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    closed = []

    class Failing:
        def __iter__(self) -> Iterator[bytes]:
            yield b"part"
            raise ValueError("a secret")

        def close(self) -> None:
            closed.append(True)

    def failing(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/at-once":
            raise KeyError("a secret")
        if environ["PATH_INFO"] == "/silent":
            return []
        start_response("200 OK", [("Content-Length", "100")])
        return Failing()

    with serving(failing) as port:
        for path in ("/at-once", "/silent", "/later"):
            status, _, body = talk(port, request(f"GET {path}"))
            assert (status, json.loads(body)) == (500, {"detail": "Internal error."})
    assert closed == [True]
    assert len([record for record in caplog.records if record.name == bridge.__name__]) == 3


def test_an_application_may_write_and_start_again() -> None:
    def old(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        start_response("500 Oops", [("Content-Length", "0")])
        write = start_response("200 OK", [("Content-Length", "6")], (None, None, None))
        write(b"abc")
        return [b"def"]

    with serving(old) as port:
        assert talk(port, request("GET /"))[::2] == (200, b"abcdef")


def test_a_head_has_the_headers_of_the_answer_and_no_body(echo_port: int) -> None:
    status, headers, body = talk(echo_port, request("HEAD /some-where"))
    assert status == 200
    assert int(headers["content-length"]) > 0
    assert body == b""


def test_connections_are_kept_and_requests_on_them_stay_apart(echo_port: int) -> None:
    with socket.create_connection(("127.0.0.1", echo_port), timeout=20) as connection:
        for number in range(10, 15):
            head = b"POST /%d HTTP/1.1\r\nHost: hub\r\nContent-Length: 3\r\n\r\n" % number
            connection.sendall(head + b"%d!" % number)
            answer = b""
            while b'"body": "%d!"}' % number not in answer:
                answer += connection.recv(65_536)
            assert b'"PATH_INFO": "/%d"' % number in answer


def test_django_runs_behind_it() -> None:
    with serving(django_application) as port:
        status, headers, body = talk(port, request("GET /swagger/?format=openapi"))
        assert status == 200
        assert json.loads(body)["swagger"] == "2.0"
        assert int(headers["content-length"]) == len(body)
        script = request("GET /static/drf-yasg/swagger-ui-dist/swagger-ui-bundle.js")
        status, headers, body = talk(port, script)
        assert status == 200
        assert int(headers["content-length"]) == len(body) > 10**6
        status, headers, body = talk(port, script.replace(b"GET", b"HEAD"))
        assert (status, body) == (200, b"")
        status, _, body = talk(port, request("GET /%FF/%C3%A9"))
        assert (status, json.loads(body)) == (404, {"detail": "Not found."})
