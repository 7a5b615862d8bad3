"""What is printed for people: where everything is, and the state of each process."""

from __future__ import annotations

from pathlib import Path

from scripts.hub import instance
from scripts.hub.config import Config


def where(config: Config, environment: dict[str, str], seconds: float) -> str:
    """The table after a start. Shows the URL of an embedded database whole, of others without the password."""
    base = config.hub_url
    node = config.node_url or f"http://localhost:{config.ports['node']}/"
    rows = {
        "REST": base,
        "swagger, redoc": f"{base}swagger/   {base}redoc/",
        "websocket": base.replace("http", "ws", 1) + "ws/",
        "Ethereum node": f"{node}   chain {config.chain_id}",
        "PostgreSQL": "as DATABASE_URL says" if config.database_url else environment["DATABASE_URL"],
        "Redis": "as REDIS_URL says" if config.redis_url else environment["REDIS_URL"],
        "contract": config.contract,
        "token LQD": config.token,
        "operator": config.operator,
        "eon": f"{config.blocks_per_eon} blocks"
        + ("" if config.node_url else f" of {config.block_time:g} s"),
        "logs": str(config.logs),
    }
    lines = [f"  {name:<16}{value}" for name, value in rows.items()]
    return "\n".join(
        ["", f"The hub is ready after {seconds:.1f} s.", *lines, "", "Ctrl-C or './run.sh stop' ends it."]
    )


def status(folder: Path) -> tuple[str, bool]:
    """The state of each process, and whether the hub runs and is ready."""
    record = instance.running(folder)
    if record is None:
        return "The hub is not running.", False
    state = "ready" if record.ready else "not ready"
    lines = [f"The hub at {record.url} is {state} (supervisor: process {record.pid})."]
    healthy = record.ready
    for name, process in record.processes.items():
        alive = process.alive
        healthy = healthy and alive
        text = f"running, process {process.pid}" if alive else "down, " + process.state
        again = f", started again {process.restarts} times" if process.restarts else ""
        lines.append(f"  {name:<12}{text}{again}")
    return "\n".join(lines), healthy
