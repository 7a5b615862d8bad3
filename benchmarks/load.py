"""The load generator: a process of its own that sends prepared requests over connections that stay open.

    python -m benchmarks.load REQUESTS HOST PORT CONNECTIONS [RATE] < nothing > JSON

REQUESTS is a pickled list of chains, each a list of whole HTTP requests. The requests of a chain are sent one after
the other, each when the one before was answered; the chains are spread over the connections. With a RATE, requests
are due at even intervals, so many a second, whether or not the server keeps up, on the connection that waited
longest; latencies count from the moment a request was due. It ends when the last chain was begun and what was due
by then is answered. The clock starts when the server has answered something on each connection.

It shares the machine with what it measures, so it does as little as it can: requests are whole beforehand, and of
an answer it reads the status and the length.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import cast

import uvloop

Chains = list[list[bytes]]
LENGTH = b"content-length: "
GREETING = b"GET /audit/ HTTP/1.1\r\nHost: %s:%d\r\nAccept: application/json\r\n\r\n"


class Generator:
    """Sends all chains and keeps every latency (seconds) and status."""

    def __init__(self, chains: Chains, rate: float = 0.0) -> None:
        self._chains = list(reversed(chains))
        self._interval = 1 / rate if rate else 0.0
        self._due: deque[float] = deque()
        self._idle: deque[Connection] = deque()
        self._left = sum(map(len, chains))
        self._unsent = self._left
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    async def run(self, host: str, port: int, connections: int) -> float:
        """Seconds that it took."""
        loop = asyncio.get_running_loop()
        opened = [
            (await loop.create_connection(lambda: Connection(self), host, port))[1]
            for _ in range(connections)
        ]
        await asyncio.gather(*(connection.greet(GREETING % (host.encode(), port)) for connection in opened))
        began = time.perf_counter()
        if self._interval:
            self._idle.extend(opened)
            await asyncio.gather(self._keep_rate(began), self.over)
        else:
            for connection in opened:
                self.idle(connection)
            await self.over
        took = time.perf_counter() - began
        for connection in opened:
            connection.transport.abort()
        return took

    async def _keep_rate(self, began: float) -> None:
        due = began
        while self._unsent or self._due:
            if self._unsent and not self._chains:
                self._drop_the_rest()
            while due <= time.perf_counter() and self._unsent:
                self._unsent -= 1
                self._due.append(due)
                due += self._interval
            while self._due and self._idle:
                self.idle(self._idle.popleft())
            await asyncio.sleep(max(due - time.perf_counter(), 0.001))

    def _drop_the_rest(self) -> None:
        """Make nothing else due: what is left are the ends of chains, which would wait for each other."""
        self._left -= self._unsent
        self._unsent = 0
        if not self._left:
            self.over.set_result(None)

    def idle(self, connection: Connection) -> None:
        """Send a request over a connection that waits for no answer, if one is due."""
        if not connection.chain:
            if not self._chains:
                return
            connection.chain.extend(self._chains.pop())
        began = time.perf_counter()
        if self._interval:
            if not self._due:
                self._idle.append(connection)
                return
            began = self._due.popleft()
        connection.send(connection.chain.popleft(), began)

    def answered(self, connection: Connection, began: float, status: int, body: bytes) -> None:
        """Note an answer and go on."""
        self.latencies.append(time.perf_counter() - began)
        self.statuses[status] += 1
        if status >= 400:
            self.failures[body[:200].decode(errors="replace")] += 1
        self._left -= 1
        if not self._left:
            self.over.set_result(None)
            return
        self.idle(connection)


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._received = b""
        self._began = 0.0
        self.chain: deque[bytes] = deque()
        self.transport: asyncio.Transport
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    async def greet(self, request: bytes) -> None:
        """Have the server answer something that does not count."""
        self.transport.write(request)
        await self._greeted

    def send(self, request: bytes, began: float) -> None:
        self._began = began
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._received = data
            return
        place = data.index(LENGTH, 0, head) + len(LENGTH)
        end = head + 4 + int(data[place : data.index(b"\r", place)])
        if len(data) < end:
            self._received = data
            return
        self._received = b""
        if not self._greeted.done():
            self._greeted.set_result(None)
            return
        self._generator.answered(self, self._began, int(data[9:12]), data[head + 4 : end])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._generator.over.done():
            self._generator.over.set_exception(error or ConnectionError("the server closed a connection"))


async def measure(chains: Chains, host: str, port: int, connections: int, rate: float) -> None:
    """Send everything and print what came of it."""
    generator = Generator(chains, rate)
    used = time.process_time()
    took = await generator.run(host, port, connections)
    json.dump(
        {
            "seconds": took,
            "processor_seconds": time.process_time() - used,
            "latencies": generator.latencies,
            "statuses": generator.statuses,
            "failures": generator.failures.most_common(5),
        },
        sys.stdout,
    )


def main() -> None:
    path, host, port, connections, *rate = sys.argv[1:]
    chains: Chains = pickle.loads(Path(path).read_bytes())  # noqa: S301  (written by the benchmark itself)
    uvloop.run(measure(chains, host, int(port), int(connections), float(rate[0]) if rate else 0.0))


if __name__ == "__main__":
    main()
