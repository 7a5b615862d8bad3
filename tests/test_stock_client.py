"""The whole hub driven by the unmodified npm client (spec/http-api.md §12)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.hub.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
DRIVERS = ROOT / "tests" / "client"
MODULES = ROOT / ".hub" / "npm" / "node_modules"
TIME_LIMIT = 900  # seconds
LAST_LINES = 40
BLOCK_TIME = 1  # seconds
BLOCKS_PER_EON = 120  # long enough for the slowest machine to finish a step sequence inside one eon


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole hub with its services on free ports, which both drivers use."""
    with Stack(block_time=BLOCK_TIME, blocks_per_eon=BLOCKS_PER_EON) as running:
        yield running


def driver_config(stack: Stack) -> dict[str, object]:
    """The configuration that `driver.js` documents, for a running stack."""
    environment = stack.environment
    python = shlex.quote(sys.executable)
    manage = shlex.quote(str(ROOT / "manage.py"))
    return {
        "hubUrl": stack.hub_url,
        "rpcUrl": stack.node_url,
        "contract": environment["HUB_LQD_CONTRACT_ADDRESS"],
        "token": environment["SLA_TOKEN_ADDRESS"],
        "operatorKey": environment["HUB_OWNER_ACCOUNT_KEY"],
        "confirmations": int(environment["HUB_LQD_CONTRACT_CONFIRMATIONS"]),
        "blockTime": stack.block_time,
        "blocksPerEon": stack.blocks_per_eon,
        "modules": str(MODULES),
        "publishTerms": f"{python} {manage} publish_terms --privacy {{privacy}} --terms {{terms}} --reason test",
    }


def run_driver(
    driver: str, config: dict[str, object], environment: dict[str, str]
) -> tuple[int, list[str], str]:
    """Exit code, printed lines and the end of standard error of one run of a driver."""
    finished = subprocess.run(
        ["node", str(DRIVERS / driver)],
        cwd=ROOT,
        env={**os.environ, **environment, "DRIVER_CONFIG": json.dumps(config)},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    errors = "\n".join(finished.stderr.splitlines()[-LAST_LINES:])
    return finished.returncode, finished.stdout.splitlines(), errors


@pytest.mark.stack
@pytest.mark.timeout(TIME_LIMIT + 300)
@pytest.mark.parametrize("driver", ["driver.js", "trading.js"])
def test_stock_client_passes_the_acceptance_list(stack: Stack, driver: str) -> None:
    code, lines, errors = run_driver(driver, driver_config(stack), stack.environment)
    steps = [json.loads(line) for line in lines]
    report = "\n".join(f"{step['step']}: {'ok' if step['ok'] else step['detail']}" for step in steps)
    assert code == 0, f"{report}\n{errors}"
    assert steps[-1]["step"] == "all", report
    assert all(step["ok"] for step in steps), report


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_the_first_payment_of_the_readme(stack: Stack) -> None:
    finished = subprocess.run(
        ["node", str(ROOT / "docs" / "examples" / "first_payment.js")],
        env={
            **os.environ,
            "NODE_PATH": str(MODULES),
            "HUB_URL": stack.hub_url,
            "NODE_URL": stack.node_url,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.endswith("bob has 1000 wei with the hub\n")
