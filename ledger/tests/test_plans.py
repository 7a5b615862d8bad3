"""What is read set-wise costs the rows that it reads, also of an eon that PostgreSQL's statistics have not seen.

They are made anew when a tenth of a table is new, which may be many eons. Until then an eon is taken for one row.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from auditor import market as display
from benchmarks.population import populate
from benchmarks.resting import WRITE
from heartbeat import checks, pool
from ledger import transfer_rows, trees
from ledger.allotments import WALLETS
from ledger.carry_over import end_orders
from ledger.checkpoint import create_checkpoint
from ledger.models import Token, Wallet
from ledger.prepared import PreparedRead, prepare
from ledger.proofs import proofs
from ledger.sql import execute, fetch
from ledger.store import chain_status
from ledger.tests.test_orders import LQD, done, place, trader
from ledger.verification import VOIDED
from operator_api.simulation.play import Play
from swapper import books
from synchronizer import open_orders

pytestmark = pytest.mark.django_db
MANY = 2_000


@pytest.fixture
def play() -> Play:
    """With many wallets. Statistics end with eon 2: the checkpoint of eon 3 is new, and eon 4 has begun."""
    play = populate(MANY)
    with transaction.atomic():
        create_checkpoint(3, 121)
    play.enter_next_eon()
    trees.remembered.clear()
    for dear in ("hashjoin", "mergejoin", "sort"):  # as they are of a million rows
        execute(f"SET LOCAL enable_{dear} = off")
    return play


@pytest.fixture
def token(play: Play) -> Token:
    """That of the wallets."""
    return play.tokens[0]


def assert_by_index(statement: str) -> None:
    """No row is compared with all rows of another table."""
    plan = "\n".join(row[0] for row in fetch(f"EXPLAIN {statement}"))
    assert "Join Filter" not in plan, plan
    assert "Materialize" not in plan, plan


def every(read: PreparedRead) -> str:
    """A prepared read with its parameters, whatever they are."""
    with connection.cursor() as cursor:
        prepare(cursor, read)
    return f"EXECUTE {read.name} ({', '.join(['NULL'] * read.execution.count('%s'))})"


def selects(work: Callable[[], object]) -> list[str]:
    """What a call asks the database."""
    with CaptureQueriesContext(connection) as asked:
        work()
    return [query["sql"] for query in asked if query["sql"].startswith(("SELECT", "WITH", "\nWITH"))]


def test_statistics_that_have_not_seen_an_eon_mislead_joins(token: Token) -> None:
    """Else the tests below would hold of any statement."""
    with pytest.raises(AssertionError):
        assert_by_index(
            'SELECT p."right" - p."left" FROM ledger_wallet w LEFT JOIN ledger_exclusivebalanceallotment p'  # noqa: S608
            f" ON p.wallet_id = w.id AND p.eon_number = 3 WHERE w.token_id = {token.pk} ORDER BY w.trail_identifier"
        )


@pytest.mark.parametrize("read", [transfer_rows._TRANSFERS, transfer_rows._NAMED, transfer_rows._CONFIRMED])
def test_transfers_are_read_with_their_wallets_by_the_index(read: PreparedRead) -> None:
    """Also while the statistics know of no row at all, as before a table was first looked through."""
    execute("SET LOCAL plan_cache_mode = force_generic_plan")
    assert_by_index(every(read))
    execute("UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE relname LIKE 'ledger%%'")
    assert_by_index(every(read))


def test_the_checkpoint_reads_wallets_by_the_index(token: Token) -> None:
    with connection.cursor() as cursor:
        for before in (2, 3):
            values = {"token": token.pk, "eon": before + 1, "before": before}
            assert_by_index(cursor.mogrify(WALLETS, values).decode())


def test_balances_are_added_up_by_the_index(token: Token) -> None:
    asked = selects(lambda: pool.ledger_unbalanced(chain_status()))
    assert len(asked) > 1
    assert pool.ledger_unbalanced(chain_status()) == {}
    owned, _ = asked[-1].split(", deposits AS")
    assert_by_index(f"{owned} SELECT * FROM owned")  # noqa: S608


def test_states_are_compared_with_accounts_by_the_index(token: Token) -> None:
    (asked,) = (
        query for query in selects(lambda: checks.states_differ(chain_status())) if "LATERAL" in query
    )
    assert_by_index(asked)


def test_orders_of_a_new_market_are_read_by_the_index(token: Token) -> None:
    """Neither its wallets nor its orders are in the statistics."""
    new = [
        Token.objects.create(address=bytes([n]) * 20, trail=n, name="", short_name="", block=0)
        for n in (8, 9)
    ]
    first, second = new
    with connection.cursor() as cursor:
        cursor.execute(WRITE, {"count": 100, "first": first.pk, "second": second.pk})
    market = books.Market(*sorted((first.pk, second.pk)))
    assert len(books.read_book(market, 1)) == 100
    execute("UPDATE ledger_transfer SET arrival = NULL WHERE swap AND mod(id, 2) = 0")
    for work in (
        lambda: books.read_book(market, 1),
        lambda: books.read_arrivals(market, 1, 10),
        lambda: books.waiting_markets(1),
        lambda: display.books.get(first, second, 1),
        lambda: open_orders.answers([(bytes(first.address), bytes(second.address))]),
    ):
        asked = [query for query in selects(work) if "ledger_wallet" in query]
        assert asked
        for query in asked:
            plan = "\n".join(row[0] for row in fetch(f"EXPLAIN {query}"))
            assert "wallet_token_trail" not in plan, plan


def test_an_order_is_frozen_and_voided_by_its_index(play: Play) -> None:
    """Not by looking through all orders and transfers of its eon."""
    play.close_eon()
    play.add_token(LQD, "Liquid", "LQD")
    seller = trader(play, 100)
    seller.enter(play.eon, 0, 0)
    place(seller, 100, 200, eons=2)
    with CaptureQueriesContext(connection) as asked:
        done(seller.freeze())
    (freezing,) = (query["sql"] for query in asked if "cancelled = true" in query["sql"])
    with connection.cursor() as cursor:
        voiding = cursor.mogrify(VOIDED, [str(seller.tx_id), play.eon + 1, ""]).decode()
    for statement in (freezing, voiding):
        plan = "\n".join(row[0] for row in fetch(f"EXPLAIN {statement}"))
        assert "transfer_tx_id" in plan, plan


def test_orders_without_fills_are_found_without_comparing_all_with_all(token: Token) -> None:
    (asked,) = (query for query in selects(lambda: checks.fills_differ(chain_status())) if "traded" in query)
    assert "hashed" in "\n".join(row[0] for row in fetch(f"EXPLAIN {asked}"))


def test_a_tree_is_read_by_the_index(token: Token) -> None:
    wallet = Wallet.objects.get(token=token, trail_identifier=77)
    asked = selects(lambda: proofs([(wallet.pk, 3)]))
    (edges,) = (query for query in asked if "unnest" in query)
    assert_by_index(edges)


@pytest.mark.parametrize("seen", [True, False])
def test_orders_are_verified_and_carried_over_by_the_index(play: Play, seen: bool) -> None:
    """Also while the statistics know of no row at all."""
    play.close_eon()
    play.add_token(LQD, "Liquid", "LQD")
    seller = trader(play, 100)
    seller.enter(play.eon, 0, 0)
    place(seller, 100, 200, eons=2)
    if not seen:
        execute("UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE relname LIKE 'ledger%%'")
    # The tables are small: a look at the whole of one of these must not seem cheaper than one at its index.
    execute("SET LOCAL enable_seqscan = off")
    asked = selects(lambda: end_orders(play.eon))
    joined = [query for query in asked if "ledger_activestate" in query and "ledger_transfer t" in query]
    assert len(joined) == 3
    for query in joined:
        assert_by_index(query)
