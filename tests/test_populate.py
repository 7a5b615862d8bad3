"""`manage.py populate` on a whole hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from operator_api.simulation.population import Population
from scripts.hub.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
SEED = 7


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A hub whose order book nobody else counts on."""
    with Stack(block_time=1, blocks_per_eon=60) as running:
        yield running


def populate(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "manage.py"),
        "populate",
        "--hub",
        stack.hub_url,
        "--seed",
        str(SEED),
    ]
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.stack
@pytest.mark.timeout(900)
def test_a_hub_is_filled_through_its_api(own_stack: Stack) -> None:
    stack = own_stack
    wanted = ("--wallets", "6", "--payments", "12", "--orders", "4", "--eons", "1")
    done = populate(stack, *wanted)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["wallets"], figures["payments"], figures["orders"]) == (14, 12, 4)
    assert len(figures["checkpoints_verified"]) == 1
    assert figures["seed"] == SEED
    page = requests.get(f"{stack.hub_url}audit/transactions/?swap=true&limit=50", timeout=30).json()
    assert len({row["tx_id"] for row in page["results"]}) >= 4
    again = populate(stack, *wanted)
    assert again.returncode != 0
    assert "take another one" in again.stderr


def test_a_seed_makes_the_same_people() -> None:
    def people(seed: int) -> list[bytes]:
        nobody = cast(Any, None)
        made = Population(nobody, nobody, b"c" * 20, b"t" * 20, 3, 2, seed, nobody)
        return [wallet.address for wallet in made.traffic.wallets] + [
            one.debit.address for one in made.traders
        ]

    assert people(1) == people(1)
    assert len(set(people(1))) == 5
    assert not set(people(1)) & set(people(2))
