"""How long connections are kept that are idle, or whose head does not end, and how much of that is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from operator_api import bridge
from operator_api.bounded_heads import LONGEST_HEAD
from operator_api.direct_protocol import DirectProtocol

BEGUN = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Clock:
    """An event loop with a time and timers of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self.now + seconds, callback, (), cast(Any, self))
        self.timers.append((self.now + seconds, timer))
        return timer

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        self.timers = [entry for entry in self.timers if entry[1] is not timer]

    def get_debug(self) -> bool:
        return False

    def pass_to(self, moment: float) -> None:
        """Let time go on, and timers end."""
        while due := [entry for entry in self.timers if entry[0] <= moment]:
            self.timers.remove(due[0])
            self.now = due[0][0]
            due[0][1]._run()
        self.now = moment


class Closing(asyncio.Transport):
    """A transport that can be closed."""

    closed = False
    written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        """What comes is passed to the connection all the same."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Cycle(SimpleNamespace):
    """A request under way."""

    def __init__(self) -> None:
        super().__init__(response_complete=False, response_started=False, more_body=True)
        self.body = bytearray()
        self.message_event = asyncio.Event()


class Idle(DirectProtocol):
    """A connection whose requests nobody answers."""

    direct = cast(Any, SimpleNamespace(endpoints={}))

    def begin_request(self) -> None:
        self.cycle = cast(Any, Cycle())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connection(clock: Clock) -> DirectProtocol:
    """A connection that may be idle for ten seconds."""
    config = uvicorn.Config(cast(Any, len), lifespan="off", timeout_keep_alive=10)
    made = Idle(config=config, server_state=ServerState(), app_state={}, _loop=cast(Any, clock))
    made.connection_made(Closing())
    return made


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_that_begins_nothing_ends(clock: Clock, connection: DirectProtocol, sent: bytes) -> None:
    """Empty lines may come before a head, and are none."""
    clock.pass_to(109.0)
    if sent:
        connection.data_received(sent)
    assert not connection.transport.is_closing()
    clock.pass_to(110.0)
    assert connection.transport.is_closing()
    assert clock.timers == []


def test_an_idle_connection_ends_after_its_last_answer(clock: Clock, connection: DirectProtocol) -> None:
    for moment in (105.0, 111.0, 120.0):
        clock.pass_to(moment)
        connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
        connection.on_response_complete()
        assert len(clock.timers) == 1
    clock.pass_to(129.0)
    connection.data_received(b"\r\n")  # some clients send it after a body
    clock.pass_to(129.9)
    assert not connection.transport.is_closing()
    clock.pass_to(130.0)
    assert connection.transport.is_closing()
    assert connection.server_state.total_requests == 3
    assert clock.timers == []


def test_a_connection_with_a_request_under_way_is_not_idle(clock: Clock, connection: DirectProtocol) -> None:
    connection.on_response_complete()
    clock.pass_to(105.0)
    connection.data_received(b"P")
    connection.data_received(b"OST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    clock.pass_to(500.0)
    assert not connection.transport.is_closing()
    assert clock.timers == []
    connection.on_response_complete()
    clock.pass_to(509.0)
    assert not connection.transport.is_closing()
    clock.pass_to(510.0)
    assert connection.transport.is_closing()


def test_nor_is_one_whose_next_head_had_begun(clock: Clock, connection: DirectProtocol) -> None:
    connection.data_received(b"GET / HTTP/1.1\r\n\r\nGET")
    connection.cycle.response_complete = True
    connection.on_response_complete()
    connection.data_received(b" / HTTP/1.1\r\n\r\n")
    clock.pass_to(500.0)
    assert not connection.transport.is_closing()


@pytest.mark.parametrize("answered", [False, True])
def test_a_lost_connection_leaves_no_timer(clock: Clock, connection: DirectProtocol, answered: bool) -> None:
    if answered:
        connection.on_response_complete()
    connection.connection_lost(OSError())
    assert clock.timers == []


def test_a_websocket_is_not_idle(clock: Clock, connection: DirectProtocol) -> None:
    made: list[Any] = []

    def websocket(**_: Any) -> Any:
        made.append(SimpleNamespace(connection_made=made.append, data_received=made.append))
        return made[0]

    cast(Any, connection).begin_request = partial(DirectProtocol.begin_request, connection)
    cast(Any, connection).ws_protocol_class = websocket
    cast(Any, connection.transport).set_protocol = made.append
    connection.data_received(b"GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert made
    assert clock.timers == []


# ---- heads that do not end --------------------------------------------------------------------------------------


def waits(clock: Clock, connection: DirectProtocol) -> int:
    """The timers of heads."""
    return sum(timer is not connection.timeout_keep_alive_task for _, timer in clock.timers)


def written(connection: DirectProtocol) -> bytes:
    return cast(Closing, connection.transport).written


def begin(connection: DirectProtocol) -> Any:
    """Begin a request whose body comes in chunks; the request under way."""
    connection.data_received(BEGUN + b"Transfer-Encoding: chunked\r\n\r\n")
    return connection.cycle


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (b"GET /", b"x" * 600),
        (BEGUN, b"A: b\r\n" * 100),
        (BEGUN + b"A: ", b"x" * 600),
        (BEGUN, b"x" * 600),
        (b"", b"\r\n" * 300),
    ],
)
def test_a_head_that_is_too_long_is_refused(connection: DirectProtocol, before: bytes, piece: bytes) -> None:
    connection.data_received(before)
    sent = len(before)
    while not connection.transport.is_closing():
        connection.data_received(piece)
        sent += len(piece)
        assert sent <= LONGEST_HEAD + len(piece)
    assert written(connection).startswith(b"HTTP/1.1 400 ")
    assert b"at most" in written(connection)


def test_trailers_that_are_too_long_are_refused(connection: DirectProtocol) -> None:
    begin(connection)
    connection.data_received(b"2\r\n{}\r\n0\r\n")
    for _ in range(LONGEST_HEAD // 600):
        connection.data_received(b"A: b\r\n" * 100)
        assert not connection.transport.is_closing()
    connection.data_received(b"A: b\r\n" * 100)
    assert connection.transport.is_closing()
    assert b"at most" in written(connection)


def test_a_body_may_be_longer_than_a_head(clock: Clock, connection: DirectProtocol) -> None:
    begin(connection)
    for _ in range(2 * LONGEST_HEAD // 1_000):
        connection.data_received(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
    connection.data_received(b"0\r\n\r\n")
    assert not connection.transport.is_closing()
    assert waits(clock, connection) == 0


@pytest.mark.parametrize("more_body", [False, True])
def test_no_refusal_passes_for_the_answer_to_another_request(
    connection: DirectProtocol, more_body: bool
) -> None:
    """Or for a part of an answer that has begun."""
    cycle = begin(connection)
    cycle.more_body, cycle.response_started = more_body, more_body
    connection.data_received(b"0\r\n" + b"A: b\r\n" * LONGEST_HEAD)
    assert connection.transport.is_closing()
    assert written(connection) == b""


@pytest.mark.parametrize("begun", [b"GET /", BEGUN, b"\r\nGET / HTTP/1.1\r\n"])
def test_a_head_is_waited_for_as_long_as_a_body(
    clock: Clock, connection: DirectProtocol, begun: bytes
) -> None:
    connection.data_received(begun)
    for _ in range(3):  # what comes meanwhile does not prolong it
        clock.pass_to(clock.now + bridge.BODY_SECONDS / 4)
        connection.data_received(b"O")
    clock.pass_to(99.9 + bridge.BODY_SECONDS)
    assert not connection.transport.is_closing()
    clock.pass_to(100.0 + bridge.BODY_SECONDS)
    assert connection.transport.is_closing()
    assert written(connection).startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive" in written(connection)


def test_each_head_is_waited_for_anew(clock: Clock, connection: DirectProtocol) -> None:
    for _ in range(3):
        connection.data_received(b"GET / HTTP/1.1\r\n")
        clock.pass_to(clock.now + 0.8 * bridge.BODY_SECONDS)
        connection.data_received(b"\r\n")
        connection.cycle.response_complete = True
        assert waits(clock, connection) == 0
    assert not connection.transport.is_closing()


def test_a_head_behind_a_request_that_is_served_is_not_given_up(
    clock: Clock, connection: DirectProtocol
) -> None:
    cycle = begin(connection)
    connection.data_received(b"0\r\n\r\nGET /")
    clock.pass_to(100.0 + 2.5 * bridge.BODY_SECONDS)
    assert not connection.transport.is_closing()
    cycle.response_complete = True
    clock.pass_to(100.0 + 3 * bridge.BODY_SECONDS)
    assert written(connection).startswith(b"HTTP/1.1 408 ")


def test_a_lost_connection_waits_for_no_head(clock: Clock, connection: DirectProtocol) -> None:
    connection.data_received(b"P")
    assert waits(clock, connection) == 1
    connection.connection_lost(OSError())
    assert clock.timers == []
