"""The whole hub taken to the contract by the unmodified npm client: honest it wins, made to cheat it loses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from scripts.hub import wire
from tests.test_stock_client import MODULES, ROOT, driver_config

if TYPE_CHECKING:
    from scripts.hub.stack import Stack

BLOCK_TIME = 1  # seconds
BLOCKS_PER_EON = 96  # 24 of which are time enough to answer on the slowest machine
TIME_LIMIT = 300  # seconds


def play(stack: Stack, scenario: str) -> dict[str, Any]:
    """Play a scenario of `tests/client/disputes.js`; what it says of bob at the end."""
    config = driver_config(stack) | {
        "scenario": scenario,
        "cheat": f"{sys.executable} -m tests.cheat",
        "modules": str(MODULES),
    }
    environment = os.environ | stack.environment | {"DRIVER_CONFIG": json.dumps(config)}
    finished = subprocess.run(
        ["node", str(ROOT / "tests" / "client" / "disputes.js")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    steps = [json.loads(line) for line in finished.stdout.splitlines()]
    report = "\n".join(f"{step['step']} ({step['ms']} ms): {step['detail']}" for step in steps)
    assert finished.returncode == 0, f"{report}\n{finished.stderr[-3000:]}"
    assert all(step["ok"] for step in steps), report
    bob: dict[str, Any] = steps[-1]["detail"]
    return bob


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A hub of its own, since it halts."""
    from scripts.hub.stack import Stack

    with Stack(block_time=BLOCK_TIME, blocks_per_eon=BLOCKS_PER_EON) as running:
        yield running


@pytest.mark.stack
@pytest.mark.timeout(TIME_LIMIT + 120)
def test_an_honest_hub_wins_and_a_wrong_balance_loses(own_stack: Stack) -> None:
    play(own_stack, "balance")
    assert "ALARM challenge lost" in own_stack.log("verifier")
    assert "ALARM halted" in own_stack.log("chain")


@pytest.mark.stack
@pytest.mark.timeout(TIME_LIMIT + 120)
def test_an_undelivered_transfer_loses(own_stack: Stack) -> None:
    play(own_stack, "delivery")
    assert "ALARM challenge lost" in own_stack.log("verifier")


@pytest.mark.stack
@pytest.mark.timeout(TIME_LIMIT + 120)
def test_a_withheld_checkpoint_loses_and_a_bundle_recovers(own_stack: Stack, tmp_path: Path) -> None:
    """The second wallet uses its bundle and the command instead of the client; the hub is not needed any more."""
    bob = play(own_stack, "withheld")
    contract = own_stack.environment["HUB_LQD_CONTRACT_ADDRESS"]
    answer = requests.get(f"{own_stack.hub_url}audit/{contract}/{bob['address']}/recovery", timeout=30)
    assert answer.json()["halted"] is True
    bundle = tmp_path / "bundle.json"
    bundle.write_text(answer.text)
    node = own_stack.node_url
    before = int(wire.rpc(node, "eth_getBalance", bob["address"], "latest"), 16)
    own_stack.kill("server")
    command = [sys.executable, "-m", "nocust", "recover", str(bundle), "--node", node]
    finished = subprocess.run(
        command, cwd=ROOT, input=bob["privateKey"], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    after = int(wire.rpc(node, "eth_getBalance", bob["address"], "latest"), 16)
    gas = 300_000 * 10**10
    assert 0 <= before + int(bob["recoverable"]) - after < gas
    again = subprocess.run(
        command, cwd=ROOT, input=bob["privateKey"], capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 1
