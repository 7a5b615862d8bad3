"""How many connections an address has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings


class Admittance:
    """Counts the connections of each address in this process."""

    def __init__(self) -> None:
        self._visitors: Counter[str] = Counter()

    @contextmanager
    def visit(self, scope: Mapping[str, Any]) -> Iterator[bool]:
        """Whether the connection is within HUB_STREAM_CONNECTIONS_PER_ADDRESS; counted until the block ends."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        limit = settings.HUB_STREAM_CONNECTIONS_PER_ADDRESS
        self._visitors[address] += 1
        try:
            yield not limit or self._visitors[address] <= limit
        finally:
            self._visitors[address] -= 1
            if not self._visitors[address]:
                del self._visitors[address]
