"""A batch's transaction begins and ends with its statements: nothing of one that fails is left, and the connection
can be used afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg2
import pytest
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.transaction import TransactionManagementError

from ledger import store
from ledger.accounts_sql import saving
from ledger.group_commit import GroupCommitter
from ledger.kept_plans import Call, Kept, own_transaction, run
from ledger.models import Transfer
from ledger.sql import execute, fetch
from ledger.store import StoredTransfer
from ledger.tests.checks import account_rows, check_ledger, row_counts
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db(transaction=True)

_NOTE = Kept("test_note", ["integer"], "INSERT INTO test_note SELECT $1")
_FAIL = Kept("test_fail", ["integer"], "SELECT 1 / $1")


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def notes() -> Iterator[Callable[[], list[int]]]:
    """What _NOTE has left, as a new connection sees it. No number may be there twice when it is committed."""
    execute("CREATE TABLE test_note (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")

    def read() -> list[int]:
        assert usable()
        with psycopg2.connect(**connection.get_connection_params()) as other, other.cursor() as cursor:
            cursor.execute("SELECT number FROM test_note ORDER BY 1")
            return [row[0] for row in cursor.fetchall()]

    yield read
    execute("DROP TABLE test_note")


def usable() -> bool:
    """Whether the connection is as outside of transactions."""
    (setting,) = fetch("SELECT current_setting('plan_cache_mode'), pg_current_xact_id_if_assigned() IS NULL")
    assert connection.get_autocommit()
    return not connection.in_atomic_block and not connection.needs_rollback and setting == ("auto", True)


def lose_connection() -> None:
    """Have the server end this thread's session."""
    with psycopg2.connect(**connection.get_connection_params()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])


def write(first: Sequence[Call], last: Sequence[Call], error: BaseException | None = None) -> None:
    """A transaction in two round trips, between which the error is raised."""
    with own_transaction() as run_last:
        run(*first)
        if error is not None:
            raise error
        run_last(*last)


def test_statements_are_committed_together(notes: Any) -> None:
    with own_transaction() as run_last:
        run(_NOTE(1))
        assert connection.in_atomic_block
        run_last(_NOTE(2), _NOTE(3))
    assert notes() == [1, 2, 3]


def test_a_transaction_that_says_nothing_but_its_end(notes: Any) -> None:
    write([], [])
    assert notes() == []


@pytest.mark.parametrize("calls", [[_FAIL(0)], [_NOTE(2), _FAIL(0)], [_FAIL(0), _NOTE(2)]])
@pytest.mark.parametrize("at_last", [False, True])
def test_of_statements_of_which_one_fails_nothing_is_left(
    notes: Any, calls: list[Call], at_last: bool
) -> None:
    with pytest.raises(DataError, match="division by zero"):
        write([_NOTE(1)], calls) if at_last else write(calls, [_NOTE(1)])
    assert notes() == []


def test_the_commit_fails(notes: Any) -> None:
    with pytest.raises(IntegrityError):
        write([_NOTE(1)], [_NOTE(1)])
    assert notes() == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_of_the_callers(notes: Any, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write([_NOTE(1)], [], error())
    assert notes() == []


def test_an_error_before_anything_was_run(notes: Any) -> None:
    with pytest.raises(RuntimeError):
        write([], [], RuntimeError())
    assert notes() == []


def test_an_error_that_was_passed_over_commits_nothing(notes: Any) -> None:
    def pass_over() -> None:
        with own_transaction() as run_last:
            run(_NOTE(1))
            with pytest.raises(DataError):
                run(_FAIL(0))
            run_last()

    with pytest.raises(TransactionManagementError, match="answered by ROLLBACK"):
        pass_over()
    assert notes() == []


def test_an_error_in_an_atomic_block_that_was_passed_over_commits_nothing(notes: Any) -> None:
    def pass_over() -> None:
        with own_transaction() as run_last:
            run(_NOTE(1))
            with pytest.raises(RuntimeError), transaction.atomic():
                raise RuntimeError
            run_last(_NOTE(2))

    with pytest.raises(TransactionManagementError):
        pass_over()
    assert notes() == []


def test_who_forgets_to_commit_is_told(notes: Any) -> None:
    with pytest.raises(TransactionManagementError, match="not committed"), own_transaction():
        run(_NOTE(1))
    assert notes() == []


def test_what_is_to_follow_the_commit_follows_it(notes: Any) -> None:
    seen: list[list[int]] = []

    def note(number: int, *last: Call) -> None:
        with own_transaction() as run_last:
            run(_NOTE(number))
            transaction.on_commit(lambda: seen.append(notes()))
            run_last(*last)

    with pytest.raises(DataError):
        note(1, _FAIL(0))
    note(2)
    assert seen == [[2]]


@pytest.mark.parametrize("end", [connection.close, lose_connection])
@pytest.mark.parametrize("begun", [False, True])
def test_a_connection_that_ends_inside_takes_all_with_it(
    notes: Any, end: Callable[[], None], begun: bool
) -> None:
    def lose() -> None:
        with own_transaction() as run_last:
            if begun:
                run(_NOTE(1))
            end()
            run_last(_NOTE(2))

    with pytest.raises((DatabaseError, InterfaceError)):
        lose()
    if connection.connection is not None and connection.connection.closed:
        connection.close()
    assert notes() == []


def test_inside_of_a_transaction_it_is_part_of_it(notes: Any) -> None:
    with transaction.atomic():
        write([_NOTE(1)], [])
        with pytest.raises(DataError):
            write([_NOTE(2)], [_FAIL(0)])
        assert fetch("SELECT number FROM test_note") == [(1,)]
    assert notes() == [1]


def test_where_transactions_are_begun_by_hand_it_commits_nothing(notes: Any) -> None:
    transaction.set_autocommit(False)
    try:
        write([_NOTE(1)], [_NOTE(2)])
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert notes() == []


# --- batches ---------------------------------------------------------------------------------------------------


def test_a_batch_that_fails_as_it_is_written_leaves_nothing(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = funded(play, 2)
    before = row_counts(), account_rows()
    monkeypatch.setattr(store, "saving", lambda *given: [*saving(*given), _FAIL(0)])
    command = alice.transfer(bob.owner, 1)
    with pytest.raises(DataError, match="division by zero"):
        store.execute([command])
    assert usable()
    assert (row_counts(), account_rows()) == before
    monkeypatch.undo()
    assert isinstance(store.execute([command])[0], StoredTransfer)
    check_ledger()


def test_a_single_transfer_whose_connection_is_lost_is_an_error(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = funded(play, 2)
    command = alice.transfer(bob.owner, 1)

    def losing(*given: Any) -> list[Call]:
        lose_connection()
        return saving(*given)

    monkeypatch.setattr(store, "saving", losing)
    with pytest.raises(OperationalError):
        GroupCommitter().submit(command)
    monkeypatch.undo()
    assert usable()
    assert not Transfer.objects.exists()
    assert isinstance(GroupCommitter().submit(command), StoredTransfer)
    check_ledger()
