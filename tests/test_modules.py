"""`docs/modules.md` names the modules, their models and commands, the tasks and their queues as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab
from django.apps import apps
from django.conf import settings

from operator_api.celery import app as celery

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "modules.md").read_text()
SECTION = re.compile(r"^## [^\n]*\(`(\w+)`\)$(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(PAGE))
MODULES = {
    "operator_api",
    "admission",
    "analytics",
    "auditor",
    "contractor",
    "heartbeat",
    "ledger",
    "leveller",
    "swapper",
    "synchronizer",
    "tos",
    "transactor",
}
"""The twelve of the original design."""
TASK = re.compile(r"^\| `([\w.]+\.tasks\.\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)


def own_apps() -> set[str]:
    """The apps of this repository."""
    return {config.label for config in apps.get_app_configs() if Path(config.path).parent == ROOT}


def test_every_app_has_a_section_and_none_is_missing() -> None:
    assert set(SECTIONS) >= MODULES
    assert set(SECTIONS) == own_apps()


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_section_names_exactly_the_apps_models(name: str) -> None:
    named = re.findall(r"^\| `(\w+)` \|", SECTIONS[name], re.MULTILINE)
    models = [model.__name__ for model in apps.get_app_config(name).get_models()]
    assert sorted(named) == sorted(models)
    assert ("No models" in SECTIONS[name]) == (not models)


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_section_names_the_apps_commands_and_files_that_exist(name: str) -> None:
    folder = ROOT / name / "management" / "commands"
    commands = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    words = set(re.findall(r"`(\w+)`", SECTIONS[name]))
    assert commands <= words, "commands that are not named"
    for file in re.findall(r"`(\w+\.py)`", SECTIONS[name]):
        assert (ROOT / name / file).exists(), file
    for label, model in re.findall(r"`(\w+)\.([A-Z]\w+)`", SECTIONS[name]):
        assert apps.get_model(label, model)


def interval(found: Any) -> str:
    """How often, as the page says it."""
    if isinstance(found, crontab):
        (hour,), (minute,) = vars(found)["hour"], vars(found)["minute"]
        return f"day, at {hour:02}:{minute:02} UTC"
    return f"{found:g} s"


def test_the_table_names_exactly_the_tasks_with_queue_and_interval() -> None:
    celery.loader.import_default_modules()
    known = {name for name in celery.tasks if name.split(".")[0] in own_apps()}
    table = {task: (queue, every) for task, queue, every in TASK.findall(PAGE)}
    assert set(table) == known
    beats: dict[str, dict[str, Any]] = settings.CELERY_BEAT_SCHEDULE
    scheduled = {
        beat["task"]: (beat["options"]["queue"], interval(beat["schedule"])) for beat in beats.values()
    }
    assert table == scheduled


def test_each_queue_has_its_worker_and_no_other_queue_has_one() -> None:
    queues = {queue for _, queue, _ in TASK.findall(PAGE)}
    served = set()
    for path in (ROOT / "scripts").glob("celeryworker_*.sh"):
        served.update(re.findall(r"-Q (\w+)", path.read_text()))
        assert path.stem.removeprefix("celeryworker_") in queues
    assert queues == served
