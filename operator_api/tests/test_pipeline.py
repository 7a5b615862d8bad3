"""How requests are handed from one thread to the other."""

from __future__ import annotations

from asyncio import new_event_loop
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import pytest

from ledger.group_commit import Committer
from operator_api.pipeline import Pipeline, Ticket
from operator_api.plain_input import IrregularError


class Nothing(Committer[int, int]):
    """Writes nothing."""

    def execute(self, commands: Sequence[int]) -> Sequence[int]:
        return commands


@pytest.mark.parametrize(
    ("smallest", "before"), [(1, [0, 1, 1, 2, 3, 4, 5]), (3, [0, 0, 0, 0, 3, 3, 3]), (9, [0] * 7)]
)
def test_as_many_are_handed_over_together_as_the_committer_wants(smallest: int, before: list[int]) -> None:
    """All of them at the end; the second of seven is irregular, and handed to nobody."""
    committer = Nothing()
    committer.smallest = smallest
    line = Pipeline(committer)
    seen: list[int] = []

    def read(data: Any) -> int:
        seen.append(line._ready.qsize())
        if data == 1:
            raise IrregularError
        return int(data)

    done: Callable[[Any], None] = seen.append
    with closing(new_event_loop()) as loop:
        tickets = [Ticket(read, b"", done, loop, data=number) for number in range(7)]
        line._read(tickets)
    assert seen == before
    handed = [line._ready.get_nowait() for _ in range(line._ready.qsize())]
    assert [ticket.command for ticket in handed if ticket is not None] == [0, 2, 3, 4, 5, 6]
