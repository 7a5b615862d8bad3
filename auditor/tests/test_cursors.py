"""Pages of the transaction list behind a cursor."""

from __future__ import annotations

import base64
import random
import re
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from auditor import bounded, listing
from ledger.models import Transfer
from ledger.sql import execute, fetch
from nocust.addresses import to_checksum
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from swapper.tests.market import market, place, trader

pytestmark = pytest.mark.django_db
PATH = "/audit/transactions/"
ROWS = 13


def get(url: str, status: int = 200, **query: Any) -> Any:
    response = APIClient().get(url, query)
    assert response.status_code == status, response.content
    return response.json()


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.fixture
def ledger(play: Play) -> list[Trader]:
    """Ten transfers, four of them in eon 2, and an order for three eons: amounts repeat, and only orders have an
    amount swapped."""
    market(play)
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    one = trader(play, 100)
    place(one, 100, 200, eons=3)
    for amount in (3, 1, 2, 3, 1, 2):
        play.pay(alice, bob, amount)
    play.next_eon()
    for amount in (2, 2, 1, 3):
        play.pay(alice, bob, amount)
    return [one]


def ids(body: Any) -> list[int]:
    return [row["id"] for row in body["results"]]


@pytest.mark.parametrize("limit", [1, 2, 5, ROWS - 1, ROWS, 100])
@pytest.mark.parametrize(
    "ordering",
    [
        *("", "-id", "amount", "-amount", "time", "-time,amount", "amount_swapped"),
        *("-amount_swapped,-amount", "swap,-eon_number", "wallet,-nonce", "tx_id", "complete,-complete"),
    ],
)
def test_pages_forth_and_back_are_the_list(ledger: list[Trader], ordering: str, limit: int) -> None:
    everything = ids(get(PATH, ordering=ordering, limit=1000))
    assert len(everything) == Transfer.objects.count() == ROWS
    page = get(PATH, ordering=ordering, limit=limit, cursor="")
    assert (page["count"], page["previous"]) == (None, None)
    forth = [ids(page)]
    while page["next"] is not None:
        page = get(page["next"])
        forth.append(ids(page))
    assert [row for rows in forth for row in rows] == everything
    back = [ids(page)]
    while page["previous"] is not None:
        page = get(page["previous"])
        back.append(ids(page))
    assert [row for rows in reversed(back) for row in rows] == everything


def test_filters_and_links(ledger: list[Trader]) -> None:
    page = get(PATH, cursor="", eon_number=2, swap="false", limit=3, other="kept")
    assert len(page["results"]) == 3
    query = parse_qs(urlsplit(page["next"]).query)
    assert (query["eon_number"], query["other"], query["limit"]) == (["2"], ["kept"], ["3"])
    last = get(page["next"])
    assert len(last["results"]) == 1
    assert last["next"] is None
    assert ids(get(last["previous"])) == ids(page)


def test_rows_added_meanwhile_shift_nothing(play: Play) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    for amount in range(1, 7):
        play.pay(alice, bob, amount)
    page = get(PATH, cursor="", ordering="-id", limit=3)
    play.pay(alice, bob, 7)
    assert [row["amount"] for row in get(page["next"])["results"]] == ["3", "2", "1"]
    newer = get(page["next"])["previous"]
    assert [row["amount"] for row in get(newer)["results"]] == ["6", "5", "4"]
    assert [row["amount"] for row in get(get(newer)["previous"])["results"]] == ["7"]


def test_offsets_are_as_they_were(ledger: list[Trader]) -> None:
    body = get(PATH, limit=2, offset=2)
    assert body["count"] == ROWS
    assert parse_qs(urlsplit(body["next"]).query) == {"limit": ["2"], "offset": ["4"]}


def test_a_cursor_that_is_none_is_refused(ledger: list[Trader]) -> None:
    good = parse_qs(urlsplit(get(PATH, cursor="", limit=1)["next"]).query)["cursor"][0]
    assert get(PATH, cursor=good)["results"]
    source = random.Random(1)
    bad = [
        "x",
        "%%",
        "A" * 2000,
        "bnVsbA",
        "W10",
        "WzEsMl0",
        "W2ZhbHNlLFtudWxsXV0",
        "W2ZhbHNlLFsiYSJdXQ",
        good[:-3],
    ]
    bad += ["".join(source.choices("ABCabc019-_", k=source.randrange(1, 60))) for _ in range(30)]
    for cursor in bad:
        assert get(PATH, 400, cursor=cursor)["cursor"][0]["code"] == "invalid"
    assert get(PATH, 400, cursor=good, ordering="amount")["cursor"][0]["code"] == "invalid"


HOSTILE = [
    *(
        None,
        "",
        "-1",
        "1e999999",
        "NaN",
        str(2**63),
        str(-(2**63) - 1),
        str(2**255),
        "9" * 900,
        "true",
        "\0",
        "\u0661",
    ),
    *(
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2020-01-01T00:00:00",
        "urn:uuid:" + "0" * 32,
    ),
]
"""What a cursor may name instead of a row's values."""


@pytest.mark.parametrize("order", [*listing.ORDERINGS, *(f"-{name}" for name in listing.ORDERINGS)])
def test_whatever_a_cursor_names_is_looked_for_or_refused(ledger: list[Trader], order: str) -> None:
    columns = len(listing._order(order))
    for backwards, value, at in product((False, True), HOSTILE, range(columns)):
        values: list[str | None] = ["1"] * columns
        values[at] = value
        cursor = base64.urlsafe_b64encode(orjson.dumps([backwards, values])).decode().rstrip("=")
        response = APIClient(raise_request_exception=False).get(PATH, {"cursor": cursor, "ordering": order})
        assert response.status_code in {200, 400}, (value, response.content)


def fill(play: Play) -> None:
    """Transfers of fifty eons, and PostgreSQL's count of them: of an empty table all its indexes are as dear."""
    alice, bob = play.register(2)
    execute(
        "WITH state AS (INSERT INTO ledger_activestate (wallet_id, eon_number, updated_spendings, updated_gains,"
        " tx_set_hash, tx_set_index, tx_set_proof, wallet_signature, operator_signature, time)"
        " SELECT %s, n / 40 + 1, n, 0, '', 0, '', '', '', now() FROM generate_series(0, 1999) n"
        " RETURNING id, wallet_id, eon_number, updated_spendings)"
        " INSERT INTO ledger_transfer (tx_id, wallet_id, recipient_id, eon_number, amount, nonce, position,"
        " sender_active_state_id, time, passive, swap, processed, complete, cancelled, voided, appended,"
        " sell_order) SELECT gen_random_uuid(), wallet_id, %s, eon_number, 1, updated_spendings, 0, id, now(),"
        " true, false, true, true, false, false, true, true FROM state",
        [alice.wallet_id, bob.wallet_id],
    )
    execute("ANALYZE ledger_transfer")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "ledger_transfer_pkey"),
        ({"ordering": "time"}, "transfer_time"),
        ({"ordering": "-time"}, "transfer_time"),
        ({"eon_number": "1"}, "transfer_eon"),
    ],
)
def test_a_list_needs_no_sorting(play: Play, query: dict[str, str], index: str) -> None:
    """Rows come in order from an index, so a page of a long list reads a page of it."""
    fill(play)
    execute("SET LOCAL enable_sort = off")
    execute("SET LOCAL enable_seqscan = off")
    execute("SET LOCAL enable_bitmapscan = off")
    statement, parameters = listing.transactions(query)[:10].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(f"Index Scan (Backward )?using {index} on ledger_transfer ", plan), plan
    assert "Sort" not in plan


@pytest.mark.parametrize("query", [{"ordering": "amount"}, {"ordering": "-nonce", "cursor": ""}])
def test_what_is_sorted_is_not_as_wide_as_what_is_shown(play: Play, query: dict[str, Any]) -> None:
    fill(play)
    with CaptureQueriesContext(connection) as asked:
        assert len(get(PATH, **query)["results"]) == 10
    (sorting,) = [statement["sql"] for statement in asked if "ORDER BY" in statement["sql"]]
    assert "JOIN" not in sorting
    assert "tx_id" not in sorting


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", [{}, {"cursor": ""}])
def test_a_page_that_takes_long_to_find_is_refused(
    play: Play, query: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(play)
    usual = fetch("SHOW statement_timeout")
    slow = Transfer.objects.extra(where=["pg_sleep(0.01) IS NOT NULL"])
    monkeypatch.setattr(bounded, "LONGEST_MILLISECONDS", 50)
    monkeypatch.setattr(listing, "transactions", lambda _: slow)
    monkeypatch.setattr(listing.counts, "of", lambda _: 2000)
    body = get(PATH, 400, limit=100, **query)
    assert [error["code"] for error in body["non_field_errors"]] == ["too_many_rows"]
    assert get(PATH, limit=1, **query)["results"]
    assert fetch("SHOW statement_timeout") == usual


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("query", [{}, {"cursor": ""}])
def test_those_of_an_address_are_found_and_then_sorted(play: Play, query: dict[str, Any]) -> None:
    """As many as the table has are not read in the order of the page to meet a few."""
    alice, bob = play.register(2)
    play.deposit(alice, 10)
    play.pay(alice, bob, 1)
    with CaptureQueriesContext(connection) as asked:
        page = get(
            PATH, search=to_checksum(alice.address), swap="false", ordering="time", limit=1000, **query
        )
        get(PATH, ordering="time", **query)
    assert len(page["results"]) == 1
    found, listed = [one["sql"] for one in asked if 'ORDER BY "ledger_transfer"' in one["sql"]]
    plan = "\n".join(line for (line,) in fetch(found.replace("SELECT", "EXPLAIN SELECT", 1)))
    assert "Index Scan" not in plan.replace("Bitmap Index Scan", ""), plan
    assert "enable_indexscan = off" in found
    assert "enable_indexscan" not in listed
    assert fetch("SHOW enable_indexscan") == [("on",)]


@pytest.mark.django_db(transaction=True)
def test_too_many_of_an_address_are_met_in_order(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(play)
    slow = Transfer.objects.extra(where=["pg_sleep(0.01) IS NOT NULL"]).order_by("id")
    monkeypatch.setattr(bounded, "LONGEST_MILLISECONDS", 400)
    assert len(bounded.read_page(slow, 0, 1, few=True)) == 1
    with pytest.raises(bounded.TooManyRowsError):
        bounded.read_page(slow, 0, 1000, few=True)


@pytest.mark.django_db(transaction=True)
def test_those_that_match_are_not_looked_for_longer_than_a_page(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(play)
    slow = Transfer.objects.extra(where=["pg_sleep(0.01) IS NOT NULL"])
    monkeypatch.setattr(bounded, "LONGEST_MILLISECONDS", 50)
    with pytest.raises(bounded.TooManyRowsError):
        listing.Counts().of(slow)
    assert listing.Counts().of(Transfer.objects.filter(nonce=7)) == 1
    assert listing.Counts().of(Transfer.objects.all()) == 2000


def test_that_there_are_too_many_is_remembered(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def many(_: Any) -> int:
        asked.append(1)
        raise bounded.TooManyRowsError

    monkeypatch.setattr(listing.Counts, "SHORT", -1.0)
    monkeypatch.setattr(listing.Counts, "TIMES", 10**9)
    monkeypatch.setattr(listing, "counts", listing.Counts())
    monkeypatch.setattr(listing, "count", many)
    for _ in range(3):
        body = get(PATH, 400, swap="true")
        assert [error["code"] for error in body["non_field_errors"]] == ["too_many_rows"]
    assert asked == [1]
    assert get(PATH, swap="true", cursor="")["count"] is None


def test_a_count_that_takes_long_is_used_again(
    play: Play, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    play.pay(alice, bob, 1)
    counts, now, slow = listing.Counts(), [1000.0], [0.0]
    monkeypatch.setattr(listing, "counts", counts)

    def clock() -> float:
        now[0] += slow[0]  # the time that a count takes passes between two looks at the clock
        return now[0]

    monkeypatch.setattr(listing, "monotonic", clock)
    assert get(PATH)["count"] == 1
    play.pay(alice, bob, 1)
    slow[0] = 0.1
    assert get(PATH)["count"] == 2  # the first was counted at once
    play.pay(alice, bob, 1)
    with django_assert_num_queries(2):  # which rows, and what they say
        assert get(PATH, ordering="-id")["count"] == 2
    assert get(PATH, passive="true")["count"] == 3  # another question
    now[0] += 0.1 * listing.Counts.TIMES
    assert get(PATH)["count"] == 3


def test_what_nothing_can_match_is_not_counted(play: Play) -> None:
    assert get(PATH, search="not hexadecimal")["count"] == 0


def test_questions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = listing.Counts()
    monkeypatch.setattr(listing.Counts, "SHORT", -1.0)
    monkeypatch.setattr(listing.Counts, "MOST", 5)
    for number in range(20):
        assert counts.of(Transfer.objects.filter(nonce=number)) == 0
        assert len(counts._known) <= 5
