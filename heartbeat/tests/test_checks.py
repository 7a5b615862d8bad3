"""Each check, by a fault that is injected: its alarm is raised, told to somebody, and over when the fault is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from contractor import chain
from contractor.models import Alarm, ContractState
from heartbeat import books, checks, tasks, watch
from heartbeat.checks import expected_beats
from heartbeat.models import Heartbeat, Progress
from heartbeat.tests.consumer import Consumer
from ledger.models import (
    Account,
    ActiveState,
    ChainStatus,
    Deposit,
    Event,
    Matching,
    Outbox,
    TokenPair,
    Transfer,
)
from ledger.sql import execute
from restoration import holds, identity
from restoration.models import Hold
from swapper import exchange
from swapper.tests.exchange_market import MarketPlay

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nobody_else(settings: Any) -> Iterator[None]:
    """No node answers."""
    settings.HUB_ETHEREUM_NODE_URL = "http://127.0.0.1:9"
    chain.forget()
    yield
    chain.forget()


@pytest.fixture
def market(consumer: Consumer) -> MarketPlay:
    """A hub where all is well, with a market."""
    made = MarketPlay.create()
    beat()
    assert consumer.take() == []
    return made


def beat() -> None:
    """Let every beat end, then watch: what changes in one is told in the next."""
    now = timezone.now()
    for name in expected_beats() - {watch.WATCH}:
        Heartbeat.objects.update_or_create(name=name, defaults={"ended": now})
    for _ in range(2):
        watch.forget()
        tasks.heartbeat_watch()


def told(consumer: Consumer, title: str) -> str:
    """The one message that came, about this."""
    beat()
    (text,) = consumer.take()
    assert title in text
    return text


def status() -> ChainStatus:
    return ChainStatus.objects.get()


def past(seconds: int) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


@pytest.mark.alarm("no block applied")
def test_no_block_applied(market: MarketPlay, consumer: Consumer) -> None:
    Progress.objects.update(since=past(61))
    assert "is the newest one applied for 61 s" in told(consumer, "CRITICAL: no block applied")
    ChainStatus.objects.update(confirmed_block=F("confirmed_block") + 1)
    told(consumer, "RESOLVED: no block applied")


def test_a_chain_that_was_never_read(consumer: Consumer) -> None:
    beat()
    Progress.objects.update(since=past(61))
    assert "has not been read" in told(consumer, "CRITICAL: no block applied")


@pytest.mark.alarm("halted")
def test_halted(market: MarketPlay, consumer: Consumer) -> None:
    ChainStatus.objects.update(halted=True)
    told(consumer, "CRITICAL: halted")
    ChainStatus.objects.update(halted=False)
    told(consumer, "RESOLVED: halted")


@pytest.mark.alarm("hub held")
def test_hub_held(market: MarketPlay, consumer: Consumer) -> None:
    identity.hold("the tables were restored")
    identity.hold("a second reason")
    assert "the tables were restored" in told(consumer, "CRITICAL: hub held")
    holds.decide(Hold.Decision.NOTHING_LOST, 0)
    told(consumer, "RESOLVED: hub held")


def test_checkpoint_late(market: MarketPlay, consumer: Consumer) -> None:
    found = status()
    half = found.first_block_of(found.eon) + found.blocks_per_eon // 2
    head = ContractState.objects.create(
        block=half,
        block_hash=b"\1" * 32,
        parent_hash=b"\2" * 32,
        timestamp=0,
        logs_possible=False,
        last_checkpoint_submission_eon=found.eon - 1,
    )
    ChainStatus.objects.update(head_block=half - 1)
    beat()
    assert consumer.take() == []
    ChainStatus.objects.update(head_block=half)
    assert f"checkpoint {found.eon} is" in told(consumer, "CRITICAL: checkpoint late")
    head.last_checkpoint_submission_eon = found.eon
    head.save()
    told(consumer, "RESOLVED: checkpoint late")


@pytest.mark.parametrize("name", sorted(expected_beats() - {"watch"}))
@pytest.mark.alarm("queue lag")
def test_a_late_beat(market: MarketPlay, consumer: Consumer, name: str) -> None:
    Progress.objects.filter(name=watch.WATCH).update(since=past(300))
    Heartbeat.objects.filter(name=name).update(ended=past(100))
    watch.forget()
    tasks.heartbeat_watch()
    tasks.heartbeat_watch()
    (text,) = consumer.take()
    assert "CRITICAL: queue lag" in text
    assert f"the periodic task {name} has not ended for 100 s" in text
    told(consumer, "RESOLVED: queue lag")


def test_a_beat_that_never_came(market: MarketPlay, consumer: Consumer) -> None:
    Heartbeat.objects.filter(name="chain").delete()
    Progress.objects.filter(name=watch.WATCH).update(since=past(100))
    watch.forget()
    tasks.heartbeat_watch()
    assert Alarm.objects.get().key == "task chain"


def test_nothing_is_late_after_everything_was_off(market: MarketPlay, consumer: Consumer) -> None:
    Heartbeat.objects.update(ended=past(30_000))
    Progress.objects.update(since=past(30_000))
    Outbox.objects.all().delete()
    watch.forget()
    tasks.heartbeat_watch()
    assert not Alarm.objects.exists()


def test_events_that_nobody_was_told_of(market: MarketPlay, consumer: Consumer) -> None:
    Outbox.objects.create(event=Event.CHECKPOINT_CREATED, object_id=1, created=past(90))
    assert "the oldest event" in told(consumer, "CRITICAL: queue lag")
    Outbox.objects.all().delete()
    told(consumer, "RESOLVED: queue lag")


def test_orders_that_nobody_matches(market: MarketPlay, consumer: Consumer) -> None:
    market.next_eon()
    one = market.order(100, 100)
    Outbox.objects.all().delete()
    beat()
    assert consumer.take() == []
    execute("UPDATE ledger_transfer SET time = time - interval '2 minutes'")
    execute("UPDATE ledger_rootcommitment SET time = time - interval '2 minutes'")
    assert "an order waits" in told(consumer, "CRITICAL: queue lag")
    TokenPair.objects.update(paused=True)
    told(consumer, "RESOLVED: queue lag")
    TokenPair.objects.update(paused=False)
    told(consumer, "CRITICAL: queue lag")
    assert market.exchange.step() == 1
    assert market.matched(one) == (0, 0)
    told(consumer, "RESOLVED: queue lag")


def filled(market: MarketPlay) -> Transfer:
    maker = market.order(100, 100, sells=1, eons=2)
    market.order(40, 40)
    assert market.exchange.step() == 2
    Outbox.objects.all().delete()
    return market.row(maker)


@pytest.mark.alarm("fills differ")
def test_fills_differ(market: MarketPlay, consumer: Consumer) -> None:
    row = filled(market)
    beat()
    assert consumer.take() == []
    Transfer.objects.filter(pk=row.pk).update(matched_in=41)
    assert f"order row {row.pk}: gave 40 and received 41, its fills say 40 and 40" in told(
        consumer, "CRITICAL: fills differ"
    )
    Transfer.objects.filter(pk=row.pk).update(matched_in=40)
    told(consumer, "RESOLVED: fills differ")


@pytest.mark.alarm("states differ")
def test_states_differ(market: MarketPlay, consumer: Consumer) -> None:
    """Not for orders, fills and payments. An account with an older state is told of, also after its eon as long as
    there is no checkpoint."""
    filled(market)
    sender, recipient = market.play.register(2)
    market.play.deposit(sender, 9)
    market.play.pay(sender, recipient, 4)
    older = Account.objects.get(wallet_id=sender.wallet_id).active_state_id
    market.play.pay(sender, recipient, 3)
    newest = Account.objects.get(wallet_id=sender.wallet_id).active_state_id
    Outbox.objects.all().delete()
    beat()
    assert consumer.take() == []
    account = Account.objects.filter(wallet_id=sender.wallet_id)
    account.update(active_state_id=older)
    assert "has spent 7 and gained 0" in told(consumer, "CRITICAL: states differ")
    account.update(active_state_id=newest)
    told(consumer, "RESOLVED: states differ")
    account.update(active_state_id=None)
    assert "its state in force says None and None" in told(consumer, "CRITICAL: states differ")
    found = status()
    found.head_block = found.first_block_of(found.eon + 1)
    assert len(checks.states_differ(found)) == 1
    found.head_block = found.first_block_of(found.eon + 2)
    assert checks.states_differ(found) == {}


def test_a_state_that_the_operator_has_not_signed(market: MarketPlay) -> None:
    sender, recipient = market.play.register(2)
    market.play.deposit(sender, 9)
    market.play.pay(sender, recipient, 4)
    assert checks.states_differ(status()) == {}
    ActiveState.objects.update(operator_signature=None)
    assert len(checks.states_differ(status())) == 1


def test_fills_that_are_gone(market: MarketPlay, consumer: Consumer) -> None:
    row = filled(market)
    kept = list(Matching.objects.all())
    Matching.objects.all().delete()
    assert f"order row {row.pk}: gave 40 and received 40, its fills say 0 and 0" in told(
        consumer, "CRITICAL: fills differ"
    )
    Matching.objects.bulk_create(kept)
    told(consumer, "RESOLVED: fills differ")


def test_fills_of_an_order_in_two_eons(market: MarketPlay, consumer: Consumer) -> None:
    filled(market)
    market.next_eon()
    market.order(30, 30)
    assert market.exchange.step() >= 1
    assert checks.fills_differ(status()) == {}
    Matching.objects.filter(eon_number=status().eon).update(maker_gave=29)
    assert len(checks.fills_differ(status())) == 2


def test_a_process_that_has_started_checks_whole_tables_later(
    market: MarketPlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = filled(market)
    Transfer.objects.filter(pk=row.pk).update(matched_in=41)
    Progress.objects.filter(name=watch.WATCH).update(since=past(300))
    Heartbeat.objects.filter(name="chain").update(ended=past(100))
    watch.forget()
    watch.settle_in()
    tasks.heartbeat_watch()
    tasks.heartbeat_watch()
    assert {alarm.subject for alarm in Alarm.objects.all()} == {"queue lag"}
    monkeypatch.setattr(watch, "SETTLING", 0.0)
    watch.settle_in()
    tasks.heartbeat_watch()
    assert {alarm.subject for alarm in Alarm.objects.all()} == {"queue lag", "fills differ"}


@pytest.mark.alarm("books differ")
def test_books_differ(market: MarketPlay, consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "exchange", market.exchange)
    monkeypatch.setattr(books, "PAUSE", 0.0)
    row = filled(market)

    def compare() -> None:
        watch.forget()
        watch.compare_books()

    compare()
    assert not Alarm.objects.exists()
    Transfer.objects.filter(pk=row.pk).update(arrival=None)
    compare()
    assert f"order rows [{row.pk}] only in the book" in told(consumer, "CRITICAL: books differ")
    Transfer.objects.filter(pk=row.pk).update(arrival=row.arrival)
    compare()
    told(consumer, "RESOLVED: books differ")
    state = market.exchange.book(market.market)
    assert state is not None
    state.book.remove(row.pk)
    compare()
    assert f"order rows [{row.pk}] not in the book" in told(consumer, "CRITICAL: books differ")
    market.exchange.forget()
    compare()  # nothing to compare, so nothing is over
    beat()
    assert consumer.take() == []
    market.order(10, 1000)
    market.exchange.step()
    Outbox.objects.all().delete()
    compare()
    told(consumer, "RESOLVED: books differ")


def test_an_order_that_ended_is_no_difference(market: MarketPlay) -> None:
    row = filled(market)
    Transfer.objects.filter(pk=row.pk).update(cancelled=True)
    assert books.books_differ(market.exchange) == {}


@pytest.mark.alarm("ledger unbalanced")
def test_ledger_unbalanced(market: MarketPlay, consumer: Consumer) -> None:
    one = market.trader(1000)
    Outbox.objects.all().delete()
    beat()
    assert consumer.take() == []
    account = Account.objects.filter(wallet=one.debit.owner.wallet)
    account.update(deposited=F("deposited") + 1)
    assert "wallets own 1001 of" in told(consumer, "CRITICAL: ledger unbalanced")
    Deposit.objects.update(amount=1001)
    told(consumer, "RESOLVED: ledger unbalanced")
    market.next_eon()  # now it is an allotment
    Outbox.objects.all().delete()
    beat()
    assert consumer.take() == []
    Deposit.objects.update(amount=999)
    assert "wallets own 1001 of" in told(consumer, "CRITICAL: ledger unbalanced")
    Deposit.objects.update(amount=1001)
    told(consumer, "RESOLVED: ledger unbalanced")


def test_a_check_that_fails_stops_no_other(
    market: MarketPlay, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(checks, "checkpoint_late", fail)
    ChainStatus.objects.update(halted=True)
    told(consumer, "CRITICAL: halted")
    assert Heartbeat.objects.get(name="watch").failures > 0


def test_an_expensive_check_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 199.0, 203.0, 203.5, 403.5, 407.5])
    monkeypatch.setattr("heartbeat.watch.time.monotonic", lambda: next(clock))
    assert watch.take_turn("pool short", 60.0, lambda: 1) == 1
    assert watch.take_turn("pool short", 60.0, lambda: 1) == 0
    assert watch.take_turn("pool short", 60.0, lambda: 1) == 0
