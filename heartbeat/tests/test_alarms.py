"""Alarms survive what happens to those who raise them, stand once for all processes, and reach people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from contractor import alarms
from contractor.alarm_catalogue import CATALOGUE, End, Severity, kind_of
from contractor.models import Alarm
from heartbeat import delivery, watch
from heartbeat.channels import runbook
from heartbeat.models import Circuit, Notice
from heartbeat.tests.consumer import Consumer
from operator_api.models import OperatorAction

ROOT = Path(__file__).resolve().parents[2]


def standing() -> list[tuple[str, str, int]]:
    rows = Alarm.objects.filter(cleared__isnull=True)
    return [(row.subject, row.key, row.count) for row in rows]


@pytest.fixture
def thread(transactional_db: None) -> Iterator[None]:
    """The thread that writes alarms, as in a process of the hub."""
    alarms.recorder.automatic = True
    yield
    alarms.recorder.finish(10.0)
    alarms.recorder.automatic = False


def test_an_alarm_outlives_the_transaction_it_was_raised_in(thread: None) -> None:
    with transaction.atomic():
        alarms.raise_alarm("overdraft", "1 wei is missing")
        transaction.set_rollback(True)
    alarms.recorder.finish(10.0)
    (row,) = Alarm.objects.all()
    assert (row.subject, row.text, row.severity, row.count) == (
        "overdraft",
        "1 wei is missing",
        "critical",
        1,
    )


def test_alarms_wait_for_the_database(thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "RETRY_SECONDS", 0.05)
    port = connection.settings_dict["PORT"]
    connection.settings_dict["PORT"] = "9"  # nobody listens there; the thread makes its own connection
    go_on, failed = Event(), Event()
    flush = alarms.recorder.flush

    def held() -> int:
        assert go_on.wait(30)
        try:
            return flush()
        except OperationalError:
            failed.set()
            raise

    monkeypatch.setattr(alarms.recorder, "flush", held)
    try:
        assert alarms.raise_alarm("task failed", "chain: broken")
        go_on.set()  # nothing was tried until here, and the alarm was raised
        assert failed.wait(30)
    finally:
        connection.settings_dict["PORT"] = port
    alarms.recorder.finish(10.0)
    assert standing() == [("task failed", "chain: broken", 1)]


def test_the_same_alarm_of_several_processes_stands_once(db: None) -> None:
    for text in ("3 wei", "2 wei", "1 wei"):
        alarms.forget()  # as another process
        alarms.raise_alarm("low balance", text, key="")
        alarms.recorder.flush()
    assert standing() == [("low balance", "", 3)]
    assert Alarm.objects.get().text == "1 wei"
    alarms.clear_alarm("low balance", "")
    alarms.recorder.flush()
    assert standing() == []
    alarms.raise_alarm("low balance", "0 wei", key="")
    alarms.recorder.flush()
    assert standing() == [("low balance", "", 1)]
    assert Alarm.objects.count() == 2


def test_a_beat_does_not_write_each_second(db: None) -> None:
    for _ in range(100):
        alarms.raise_alarm("low balance", "1 wei", key="")
        alarms.clear_alarm("chain behind", "")
    assert alarms.recorder.flush() == 2


def test_reports_survive_a_failed_write(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms.raise_alarm("chain", "another chain id")

    def fail(*_: object) -> None:
        raise OperationalError("the server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(alarms, "fetch", fail)
        with pytest.raises(OperationalError):
            alarms.recorder.flush()
    assert alarms.recorder.flush() == 1
    assert standing() == [("chain", "another chain id", 1)]


def test_odd_texts_fit(db: None) -> None:
    alarms.raise_alarm("a subject of nobody", "\0" + "ä" * 10_000)
    alarms.recorder.flush()
    row = Alarm.objects.get()
    assert (len(row.key), len(row.text), row.severity) == (499, 1999, "critical")


def test_a_check_raises_and_ends_its_alarms(db: None) -> None:
    assert alarms.settle("queue lag", {"a": "a is late", "b": "b is late"}, 0) == 2
    assert alarms.settle("queue lag", {"b": "b is very late"}, 3600) == 0
    assert len(standing()) == 2  # not yet: it may come back
    assert alarms.settle("queue lag", {"b": "b is very late"}, 0) == 1
    assert standing() == [("queue lag", "b", 3)]
    assert alarms.settle("halted", {}, 0) == 0
    assert len(standing()) == 1


def raised_before(subject: str, ago: timedelta) -> Alarm:
    then = timezone.now() - ago
    return Alarm.objects.create(
        subject=subject, key="k", severity="critical", text="t", first=then, last=then, count=1
    )


def test_alarms_end_by_silence_while_everything_runs(db: None) -> None:
    silent = raised_before("chain", watch.SILENCE * 2)
    raised_before("node failed", watch.SILENCE / 2)
    raised_before("halted", watch.SILENCE * 2)
    incident = raised_before("nonce taken", watch.SILENCE * 2)
    lag = raised_before("queue lag", timedelta(0))
    assert watch.end_alarms() == 0  # what is silent may be dead
    lag.delete()
    assert watch.end_alarms() == 1
    silent.refresh_from_db()
    assert silent.cleared is not None
    Alarm.objects.filter(pk=incident.pk).update(last=timezone.now() - watch.INCIDENT * 2)
    assert watch.end_alarms() == 1
    Alarm.objects.update(cleared=timezone.now() - watch.KEPT * 2)
    watch.end_alarms()
    assert not Alarm.objects.exists()


def test_every_alarm_has_an_entry() -> None:
    assert all(subject == kind.subject for subject, kind in CATALOGUE.items())
    assert {kind.end for kind in CATALOGUE.values()} == set(End)
    assert kind_of("low balance").severity == Severity.CRITICAL


# ---- delivery ---------------------------------------------------------------------------------------------------


def test_an_alarm_and_its_end_are_told(db: None, consumer: Consumer, settings: Any) -> None:
    settings.HUB_RUNBOOK_URL = "https://runbook.example/alarms/"
    alarms.settle("checkpoint late", {"": "checkpoint 7 is <not> on chain"}, 0)
    assert (delivery.run(), delivery.run()) == (1, 0)
    (text,) = consumer.take()
    assert "[hub-1] CRITICAL: checkpoint late" in text
    assert "checkpoint 7 is &lt;not&gt; on chain" in text
    assert "https://runbook.example/alarms/checkpoint-late.md" in text
    alarms.settle("checkpoint late", {}, 0)
    assert delivery.run() == 1
    (text,) = consumer.take()
    assert "[hub-1] RESOLVED: checkpoint late" in text


def test_an_incident_is_never_resolved(db: None, consumer: Consumer) -> None:
    alarms.raise_alarm("nonce taken", "nonce 7")
    alarms.recorder.flush()
    assert delivery.run() == 1
    alarms.clear_alarm("nonce taken", "nonce 7")
    alarms.recorder.flush()
    assert delivery.run() == 0
    assert len(consumer.texts) == 1


def test_many_alarms_are_one_message(db: None, consumer: Consumer) -> None:
    alarms.settle("withdrawal without wallet", {str(index): f"case {index}" for index in range(500)}, 0)
    alarms.settle("low balance", {"": "1 wei"}, 0)
    assert delivery.run() == 501
    first, second = consumer.take()
    assert "withdrawal without wallet (500 cases)" in first
    assert "and 490 more" in first
    assert "low balance" in second


def test_a_failing_hook_is_tried_again(
    db: None, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    consumer.status = 500
    alarms.settle("low balance", {"": "1 wei"}, 0)
    assert delivery.run() == 0
    assert delivery.run() == 0
    assert len(consumer.take()) == 1  # not before it is due
    assert "status 500" in caplog.text
    assert "secret" not in caplog.text
    Notice.objects.update(due=timezone.now())
    consumer.status = 200
    assert delivery.run() == 1
    assert len(consumer.take()) == 1
    assert Circuit.objects.get().failures == 0


def test_a_broken_hook_opens_the_circuit_of_all_processes(db: None, consumer: Consumer) -> None:
    consumer.status = 503
    for subject in ("low balance", "chain", "halted", "fee cap", "node behind"):
        alarms.settle(subject, {"": "x"}, 0)
    assert delivery.run() == 0
    assert len(consumer.take()) == delivery.FAILURES
    circuit = Circuit.objects.get()
    assert circuit.open_until is not None
    assert circuit.note == "status 503"
    Notice.objects.update(due=timezone.now())
    assert delivery.run() == 0
    assert not consumer.take()
    # Afterwards one is tried, and closes it or opens it for longer.
    for status, expected in ((503, 1), (200, 5)):
        consumer.status = status
        Circuit.objects.update(open_until=timezone.now())
        Notice.objects.update(due=timezone.now())
        delivery.run()
        assert len(consumer.take()) == expected
    circuit.refresh_from_db()
    assert circuit.failures == 0
    assert Circuit.objects.filter(open_until__isnull=True).exists()


def test_the_end_is_told_after_the_beginning(db: None, consumer: Consumer) -> None:
    consumer.status = 500
    alarms.settle("low balance", {"": "1 wei"}, 0)
    delivery.run()
    alarms.settle("low balance", {}, 0)
    consumer.status = 200
    assert delivery.run() == 0  # the beginning is not due yet
    Notice.objects.update(due=timezone.now())
    delivery.run()
    delivery.run()
    assert ["CRITICAL" in text for text in consumer.take()[1:]] == [True, False]


def test_a_hook_that_hangs_holds_nobody_up_for_long(db: None, consumer: Consumer, settings: Any) -> None:
    settings.HUB_ALARM_TIMEOUT_SECONDS = 0.2
    over = Event()

    def hang() -> None:
        over.wait(60)

    consumer.meanwhile = hang
    alarms.settle("low balance", {"": "1 wei"}, 0)
    assert delivery.run() == 0  # the hook still hangs
    assert not over.is_set()
    over.set()
    assert Circuit.objects.get().note == "ReadTimeout"


def test_alarms_go_by_e_mail_too(db: None, consumer: Consumer, settings: Any) -> None:
    settings.NOTIFICATION_EMAIL = ["ops@example.org", "cto@example.org"]
    settings.HUB_RUNBOOK_URL = ""
    alarms.settle("low balance", {"": "1 wei"}, 0)
    assert delivery.run() == 2
    (message,) = mail.outbox
    assert message.subject == "[hub-1] CRITICAL: low balance"
    assert message.to == ["ops@example.org", "cto@example.org"]
    assert "1 wei" in message.body
    assert "docs/operations/alarms/low-balance.md" in message.body
    assert len(consumer.take()) == 1


def test_a_mail_server_that_is_away_is_a_failure(db: None, settings: Any) -> None:
    settings.NOTIFICATION_EMAIL = ["ops@example.org"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    alarms.settle("low balance", {"": "1 wei"}, 0)
    assert delivery.run() == 0
    assert Circuit.objects.get(channel="e-mail").failures == 1


def test_what_nobody_could_be_told_of_is_forgotten(db: None, consumer: Consumer) -> None:
    raised_before("low balance", delivery.FORGOTTEN * 2)
    assert delivery.run() == 0
    assert not consumer.take()


@pytest.mark.django_db(transaction=True)
def test_a_killed_process_tells_at_least_once(consumer: Consumer) -> None:
    """The process dies after the consumer got the message, before it can note that."""
    alarms.settle("low balance", {"": "1 wei"}, 0)
    code = (
        "import django; django.setup(); from django.conf import settings; from heartbeat import delivery;"
        f"settings.NOTIFICATION_HOOK_URL = {consumer.url!r}; print(delivery.run())"
    )
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}"
    environment = os.environ | {
        "DATABASE_URL": f"{url}/{database['NAME']}",
        "DJANGO_SETTINGS_MODULE": "operator_api.settings",
    }
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        consumer.meanwhile = lambda: os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    consumer.meanwhile = None
    assert len(consumer.take()) == 1
    again = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert again.stdout.strip() == "1"
    assert len(consumer.take()) == 1
    assert delivery.run() == 0


def test_the_command_lists_and_closes(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    row = raised_before("nonce taken", timedelta(hours=1))
    call_command("alarms")
    assert f"{row.pk}" in (text := capsys.readouterr().out)
    assert "nonce taken" in text
    assert runbook("nonce taken") in text
    with pytest.raises(CommandError, match="say why"):
        call_command("alarms", "close", str(row.pk))
    with pytest.raises(CommandError, match="name the alarm"):
        call_command("alarms", "close")
    assert Alarm.objects.filter(cleared__isnull=True).exists()
    call_command("alarms", "close", str(row.pk), reason="it was a test")
    row.refresh_from_db()
    assert row.cleared is not None
    with pytest.raises(CommandError, match="stands"):
        call_command("alarms", "close", str(row.pk), reason="once more")
    note = OperatorAction.objects.get()
    assert (note.action, note.subject) == ("close alarm", f"{row.pk} nonce taken")
    assert note.reason == "it was a test"
    capsys.readouterr()
    call_command("alarms")
    assert "no alarm stands" in capsys.readouterr().out
