"""How the supervisor of the production hub replaces programs, and what it makes of requests to."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.hub import environment, instance, production
from scripts.hub.errors import HubError
from scripts.hub.progress import Progress
from scripts.hub.supervisor import Supervisor
from scripts.tests.helpers import SLEEPER, eventually, python


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path, print)


def test_a_program_is_replaced_by_one_that_is_ready(supervisor: Supervisor) -> None:
    began = time.monotonic()
    old = supervisor.start(python("p", SLEEPER))
    try:
        supervisor.replace(python("p", SLEEPER, ready=lambda _pid: time.monotonic() - began > 1), 10)
        assert old.ended() is not None
        assert supervisor.slots["p"].child is not None
        assert supervisor.slots["p"].child.ended() is None
        assert time.monotonic() - began > 1
    finally:
        supervisor.stop()


def test_a_program_stays_when_its_successor_fails(supervisor: Supervisor) -> None:
    old = supervisor.start(python("p", SLEEPER))
    try:
        with pytest.raises(HubError, match="ended with code 3"):
            supervisor.replace(python("p", "raise SystemExit(3)", ready=lambda _pid: False), 10)
        assert old.ended() is None
        assert supervisor.slots["p"].child is old
    finally:
        supervisor.stop()


def test_a_program_is_restarted_in_order(supervisor: Supervisor) -> None:
    old = supervisor.start(python("p", SLEEPER))
    try:
        supervisor.restart(python("p", SLEEPER))
        assert old.ended() is not None
        assert eventually(lambda: supervisor.slots["p"].child is not None)
        assert not supervisor.slots["p"].deaths
    finally:
        supervisor.stop()


def test_a_restart_with_what_only_a_new_start_can_change_is_refused_and_the_hub_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = environment.Production(dict(os.environ), tmp_path, "127.0.0.1", 8123, 2, 5.0)
    monkeypatch.setattr(environment, "load", lambda live: replace(used, port=8124, server_processes=1))
    instance.make_folders(tmp_path)
    said = io.StringIO()
    hub = production.ProductionHub(used, Progress(said))
    hub.supervisor.start(python("server-2", SLEEPER))
    request = tmp_path / "run" / "restart.json"
    request.write_text('{"number": "1", "names": []}')
    try:
        hub._serve_restart()
        child = hub.supervisor.slots["server-2"].child
        assert child is not None
        assert child.ended() is None
    finally:
        hub.stop()
    assert not request.exists()
    refusal = (
        "HUB_PORT, HUB_SERVER_PROCESSES changed: that takes effect when the hub is ended and started anew."
    )
    assert refusal in said.getvalue()
    assert json.loads((tmp_path / "run" / "restarted.json").read_text()) == {"number": "1", "error": refusal}


def test_a_request_for_a_restart_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "restart.json").write_text('{"number": "1", "names": ["server"]}')
    assert production.take_request(tmp_path) == ("1", ["server"])
    assert production.take_request(tmp_path) is None
