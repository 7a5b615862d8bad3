"""The Celery application; its schedule is `CELERY_BEAT_SCHEDULE` in the settings."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from operator_api import collector

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")
# Those of Django, which `prepare_hub` makes before any worker starts, load all views: half of a worker's start.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("operator_api")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def _ready(**_: Any) -> None:
    """A worker has loaded what it needs."""
    collector.spare()
