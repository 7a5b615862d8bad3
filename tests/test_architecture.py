"""Dependencies point one way, and the heavy libraries stay where they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from operator_api.management.commands import prepare_hub

ROOT = Path(__file__).resolve().parent.parent
SHARED = {"operator_api.locks", "operator_api.error_codes", "operator_api.keys"}
"""Utilities that every app may use; they import no app."""

ALLOWED: dict[str, set[str]] = {
    "nocust": set(),
    "contracts": {"nocust"},
    "ledger": {"nocust"},
    "restoration": {"ledger"},
    "tos": {"nocust", "ledger", "operator_api"},
    "leveller": {"nocust", "ledger", "operator_api"},
    "admission": {"nocust", "ledger", "operator_api", "tos"},
    "contractor": {"nocust", "ledger", "operator_api", "contracts", "admission", "restoration"},
    "analytics": {"ledger"},
    "auditor": {"nocust", "ledger", "operator_api", "contractor"},
    "transactor": {"nocust", "ledger", "operator_api", "contractor", "auditor", "leveller", "tos"},
    "swapper": {"nocust", "contractor", "ledger", "operator_api", "auditor", "tos"},
    "synchronizer": {"nocust", "ledger", "operator_api", "auditor"},
}
"""By app, the packages that it may import beside itself and the shared utilities. What is not listed may import
anything: operator_api (URLs, schedule), heartbeat, tests, benchmarks, scripts."""

OWN = {*ALLOWED, "operator_api", "heartbeat", "scripts", "benchmarks"}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package: str) -> list[Path]:
    return [path for path in (ROOT / package).rglob("*.py") if "tests" not in path.relative_to(ROOT).parts]


@pytest.mark.parametrize("package", ALLOWED)
def test_an_app_imports_only_what_stands_below_it(package: str) -> None:
    files = sources(package)
    assert files
    for path in files:
        for module in imports(path):
            top = module.split(".")[0]
            if top not in OWN or top == package or top in ALLOWED[package]:
                continue
            shared = any(module == name or module.startswith(f"{name}.") for name in SHARED)
            assert shared, f"{path.relative_to(ROOT)} imports {module}"


def test_the_protocol_and_the_engine_need_no_framework() -> None:
    for path in [*sources("nocust"), *sources("ledger/engine")]:
        tops = {module.split(".")[0] for module in imports(path)}
        assert not tops & {"django", "rest_framework", "celery", "web3", "redis"}, path


def test_the_server_does_not_load_web3() -> None:
    """It costs a second and 50 MB in each process (`contractor/node.py` loads it late)."""
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'operator_api.settings'; django.setup();"
        "import operator_api.urls, operator_api.asgi; sys.exit('web3' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_workers_and_the_scheduler_load_no_views() -> None:
    """They are half of a worker's start. Celery would have Django make its checks, which need them; the hub's start
    makes those once, as each of Django's commands does."""
    code = (
        "import sys; from operator_api.celery import app; app.loader.import_default_modules();"
        "sys.exit('operator_api.urls' in sys.modules or 'heartbeat.tasks' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert prepare_hub.Command.requires_system_checks == "__all__"
