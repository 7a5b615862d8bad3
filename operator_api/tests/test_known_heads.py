"""A connection that knows heads takes from any packets the requests that the parser takes from them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from operator_api import direct, direct_protocol
from operator_api.asgi import HubProtocol
from operator_api.bridge import Answer

HEAD = b"POST /transfer/ HTTP/1.1\r\nHost: h\r\n"
LINES = (
    b"Connection: close\r\n",
    b"X-Request-ID: a\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"X-Forwarded-For: 9.9.9.9\r\n",
    b"A: b\r\n c\r\n",
    b"X-Content-Length: 3\r\n",
    b"Content-Length: 10\r\n",
)
BODIES = (
    b"0123456789",
    b"abcdefghij",
    b"\r\n" * 5,
    b"POST /trans",
    b"",
    b"\n\n\r\n\r\n{}xx",
    b"0123456789" * 2,
)
LEFT = b"\r"
"""Bodies that begin so are left to the general way."""


def _requests(body: bytes, line: bytes) -> dict[str, bytes]:
    """A request in usual and unusual forms."""
    length = b"Content-Length: %d" % len(body)
    plain = HEAD + length + b"\r\n\r\n" + body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return {
        "plain": plain,
        "line feeds": (HEAD + length).replace(b"\r\n", b"\n") + b"\n\n" + body,
        "last line feeds": HEAD + length + b"\n\r\n" + body,
        "bare end": HEAD + length + b"\n\n" + body,
        "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n",
        "late": b"\r\n" + plain,
        "followed": plain + b"\r\n",
        "zeros": HEAD + b"Content-Length: 00%d\r\n\r\n" % len(body) + body,
        "other": b"GET /x?a HTTP/1.1\r\nHost: h\r\n\r\n",
        "one more line": HEAD + line + length + b"\r\n\r\n" + body,
    }


FORMS = sorted(_requests(b"", b""))


@st.composite
def packets(draw: st.DrawFn) -> list[bytes]:
    """What a client sends: mostly a few requests again and again, at times in pieces or several at once."""
    forms = st.sampled_from([*6 * ["plain"], *FORMS])
    request = st.builds(
        lambda form, body, line: _requests(body, line)[form],
        forms,
        st.sampled_from(BODIES),
        st.sampled_from(LINES),
    )
    some = draw(st.lists(request, min_size=1, max_size=3))
    found, held = [], b""
    for sent in draw(st.lists(st.sampled_from(some) | request, min_size=3, max_size=12)):
        how = draw(st.sampled_from([*6 * ["whole"], "held", "cut", "broken"]))
        cut = draw(st.integers(0, len(sent))) if how in {"cut", "broken"} else len(sent)
        held += sent[:cut]
        if how != "held":
            found.append(held)
            held = sent[cut:] if how == "cut" else b""
    return [packet for packet in [*found, held] if packet]


class Wire(asyncio.Transport):
    """Keeps the first lines of what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 8123)})
        self.lines: list[bytes] = []
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: Any) -> None:
        self.lines.append(bytes(data).split(b"\r\n")[0])

    def close(self) -> None:
        self.closed = True

    def set_protocol(self, protocol: Any) -> None:
        """The protocol is not changed."""

    def pause_reading(self) -> None:
        """All packets are handed over whatever happens."""

    def resume_reading(self) -> None:
        """The same."""


@dataclass
class Hub:
    """What is behind a connection."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    waiting: list[tuple[bytes, Any]] = field(default_factory=list)

    async def general(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.asked.append((scope["method"], scope["path"], tuple(scope["headers"]), body, scope["client"]))
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def go_on(self) -> None:
        """Answer what waits, until nothing does."""
        for _ in range(4):
            while self.waiting:
                body, done = self.waiting.pop(0)
                self.asked.append((body,))
                done(None if body.startswith(LEFT) else b"ok")
            for _ in range(6):
                await asyncio.sleep(0)


async def play(hub: Hub, sent: list[bytes], answered: list[bool]) -> tuple[Any, ...]:
    """What the hub is asked and the client is told."""
    config = uvicorn.Config(hub.general, ws="none", proxy_headers=False, lifespan="off", log_config=None)
    config.load()
    loop = asyncio.get_running_loop()
    protocol = HubProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    wire = Wire()
    protocol.connection_made(wire)
    for packet, now in zip(sent, answered, strict=True):
        if wire.closed:
            break
        protocol.data_received(packet)
        if now:
            await hub.go_on()
    await hub.go_on()
    protocol.connection_lost(None)
    return hub.asked, wire.lines, wire.closed


@settings(max_examples=400, deadline=None)
@given(data=st.data(), sent=packets())
def test_known_heads_change_nothing(data: st.DataObject, sent: list[bytes]) -> None:
    answered = data.draw(st.lists(st.booleans(), min_size=len(sent), max_size=len(sent)))
    found = []
    for knows in (True, False):
        hub = Hub()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                direct.Endpoint, "submit", lambda _, body, done, hub=hub: hub.waiting.append((body, done))
            )
            patch.setattr(direct.Endpoint, "answer", lambda _, result: result and Answer(201, [], result))
            patch.setattr(HubProtocol.direct.learned, "get", lambda _: b"a: b\r\n")
            patch.setattr(HubProtocol.direct, "note", lambda *_: None)
            if not knows:
                patch.setattr(direct_protocol, "known", lambda *_: None)
            found.append(asyncio.run(play(hub, sent, answered)))
    assert found[0] == found[1]
