"""The model of `docs/scaling.md`: its tables are what the command prints, and it behaves as a load does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.model import LOADS, Figures, Limits, Load, markdown, model

ROOT = Path(__file__).resolve().parent.parent
FIGURES, LIMITS = Figures(), Limits()
BEGIN, END = "<!-- model: begin -->\n", "<!-- model: end -->"


def test_the_document_has_the_tables_that_the_command_prints() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    found = text.partition(BEGIN)[2].partition(END)[0]
    assert found == markdown(FIGURES, LIMITS), "put in what `python -m benchmarks.model --markdown` prints"


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_an_instance_is_never_asked_for_more_than_it_does(load: Load) -> None:
    found = model(load, FIGURES, LIMITS)
    assert max(found["share_of_one_instance"].values()) <= found["instances"]
    part = model(
        replace(
            load,
            wallets=load.wallets / found["instances"],
            transfers=load.transfers / found["instances"],
            orders=load.orders / found["instances"],
            reads=load.reads / found["instances"],
            markets=max(1, load.markets // found["instances"]),
        ),
        FIGURES,
        LIMITS,
    )
    assert part["instances"] == 1
    assert found["machines"] * LIMITS.machine_cores >= sum(found["cores"].values())


def test_what_is_dearer_needs_more() -> None:
    load = LOADS[3]
    cheap = model(load, FIGURES, LIMITS)
    for name in ("transfer_server_ms", "read_server_ms", "event_relay_ms"):
        dear = model(load, replace(FIGURES, **{name: 10 * getattr(FIGURES, name)}), LIMITS)
        assert dear["machines"] > cheap["machines"], name


def test_a_load_and_a_cost_of_ones_own() -> None:
    command = [sys.executable, "-m", "benchmarks.model", "--wallets", "2e8", "--set", "checkpoint_us=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    (result,) = answer["results"]
    assert answer["figures"]["checkpoint_us"] == 12
    assert result["bound_by"] == "time for the checkpoint"
    assert result["eon"]["wallets"] * result["instances"] == pytest.approx(2e8, rel=0.001)
