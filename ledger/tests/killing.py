"""Processes that die in the middle of their work."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pkgutil import resolve_name
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.utils import CursorWrapper
from psycopg2.extras import execute_values


@contextmanager
def killed_at(step: int, *more: str) -> Iterator[None]:
    """The process dies before its statement, or call of one of the functions with those names, number `step`; a
    commit counts as two, before and after."""
    left = [step]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count()
            return real(*arguments, **named)

        return call

    def commit() -> None:
        count()
        real_commit()
        count()

    wrapper: Any = connections["default"]
    real_commit = wrapper._commit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", before(CursorWrapper.execute))
        patch.setattr("ledger.sql.execute_values", before(execute_values))
        patch.setattr("ledger.sql.BytesIO", before(BytesIO))  # what a COPY sends
        patch.setattr(wrapper, "_commit", commit)
        for name in more:
            patch.setattr(name, before(resolve_name(name)))
        yield


def survives(work: Callable[[], Any], step: int, *more: str) -> bool:
    """Run `work` in a process of its own, which is killed at the step. Whether it came to its end before that."""

    def child() -> None:
        connection.connection = None  # the parent's
        with killed_at(step, *more):
            work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0
