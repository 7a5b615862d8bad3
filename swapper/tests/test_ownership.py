"""Workers divide the markets evenly, take over what a dead or stalled one had, and never own one together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import combinations
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError, connection

from ledger.models import Matching, TokenPair
from ledger.sql import fetch
from ledger.tests.checks import check_ledger
from swapper.books import Market
from swapper.exchange import Exchange
from swapper.ownership import LOOK, Ownership, share
from swapper.tests.exchange_market import MARKETS_HELD, MarketPlay

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0  # seconds
STALLED = 0.5  # seconds
TOKENS = [bytes([number]) * 20 for number in range(0x41, 0x44)]


class Worker:
    """A process that matches, as far as PostgreSQL can tell: a thread with its own session."""

    def __init__(self, stalled: float = 60.0) -> None:
        self.exchange = Exchange(Ownership(stalled))
        self._thread = ThreadPoolExecutor(1)
        self.pid: int = self.do(lambda: fetch("SELECT pg_backend_pid()")[0][0])

    def begin(self, action: Callable[[], Any]) -> Future[Any]:
        return self._thread.submit(action)

    def do(self, action: Callable[[], Any]) -> Any:
        return self.begin(action).result(PATIENCE)

    def look(self) -> None:
        def balance() -> None:
            ownership = self.exchange.ownership
            assert ownership is not None
            time.sleep(LOOK)
            ownership.balance()

        self.do(balance)

    @property
    def markets(self) -> frozenset[Market]:
        assert self.exchange.ownership is not None
        return self.exchange.ownership.markets

    def die(self) -> None:
        """As the kernel does it for a killed process: the connection is gone, and nothing was said before."""
        self.do(_break_off)

    def end(self) -> None:
        self.do(_hang_up)
        self._thread.shutdown()


def _break_off() -> None:
    connection.connection.close()


def _hang_up() -> None:
    """The calling thread's connection: `connection` stands for each thread's own."""
    connection.close()


@contextmanager
def workers(count: int, stalled: float = 60.0) -> Iterator[list[Worker]]:
    with ExitStack() as ends:
        made = []
        for _ in range(count):
            made.append(Worker(stalled))
            ends.callback(made[-1].end)
        yield made


@pytest.fixture
def play() -> MarketPlay:
    """Five tokens, each traded for each: ten markets."""
    made = MarketPlay.create()
    for number, address in enumerate(TOKENS):
        made.play.add_token(address, f"Token {number}", f"T{number}")
    known = TokenPair.objects.values_list("token_from", "token_to")
    for first, second in combinations(made.play.tokens, 2):
        if (first.pk, second.pk) not in set(known):
            TokenPair.between(first, second).save()
            TokenPair.between(second, first).save()
    return made


def all_markets() -> set[Market]:
    return {Market(*sorted(pair)) for pair in TokenPair.objects.values_list("token_from", "token_to")}


def settle(at_work: list[Worker]) -> list[int]:
    """Let each look twice; how many markets each has then."""
    for _ in range(2):
        for worker in at_work:
            worker.look()
    owned = [market for worker in at_work for market in worker.markets]
    assert len(owned) == len(set(owned)), "a market has two owners"
    assert set(owned) == all_markets(), "a market has no owner"
    return [len(worker.markets) for worker in at_work]


@pytest.mark.parametrize(("markets", "workers"), [(0, 3), (1, 3), (10, 1), (10, 3), (12, 4), (7, 5)])
def test_shares_are_even_and_together_everything(markets: int, workers: int) -> None:
    shares = [share(markets, workers, place) for place in range(workers)]
    assert sum(shares) == markets
    assert max(shares) - min(shares) <= 1


def test_markets_are_divided_evenly_as_workers_come_and_go(play: MarketPlay) -> None:
    with workers(3) as (first, second, third):
        assert settle([first]) == [10]
        assert settle([first, second]) == [5, 5]
        before = {worker: worker.markets for worker in (first, second)}
        assert settle([first, second, third]) == [4, 3, 3]
        assert all(worker.markets < markets for worker, markets in before.items()), "more moved than had to"
        first.die()
        assert settle([second, third]) == [5, 5]
        second.do(second.exchange.leave)
        assert second.markets == frozenset()
        assert settle([third]) == [10]


def test_a_spare_takes_over_when_there_are_more_workers_than_markets(play: MarketPlay) -> None:
    keep = TokenPair.objects.order_by("pk").first()
    assert keep is not None
    TokenPair.objects.exclude(
        token_from__in=[keep.token_from_id, keep.token_to_id],
        token_to__in=[keep.token_from_id, keep.token_to_id],
    ).delete()
    with workers(2) as (first, second):
        assert settle([first, second]) == [1, 0]
        first.die()
        assert settle([second]) == [1]


def test_a_market_that_is_not_traded_any_more_is_let_go(play: MarketPlay) -> None:
    with workers(1) as (first,):
        settle([first])
        TokenPair.objects.filter(token_from=play.play.tokens[4]).delete()
        TokenPair.objects.filter(token_to=play.play.tokens[4]).delete()
        assert settle([first]) == [6]
        assert fetch(f"SELECT count(*) {MARKETS_HELD}") == [(6,)]


def test_only_the_owner_matches(play: MarketPlay) -> None:
    with workers(2) as (first, second):
        settle([first, second])
        owner, other = (first, second) if play.market in first.markets else (second, first)
        play.order(100, 200, sells=1)
        play.order(200, 100)
        assert other.do(other.exchange.step) == 0
        assert owner.do(owner.exchange.step) == 2
        owner.die()
        play.order(100, 200, sells=1)
        play.order(200, 100)
        settle([other])
        assert other.do(other.exchange.step) == 2
    assert Matching.objects.count() == 2


def test_a_session_that_django_opened_anew_owns_nothing(play: MarketPlay) -> None:
    with workers(1) as (first,):
        settle([first])
        owned = first.markets
        first.do(_hang_up)
        first.do(lambda: fetch("SELECT 1"))
        ownership = first.exchange.ownership
        assert ownership is not None
        assert not first.do(lambda: [market for market in owned if ownership.owns(market)])
        assert settle([first]) == [10]


def test_what_a_stalled_owner_still_commits_fails(play: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in the middle of a pass, holding its locks; another ends its session, matches, and it fails."""
    with workers(2, STALLED) as (stalled, other):
        settle([stalled])
        seller, buyer = play.order(100, 200, sells=1), play.order(200, 100)
        stops, goes_on, tries = Event(), Event(), []

        def stall(*_: object) -> None:
            tries.append(True)
            if len(tries) == 1:
                stops.set()
                assert goes_on.wait(PATIENCE)

        real = Exchange._current

        def current(exchange: Exchange, *rest: Any) -> Any:
            stall()
            return real(exchange, *rest)

        monkeypatch.setattr(Exchange, "_current", current)
        late = stalled.begin(stalled.exchange.step)
        assert stops.wait(PATIENCE)
        time.sleep(3 * STALLED)
        assert settle([other]) == [10]
        assert other.do(other.exchange.step) == 2
        goes_on.set()
        assert isinstance(late.exception(PATIENCE), OperationalError)
    assert play.matched(seller) == (100, 200)
    assert play.matched(buyer) == (200, 100)
    assert Matching.objects.count() == 1
    check_ledger()


def test_a_worker_that_only_waits_is_not_taken_for_stalled(play: MarketPlay) -> None:
    with workers(2, STALLED) as (first, second):
        settle([first, second])
        for _ in range(4):
            settle([first, second])
        assert fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [[first.pid, second.pid]]
        ) == [(2,)]
