"""The matching sleeps until an order calls, and ends when it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

import pytest
from celery.signals import worker_shutting_down
from django.db import connection, transaction

from heartbeat import tasks
from heartbeat.guard import single_run
from ledger.sql import fetch
from ledger.tests.racing import Running
from swapper import exchange as matching
from swapper import exchange_worker
from swapper.exchange import Exchange, exchange
from swapper.tests.exchange_market import MARKETS_HELD, MarketPlay

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0  # seconds


@pytest.fixture
def market() -> MarketPlay:
    return MarketPlay.create()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    exchange.forget()
    tasks._ending.clear()
    yield
    exchange.forget()
    tasks._ending.clear()


def until(condition: object) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    assert callable(condition)
    while not condition():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.002)
    return time.monotonic() - began


def test_a_new_order_wakes_it(market: MarketPlay) -> None:
    seller = market.order(100, 200, sells=1)
    stop, own = Event(), Exchange()
    running = Running(lambda: exchange_worker.run(60, stop, own))
    until(lambda: market.row(seller).arrival)
    time.sleep(0.1)  # it has gone to sleep
    buyer = market.trader(200)
    order = buyer.place(200, 100)
    with transaction.atomic():
        market.place_signed(buyer, order)
        time.sleep(0.3)
        assert not market.row(buyer).complete, "not before it is committed"
    took = until(lambda: market.row(buyer).complete)
    assert took < exchange_worker.POLL / 2
    stop.set()
    assert running.outcome() == 2


def test_it_looks_around_uncalled(market: MarketPlay) -> None:
    seller = market.order(100, 200, sells=1, eons=2)
    market.order(200, 100, eons=2)
    market.play.enter_next_eon()
    stop, own = Event(), Exchange()
    running = Running(lambda: exchange_worker.run(60, stop, own))
    time.sleep(0.1)
    market.play.close_eon()
    until(lambda: market.row(seller).complete)
    stop.set()
    assert running.outcome() == 2


def test_a_backlog_is_worked_off_uncalled(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what came while nobody matched, a pass takes a part only."""
    for module in (matching, exchange_worker):
        monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(exchange_worker, "POLL", 10 * PATIENCE)
    orders = [market.order(100, 200) for _ in range(4)]
    stop = Event()
    running = Running(lambda: exchange_worker.run(10 * PATIENCE, stop, Exchange()))
    until(lambda: all(market.row(one).arrival for one in orders))
    stop.set()
    assert running.outcome() == 4


def test_it_ends_in_time() -> None:
    began = time.monotonic()
    assert exchange_worker.run(0.5, Event(), Exchange()) == 0
    assert 0.4 < time.monotonic() - began < PATIENCE
    assert not connection.in_atomic_block
    with transaction.atomic(), pytest.raises(RuntimeError):
        exchange_worker.run(0.5, Event(), Exchange())


def test_the_task_goes_on_until_its_worker_ends(market: MarketPlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MATCHING_SECONDS", 0.2)
    seller = market.order(100, 200, sells=1)
    running = Running(tasks.heartbeat_matching)
    time.sleep(1.0)
    market.order(200, 100)
    until(lambda: market.row(seller).complete)
    assert not running.over
    began = time.monotonic()
    worker_shutting_down.send(sender="test", sig="SIGTERM", how="Warm", exitcode=0)
    assert running.outcome() == 2
    assert time.monotonic() - began < 1.0


def test_the_task_runs_once_in_a_process_and_beside_those_of_others(market: MarketPlay) -> None:
    with single_run("matching") as mine:
        assert mine
        running = Running(tasks.heartbeat_matching)
        seller = market.order(100, 200, sells=1)
        until(lambda: market.row(seller).arrival)
        assert Running(tasks.heartbeat_matching).outcome() == 0
        worker_shutting_down.send(sender="test", sig="SIGTERM", how="Warm", exitcode=0)
        assert running.outcome() == 1
        assert not fetch(f"SELECT 1 {MARKETS_HELD}")
