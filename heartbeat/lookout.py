"""Who watches the watch: a thread of each worker, which no broker, scheduler or other worker has to wake.

When `heartbeat.watch` has not run for HUB_QUEUE_LAG_SECONDS, as when the worker `audit`, the scheduler or the
broker is dead, one of these threads does its work: it runs the checks, of which "queue lag" finds that the watch is
late, and tells the operator.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from threading import Event, Thread

from celery.signals import celeryd_after_setup, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from heartbeat import beat
from heartbeat.guard import single_run
from heartbeat.models import Heartbeat

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

_ending = Event()


def look(since: datetime) -> int:
    """Do the work of the watch if it is late; `since` is when this process began to look. Alarms that changed, and
    notices sent. Raises django.db.Error."""
    with single_run("lookout") as mine:
        if not mine or not _is_late(since):
            return 0
        from heartbeat import delivery, watch

        logger.warning("nobody watches the hub; this process stands in")
        done = beat.run_parts("lookout", watch.parts(since) | {"tell the operator": delivery.run})
        watch.note_watched()
        return sum(filter(None, done))


def _is_late(since: datetime) -> bool:
    """Whether the watch has not ended for too long, and this process has looked for as long: when the whole hub
    was off, nothing is late yet."""
    latest = timezone.now() - timedelta(seconds=settings.HUB_QUEUE_LAG_SECONDS)
    return since < latest and not Heartbeat.objects.filter(name="watch", ended__gte=latest).exists()


def run(ending: Event) -> None:
    """Look again and again until `ending`."""
    since = timezone.now()
    while not ending.wait(LOOK_SECONDS):
        try:
            look(since)
        except (DatabaseError, InterfaceError) as error:
            logger.info("nobody can look after the watch: %s", str(error).strip())
            connection.close()
        except Exception:
            logger.exception("looking after the watch failed")
    connection.close()


@celeryd_after_setup.connect
def _start(**_: object) -> None:
    """Begin before the worker has found its broker, which may be what is dead."""
    Thread(target=run, args=[_ending], name="lookout", daemon=True).start()


@worker_shutting_down.connect
def _end(**_: object) -> None:
    _ending.set()
