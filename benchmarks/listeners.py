"""Many websocket clients in one process that costs little: it finds frames in what the server sends, and notes when
those of interest came.

python -m benchmarks.listeners PORT < STREAMS

The first line on standard input is a JSON list with the stream of each connection; each also watches the public
stream. `ready` is printed when all are subscribed. Then for each line, which names a file: what comes is counted
until it is quiet, and the file gets (time, event's id) of each frame.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import resource
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

HOST = "127.0.0.1"
OPENING = 200
"""Connections being opened at a time."""
ADDRESSES = 50
"""Loopback addresses that connections come from in turn, so that none has too many."""
QUIET = 6.0
"""Seconds without a frame after which none is expected."""
ID = b'"data":{"id":'
"""Where the id of a transfer's frame is."""


def masked(text: str) -> bytes:
    """A text frame of a client, with a mask of zeros."""
    payload = text.encode()
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


class Listeners:
    """All connections of this process, and what they heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, int]] = []
        self.last = 0.0
        self.lost = 0
        self.open: list[Listener] = []

    def note(self, frame: bytes) -> None:
        """A notification came; what has no `id` counts as 0."""
        now = time.time()
        start = frame.find(ID)
        event = 0
        if start >= 0:
            start += len(ID)
            event = int(frame[start : frame.index(b",", start)])
        self.heard.append((now, event))
        self.last = now


class Listener(asyncio.Protocol):
    """One connection: upgraded, subscribed, then it listens."""

    def __init__(self, everybody: Listeners, stream: str) -> None:
        self._everybody = everybody
        self._stream = stream
        self._rest = b""
        self._upgraded = False
        self.subscribed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /ws/ HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._everybody.lost += 1
        if not self.subscribed.done():
            self.subscribed.set_exception(exc or ConnectionError("closed before it was subscribed"))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            self._upgraded = True
            request = {"op": "subscribe", "args": {"streams": [self._stream, "hub"]}}
            self._transport.write(masked(json.dumps(request)))
        self._rest = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Take the whole frames; what is left."""
        while len(data) >= 2:
            size, start = data[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            if len(data) < start + size:
                break
            if data[0] == 0x89:
                pong = bytes((0x8A, 0x80 | size)) + bytes(4) + data[start : start + size]
                self._transport.write(pong)
            elif not self.subscribed.done():
                self.subscribed.set_result(None)
            elif data[0] == 0x81:
                self._everybody.note(data[start : start + size])
            data = data[start + size :]
        return data


async def listen(port: int, streams: list[str]) -> None:
    """Subscribe as often as there are streams, then count as told on standard input."""
    loop = asyncio.get_running_loop()
    everybody = Listeners()
    opening = asyncio.Semaphore(OPENING)

    async def connect(number: int, stream: str) -> None:
        async with opening:
            source = (f"127.0.1.{number % ADDRESSES + 1}", 0)
            _, listener = await loop.create_connection(
                lambda: Listener(everybody, stream), HOST, port, local_addr=source
            )
            await listener.subscribed
            everybody.open.append(listener)

    await asyncio.gather(*(connect(number, stream) for number, stream in enumerate(streams)))
    print("ready", flush=True)
    while path := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        everybody.last = time.time()
        while time.time() - everybody.last < QUIET:
            await asyncio.sleep(0.1)
        Path(path).write_bytes(pickle.dumps(everybody.heard))
        everybody.heard = []
        print(json.dumps({"lost": everybody.lost}), flush=True)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    streams = json.loads(sys.stdin.readline())
    uvloop.run(listen(int(sys.argv[1]), streams))


if __name__ == "__main__":
    main()
