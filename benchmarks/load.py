"""The load generator: a process of its own that sends prepared requests over connections that stay open.

    python -m benchmarks.load REQUESTS HOST PORT CONNECTIONS < nothing > JSON

REQUESTS is a pickled list of chains, each a list of whole HTTP requests. The requests of a chain are sent one after
the other, each when the one before was answered; the chains are spread over the connections.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections import Counter
from pathlib import Path

Chains = list[list[bytes]]
LONGEST_HEAD = 65_536


class Generator:
    """Sends all chains and keeps every latency (seconds) and status."""

    def __init__(self, chains: Chains, host: str, port: int) -> None:
        self._waiting = list(reversed(chains))
        self._address = host, port
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    async def run(self, connections: int) -> float:
        """Seconds that it took. The connections are opened before the clock starts."""
        opened = [
            await asyncio.open_connection(*self._address, limit=LONGEST_HEAD) for _ in range(connections)
        ]
        began = time.perf_counter()
        await asyncio.gather(*(self._work(reader, writer) for reader, writer in opened))
        took = time.perf_counter() - began
        for _, writer in opened:
            writer.close()
        return took

    async def _work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while self._waiting:
            for request in self._waiting.pop():
                began = time.perf_counter()
                writer.write(request)
                status, body = await answer(reader)
                self.latencies.append(time.perf_counter() - began)
                self.statuses[status] += 1
                if status >= 400:
                    self.failures[body[:200].decode(errors="replace")] += 1


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lowered = head.lower()
    place = lowered.find(b"content-length:")
    if place >= 0:
        length = int(lowered[place + 15 : lowered.index(b"\r\n", place)])
        return status, await reader.readexactly(length)
    body = b""
    while size := int(await reader.readline(), 16):  # chunked
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return status, body


def main() -> None:
    path, host, port, connections = sys.argv[1:]
    chains: Chains = pickle.loads(Path(path).read_bytes())  # noqa: S301  (written by the benchmark itself)
    generator = Generator(chains, host, int(port))
    try:
        import uvloop
    except ImportError:
        took = asyncio.run(generator.run(int(connections)))
    else:
        took = uvloop.run(generator.run(int(connections)))
    json.dump(
        {
            "seconds": took,
            "latencies": generator.latencies,
            "statuses": generator.statuses,
            "failures": generator.failures.most_common(5),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
