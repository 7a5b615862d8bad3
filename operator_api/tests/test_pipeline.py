"""Batches of requests: what is told to whom, once, whatever the committer does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from ledger.group_commit import Committer
from operator_api.pipeline import Pipeline
from operator_api.plain_input import IrregularError


class Doubling(Committer[int, int]):
    """Keeps the batches that it is given; 13 spoils its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []

    def execute(self, commands: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(commands))
        if 13 in commands:
            raise RuntimeError("13")
        return [2 * command for command in commands]


class Gate:
    """Holds up who reads 3 until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def read(self, data: Any) -> int:
        if data == 3:
            self.reached.set()
            assert self.opened.wait(10)
        return read(data)


def read(data: Any) -> int:
    """Even numbers are irregular."""
    if data % 2 == 0:
        raise IrregularError
    return int(data)


@contextmanager
def line_of(committer: Committer[Any, Any], threads: int = 1) -> Iterator[Pipeline]:
    line = Pipeline(committer, threads=threads)
    yield line
    line.close()


async def results(
    line: Pipeline, numbers: Sequence[Any], read: Callable[[Any], int] = read, apart: Collection[int] = ()
) -> list[Any]:
    """What each number is told, of requests that arrive together."""
    told: list[list[Any]] = [[] for _ in numbers]
    for number, heard in zip(numbers, told, strict=True):
        done: Callable[[Any], None] = heard.append
        body = number if isinstance(number, bytes) else json.dumps(number).encode()
        line.submit(read, body, done, number in apart)
    async with asyncio.timeout(10):
        while not all(told):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert [len(heard) for heard in told] == [1] * len(told)
    return [heard[0] for heard in told]


async def test_each_request_is_told_once_what_became_of_it() -> None:
    with line_of(Doubling()) as line:
        assert await results(line, [1, 2, 5, b"{", 7]) == [2, None, 10, None, 14]


async def test_what_fails_spoils_no_other() -> None:
    with line_of(Doubling()) as line:
        first, irregular, failed, last = await results(line, [1, 2, 13, 7])
        assert (first, irregular, last) == (2, None, 14)
        assert isinstance(failed, RuntimeError)


async def test_a_committer_that_fails_is_told_to_those_with_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(commands: Sequence[int]) -> Sequence[int]:
        raise RuntimeError("nothing works")

    committer = Doubling()
    monkeypatch.setattr(committer, "submit_all", fails)
    with line_of(committer) as line:
        failed, irregular = await results(line, [1, 2])
        assert isinstance(failed, RuntimeError)
        assert irregular is None
        monkeypatch.undo()
        assert await results(line, [1]) == [2]


async def test_a_second_thread_reads_while_the_first_is_busy() -> None:
    committer, gate = Doubling(), Gate()
    with line_of(committer, threads=2) as line:
        slow = asyncio.ensure_future(results(line, [3], gate.read))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        assert await results(line, [1]) == [2]
        gate.opened.set()
        assert await slow == [6]
    assert committer.batches == [[1], [3]]


@pytest.mark.parametrize(("waiting", "batches"), [(16, [1, 16]), (100, [1, 51, 49])])
async def test_of_what_comes_while_a_batch_is_made_half_is_the_next_one(
    waiting: int, batches: list[int]
) -> None:
    """Half of those who wait and those just answered, who will ask again; a few are not divided."""
    committer, gate = Doubling(), Gate()
    with line_of(committer) as line:
        first = asyncio.ensure_future(results(line, [3], gate.read))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        others = asyncio.ensure_future(results(line, waiting * [5]))
        await asyncio.sleep(0)
        gate.opened.set()
        assert await first == [6]
        assert await others == waiting * [10]
    assert [len(batch) for batch in committer.batches] == batches


async def test_what_is_apart_shares_no_batch_with_others() -> None:
    committer, gate = Doubling(), Gate()
    with line_of(committer) as line:
        first = asyncio.ensure_future(results(line, [3], gate.read))
        assert await asyncio.to_thread(gate.reached.wait, 10)
        others = asyncio.ensure_future(results(line, [5, 13, 9, 2, 7, 11], apart={13, 7, 2}))
        await asyncio.sleep(0)
        gate.opened.set()
        assert await first == [6]
        one, failed, *rest = await others
        assert isinstance(failed, RuntimeError)
        assert [one, *rest] == [10, 18, None, 14, 22]
    # the batch that failed is tried again command by command
    assert committer.batches == [[3], [5, 9, 11], [13, 7], [13], [7]]
