"""How many machines a load needs, from what things cost: `docs/scaling.md` explains the formulas.

    python -m benchmarks.model                         # the document's loads, as JSON
    python -m benchmarks.model --markdown              # as the tables of docs/scaling.md
    python -m benchmarks.model --wallets 1e7 --transfers 2000 --orders 200 --reads 4000 --eon 14400
    python -m benchmarks.model --set transfer_server_ms=1.1 --set machine_cores=16

Nothing is measured here. The defaults of `Figures` are measurements of benchmarks/RESULTS.md, `Limits` are
decisions. What is computed grows in proportion to what was measured on two cores: it tells what bounds what, and
roughly where.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Figures:
    """What things cost. Milliseconds are of one processor core."""

    transfer_server_ms: float = 0.28
    """Server, a transfer through HTTP at 64 connections."""
    order_server_ms: float = 0.61
    """Server, an order of one eon through HTTP at 64 connections."""
    read_server_ms: float = 0.2
    """Server, a wallet's state with its proof."""
    read_postgres_ms: float = 0.21
    """PostgreSQL, the same."""
    frame_server_ms: float = 0.043
    """Server, an event told to one websocket."""
    connection_kib: float = 35.0
    """Server, memory of a websocket."""
    match_ms: float = 0.13
    """Accounting worker, an order arriving and matched."""
    transfer_postgres_ms: float = 0.12
    """PostgreSQL, a transfer in batches of 32."""
    transfer_log_bytes: float = 1722.0
    """Write-ahead log of a transfer."""
    transfer_stored_bytes: float = 928.0
    """Tables and indexes, a transfer."""
    order_postgres_ms: float = 0.44
    """PostgreSQL, an order of one eon through HTTP at 64 connections, accepted and matched."""
    transfer_batch_ms: float = 0.31
    """Elapsed, a transfer's part of a batch of 32, from its first statement until it is on disk."""
    event_relay_ms: float = 0.04
    """Relay, an event from the outbox to the log and the servers, in messages of 200."""
    event_postgres_ms: float = 0.03
    """PostgreSQL, the same."""
    event_log_bytes: float = 707.0
    """Write-ahead log of the same."""
    registration_postgres_ms: float = 0.04
    """PostgreSQL, a registration."""
    checkpoint_us: float = 22.1
    """Checkpoint, elapsed, a wallet."""
    checkpoint_stored_bytes: float = 226.0
    """Tables and indexes of a checkpoint, a wallet."""
    checkpoint_gas: float = 37_603.0
    deposit_gas: float = 61_531.0
    recovery_gas: float = 103_677.0
    """Taking all of a wallet's money out of a halted contract, at a tree of 2^4 wallets."""
    recovery_gas_level: float = 1_164.0
    """The same, for each further level of the tree."""


@dataclass(frozen=True)
class Limits:
    """How far parts are to be used, and how large machines are."""

    use: float = 0.6
    """Share of a processor's time that is planned with."""
    machine_cores: int = 8
    database_cores: int = 32
    """Of the largest PostgreSQL that is counted on."""
    log_mib: float = 300.0
    """Write-ahead log a second that its disk takes."""
    checkpoint_share: float = 0.125
    """Share of an eon in which the checkpoint is made: orders wait meanwhile, and in the eon's last eighth the
    contract takes none any more."""
    block_gas: float = 36e6
    block_seconds: float = 12.0


@dataclass(frozen=True)
class Load:
    """What users do, a second; `eon` in seconds; `frames`: websockets that an event is told to."""

    name: str
    wallets: float
    transfers: float
    orders: float
    reads: float
    eon: float
    frames: float = 2.0
    markets: int = 10


LOADS = (
    Load("a town", 1e5, 20, 2, 40, 4 * 3600),
    Load("a country's shops", 1e7, 1_000, 100, 2_000, 24 * 3600),
    Load("a large exchange", 1e7, 500, 5_000, 5_000, 24 * 3600, markets=100),
    Load("a hundred million", 1e8, 5_000, 500, 10_000, 36 * 3600, markets=100),
    Load("a billion", 1e9, 50_000, 2_000, 100_000, 36 * 3600, markets=1_000),
)
"""Those of docs/scaling.md."""


def model(load: Load, figures: Figures, limits: Limits) -> dict[str, Any]:
    """What the load needs: operator instances, each with its own contract and database, and machines."""
    events = load.transfers + 2 * load.orders
    seconds = limits.use * 1000
    server = (
        load.transfers * figures.transfer_server_ms
        + load.orders * figures.order_server_ms
        + load.reads * figures.read_server_ms
        + events * load.frames * figures.frame_server_ms
    ) / seconds
    matching = load.orders * figures.match_ms / seconds
    database = (
        load.transfers * figures.transfer_postgres_ms
        + load.orders * figures.order_postgres_ms
        + load.reads * figures.read_postgres_ms
        + events * figures.event_postgres_ms
    ) / seconds
    log = (load.transfers + 3 * load.orders) * figures.transfer_log_bytes / MIB
    log += events * figures.event_log_bytes / MIB
    relay = events * figures.event_relay_ms / seconds
    checkpoint = load.wallets * figures.checkpoint_us / 1e6
    needs = {
        "PostgreSQL's processors": database / limits.database_cores,
        "PostgreSQL's log": log / limits.log_mib,
        "the relay": relay,
        "matching of the busiest market": matching / load.markets,
        "time for the checkpoint": checkpoint / (limits.checkpoint_share * load.eon),
    }
    instances = max(1, math.ceil(max(needs.values())))
    cores = {"servers": server, "matching": matching, "PostgreSQL": database, "relay": relay}
    cores["checkpoint, chain, scheduler"] = 1.0 * instances
    return {
        "load": asdict(load),
        "cores": {name: round(value, 1) for name, value in cores.items()},
        "machines": machines(cores, instances, limits),
        "instances": instances,
        "bound_by": max(needs, key=lambda name: needs[name]),
        "share_of_one_instance": {name: round(value, 3) for name, value in needs.items()},
        "log_mib_a_second": round(log, 2),
        "stored_gib_a_day": round(stored_a_day(load, figures) / GIB, 2),
        "eon": eon(load, figures, instances),
        "chain": chain(load, figures, limits, instances),
    }


def machines(cores: dict[str, float], instances: int, limits: Limits) -> int:
    """One while everything fits into it; else PostgreSQL of each instance has its own, a spare beside it, and the
    rest shares machines."""
    total = sum(cores.values())
    if total <= limits.machine_cores and instances == 1:
        return 1
    database = cores["PostgreSQL"]
    return 2 * instances + max(2, math.ceil((total - database) / limits.machine_cores))


def stored_a_day(load: Load, figures: Figures) -> float:
    """Bytes."""
    transfers = (load.transfers + 3 * load.orders) * 86_400 * figures.transfer_stored_bytes
    return transfers + load.wallets * figures.checkpoint_stored_bytes * 86_400 / load.eon


def eon(load: Load, figures: Figures, instances: int) -> dict[str, Any]:
    """The tree and its making, of one instance."""
    wallets = load.wallets / instances
    height = math.ceil(math.log2(max(wallets, 2)))
    return {
        "wallets": round(wallets),
        "tree_height": height,
        "proof_bytes": 64 * height,
        "checkpoint_seconds": round(wallets * figures.checkpoint_us / 1e6, 1),
        "stored_gib_an_eon": round(wallets * figures.checkpoint_stored_bytes / GIB, 3),
    }


def chain(load: Load, figures: Figures, limits: Limits, instances: int) -> dict[str, Any]:
    """What the chain has to take, of all instances, if it did nothing else."""
    a_second = limits.block_gas / limits.block_seconds
    height = math.ceil(math.log2(max(load.wallets / instances, 2)))
    recovery = figures.recovery_gas + figures.recovery_gas_level * max(height - 4, 0)
    return {
        "checkpoint_gas_a_day": round(figures.checkpoint_gas * instances * 86_400 / load.eon),
        "days_if_everybody_deposits": round(load.wallets * figures.deposit_gas / a_second / 86_400, 2),
        "days_if_everybody_recovers": round(load.wallets * recovery / a_second / 86_400, 2),
        "registration_core_days": round(load.wallets * figures.registration_postgres_ms / 1000 / 86_400, 2),
    }


def capacities(figures: Figures, limits: Limits) -> list[tuple[str, str, str, str]]:
    """What bounds each part: its name, its cost, what one unit of it does, and what more of it takes."""
    core = limits.use * 1000
    log = limits.log_mib * MIB / figures.transfer_log_bytes

    def rate(milliseconds: float) -> str:
        return f"{core / milliseconds:,.0f}/s a core"

    return [
        (
            "server: transfers",
            f"{figures.transfer_server_ms:g} ms",
            rate(figures.transfer_server_ms),
            "processes",
        ),
        ("server: orders", f"{figures.order_server_ms:g} ms", rate(figures.order_server_ms), "processes"),
        (
            "server: states with proof",
            f"{figures.read_server_ms:g} ms",
            rate(figures.read_server_ms),
            "processes",
        ),
        (
            "server: frames told",
            f"{figures.frame_server_ms:g} ms",
            rate(figures.frame_server_ms),
            "processes",
        ),
        (
            "one wallet's transfers",
            f"{figures.transfer_batch_ms:g} ms elapsed",
            f"{1000 / figures.transfer_batch_ms:,.0f}/s in batches",
            "nothing: its row is locked",
        ),
        (
            "PostgreSQL: transfers",
            f"{figures.transfer_postgres_ms:g} ms",
            rate(figures.transfer_postgres_ms),
            f"cores, to {limits.database_cores}; then instances",
        ),
        (
            "PostgreSQL: states with proof",
            f"{figures.read_postgres_ms:g} ms",
            rate(figures.read_postgres_ms),
            "cores; of closed eons replicas",
        ),
        (
            "PostgreSQL: log",
            f"{figures.transfer_log_bytes:,.0f} bytes",
            f"{log:,.0f}/s at {limits.log_mib:g} MiB/s",
            "disks; then instances",
        ),
        ("relay", f"{figures.event_relay_ms:g} ms an event", rate(figures.event_relay_ms), "instances"),
        (
            "matching of a market",
            f"{figures.match_ms:g} ms",
            rate(figures.match_ms),
            "workers, to one a market",
        ),
        (
            "checkpoint",
            f"{figures.checkpoint_us:g} µs a wallet",
            f"{limits.checkpoint_share * 86_400 / figures.checkpoint_us * 1e6 / 1e6:,.0f} million in"
            f" {limits.checkpoint_share:g} of a day's eon",
            "longer eons; instances",
        ),
        ("chain", f"{figures.checkpoint_gas:,.0f} gas an eon", "whatever the number of wallets", "-"),
    ]


def markdown(figures: Figures, limits: Limits) -> str:
    """The tables of docs/scaling.md."""
    lines = ["| part | cost | one unit does | more by |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in capacities(figures, limits)]
    lines += ["", "| | " + " | ".join(load.name for load in LOADS) + " |", "|---|" + "---:|" * len(LOADS)]
    results = [model(load, figures, limits) for load in LOADS]
    rows: list[tuple[str, list[str]]] = [
        ("wallets", [f"{load.wallets:,.0f}" for load in LOADS]),
        ("transfers/s, orders/s, states/s", [f"{x.transfers:,}, {x.orders:,}, {x.reads:,}" for x in LOADS]),
        ("hours an eon, markets", [f"{x.eon / 3600:g}, {x.markets:,}" for x in LOADS]),
        *[(f"cores: {name}", [f"{r['cores'][name]:,g}" for r in results]) for name in results[0]["cores"]],
        ("**operator instances**", [f"{r['instances']:,}" for r in results]),
        ("bound by", [r["bound_by"] for r in results]),
        (f"**machines of {limits.machine_cores} cores**", [f"{r['machines']:,}" for r in results]),
        ("log, MiB/s", [f"{r['log_mib_a_second']:,g}" for r in results]),
        ("stored, GiB a day", [f"{r['stored_gib_a_day']:,g}" for r in results]),
    ]
    for title, part, name in (
        ("an instance: wallets", "eon", "wallets"),
        ("tree's height", "eon", "tree_height"),
        ("proof, bytes", "eon", "proof_bytes"),
        ("checkpoint, s", "eon", "checkpoint_seconds"),
        ("checkpoint, GiB stored", "eon", "stored_gib_an_eon"),
        ("checkpoints, gas a day", "chain", "checkpoint_gas_a_day"),
        ("registering all, days of a PostgreSQL core", "chain", "registration_core_days"),
        ("all deposit: days of the whole chain", "chain", "days_if_everybody_deposits"),
        ("all recover after a halt: the same", "chain", "days_if_everybody_recovers"),
    ):
        rows.append((title, [f"{r[part][name]:,}" for r in results]))
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another cost or limit"
    )
    for name, default in (("wallets", 1e5), ("transfers", 20), ("orders", 2), ("reads", 40), ("eon", 14_400)):
        parser.add_argument(
            f"--{name}", type=float, help=f"of a load of your own; {default:g} if others are given"
        )
        parser.set_defaults(**{f"default_{name}": default})
    options = vars(parser.parse_args())
    figures, limits = Figures(), Limits()
    for text in options["set"]:
        name, _, value = text.partition("=")
        change: dict[str, Any] = {name: float(value)}
        if name in {field.name for field in fields(Figures)}:
            figures = replace(figures, **change)
        else:
            limits = replace(limits, **change)
    if options["markdown"]:
        sys.stdout.write(markdown(figures, limits))
        return
    names = ("wallets", "transfers", "orders", "reads", "eon")
    own = {name: options[name] for name in names if options[name] is not None}
    loads = (Load("yours", **{name: options[f"default_{name}"] for name in names} | own),) if own else LOADS
    answer = {"figures": asdict(figures), "limits": asdict(limits)}
    results = [model(load, figures, limits) for load in loads]
    json.dump({"benchmark": "model", **answer, "results": results}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
