"""The checkpoint of many wallets, a tenth of them active: time, memory and what it stores.

    python -m benchmarks.checkpoint [--wallets 1000 10000 100000 1000000]

Each is made by a process of its own, so that its peak memory is that of the checkpoint. Meanwhile somebody pays in
the eon that has begun, one transfer after the other: the longest one is how long writers were stopped. Afterwards
proofs of wallets picked at random are derived from what was stored, and verified as the contract does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import (
    ROOT,
    conditions,
    ledger_database,
    percentile,
    postgres_conditions,
    report,
    start_django,
)

if TYPE_CHECKING:
    from operator_api.simulation.play import Play
    from operator_api.simulation.wallets import SimulatedWallet

TABLES = ("exclusivebalanceallotment", "treechunk", "tokencommitment", "rootcommitment")
PROOFS = 200
CALM_SECONDS = 5.0
"""How long transfers are timed before the checkpoint."""
PAUSE = 0.02
"""Seconds between two transfers."""


def table_sizes() -> dict[str, int]:
    """Bytes of the tables that a checkpoint writes, indexes included."""
    from ledger.sql import fetch

    return {
        table: fetch("SELECT pg_total_relation_size(%s::regclass)", [f"ledger_{table}"])[0][0]
        for table in TABLES
    }


def peak() -> float:
    """The most memory this process has used, MiB. Not `getrusage`, whose value includes what the process that
    started this one had used."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the peak memory")


def make() -> None:
    """Make the checkpoint that is due, in this process, and print what it took."""
    start_django()
    from django.db import transaction

    from ledger.checkpoint import create_checkpoint
    from ledger.store import chain_status

    chain_status()
    before, used = peak(), time.process_time()
    began = time.perf_counter()
    with transaction.atomic():
        create_checkpoint(3, 121)
    took, used = time.perf_counter() - began, time.process_time() - used
    json.dump({"seconds": took, "cpu_seconds": used, "idle_mib": before, "peak_mib": peak()}, sys.stdout)


def verify(count: int) -> None:
    """Derive and verify proofs of random wallets."""
    from ledger.models import RootCommitment, Wallet
    from ledger.proofs import active_state_checksum, proofs
    from nocust.balances import verify_account_allotment
    from nocust.encoding import ZERO_HASH

    root = RootCommitment.objects.get(eon_number=3).merkle_root
    trails = random.sample(range(1, count + 1), min(PROOFS, count))
    wallets = Wallet.objects.filter(trail_identifier__in=trails).select_related("token")
    found = proofs((wallet.pk, 3) for wallet in wallets)
    assert len(found) == len(trails)
    for wallet in wallets:
        proof = found[wallet.pk, 3]
        row = proof.allotment
        verify_account_allotment(
            wallet.token.address,
            wallet.token.address,
            wallet.address,
            row.passive_checksum or ZERO_HASH,
            row.passive_amount,
            row.passive_marker,
            active_state_checksum(wallet.token.address, proof),
            trail=wallet.trail_identifier,
            token_trail=0,
            root=root,
            chain=proof.path.hashes,
            membership_chain=proof.membership,
            values=proof.path.values,
            left=row.left,
            right=row.right,
        )


def _pay(play: Play, players: list[SimulatedWallet], over: Callable[[], bool]) -> dict[str, Any]:
    """Transfers one after the other until it is over, and how long they took."""
    from ledger.store import StoredTransfer

    sender, recipient = players
    times: list[float] = []
    while not over():
        began = time.perf_counter()
        assert isinstance(play.pay(sender, recipient, 1), StoredTransfer)
        times.append(1000 * (time.perf_counter() - began))
        time.sleep(PAUSE)
    times.sort()
    return {
        "transfers": len(times),
        "p50_ms": round(percentile(times, 0.50), 1),
        "p99_ms": round(percentile(times, 0.99), 1),
        "longest_ms": round(times[-1], 1),
    }


def beside_writers(
    play: Play, players: list[SimulatedWallet], url: str, *module_and_arguments: str
) -> dict[str, Any]:
    """What another process prints as JSON, and transfers before and meanwhile: the first of the players pays the
    second."""
    until = time.monotonic() + CALM_SECONDS
    before = _pay(play, players, lambda: time.monotonic() > until)
    command = [sys.executable, "-m", *module_and_arguments]
    environment = {**os.environ, "DATABASE_URL": url, "LOG_LEVEL": "WARNING"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        meanwhile = _pay(play, players, lambda: process.poll() is not None)
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return {**json.loads(output), "transfers_before": before, "transfers_meanwhile": meanwhile}


def measure(count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures, and the settings of PostgreSQL."""
    with ledger_database() as url:
        from benchmarks.population import populate

        began = time.perf_counter()
        play = populate(count)
        players = play.register(2)
        play.deposit(players[0], 10**18)
        prepared = time.perf_counter() - began
        before = table_sizes()
        made = beside_writers(play, players, url, "benchmarks.checkpoint", "--make")
        stored = sum(table_sizes().values()) - sum(before.values())
        verify(count)
        return {
            "wallets": count,
            "seconds": round(made["seconds"], 2),
            "cpu_seconds": round(made["cpu_seconds"], 2),
            "peak_memory_mib": round(made["peak_mib"], 1),
            "idle_memory_mib": round(made["idle_mib"], 1),
            "bytes_stored_per_wallet": round(stored / count, 1),
            "transfers_before": made["transfers_before"],
            "transfers_meanwhile": made["transfers_meanwhile"],
            "set_up_seconds": round(prepared, 2),
            "proofs_verified": min(PROOFS, count),
        }, postgres_conditions()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wallets", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--make", action="store_true", help="make the checkpoint that is due in DATABASE_URL")
    arguments = parser.parse_args()
    if arguments.make:
        make()
        return
    os.environ["SLA_THRESHOLD"] = str(10**6)
    os.environ["HUB_CHAIN_STALL_SECONDS"] = "0"  # populating takes minutes, in which no block comes
    start = conditions()
    runs, settings = zip(*map(measure, arguments.wallets), strict=True)
    report("checkpoint", start, {"postgresql": settings[0], "runs": runs})


if __name__ == "__main__":
    main()
