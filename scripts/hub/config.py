"""Settings of the development hub: folders, ports, addresses. Everything comes from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.hub.errors import HubError

ROOT = Path(__file__).resolve().parent.parent.parent
HUB_FOLDER = ROOT / ".hub"

# The development chain. The key belongs to a public mnemonic: it must never hold anything of value.
CHAIN_ID = 1337
MNEMONIC = "myth like bonus scare over problem client lizard pioneer submit female collect"
OPERATOR = "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1"
OPERATOR_KEY = "0x4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d"
CONTRACT = "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
LQD = "0xe982E462b094850F12AF94d21D470e21bE9D0E9C"

PORT_VARIABLES = {
    "hub": "HUB_PORT",
    "node": "HUB_NODE_PORT",
    "database": "HUB_DATABASE_PORT",
    "redis": "HUB_REDIS_PORT",
}
"""What a port is for, and the variable that sets it."""

DEFAULT_PORTS = {"hub": 8123, "node": 8545, "database": 15432, "redis": 16379}

OWN_VARIABLES = (
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "HUB_ETHEREUM_NODE_URL",
    "HUB_ETHEREUM_CHAIN_ID",
    "HUB_LQD_CONTRACT_ADDRESS",
    "HUB_LQD_CONTRACT_CONFIRMATIONS",
    "HUB_OWNER_ACCOUNT_ADDRESS",
    "HUB_OWNER_ACCOUNT_KEY",
    "SLA_TOKEN_ADDRESS",
    "HUB_BEAT_SCHEDULE_FILE",
    "HUB_DATA",
    "HUB_DRAIN_SECONDS",
    "HUB_ENV_FILE",
    "HUB_SERVER_PROCESSES",
    "RUNNING_IN_PRODUCTION",
    "HUB_HOST",
    "HUB_BLOCK_TIME",
    "HUB_BLOCKS_PER_EON",
    "HUB_TEST",
    "HUB_TEST_REDIS_URLS",
    "HUB_TEST_WORKERS",
    "PYTEST_XDIST_WORKER",
    "HUB_RUN_BEGAN",
    "HUB_RUN_FROM",
    *PORT_VARIABLES.values(),
)
"""Variables that belong to one instance; a second instance started from inside the first must not inherit them."""


@dataclass(frozen=True)
class Config:
    """One instance of the development hub.

    `block_time` in seconds, `blocks_per_eon` and `confirmations` in blocks; an empty URL means "the embedded one".
    """

    folder: Path
    ports: dict[str, int]
    host: str = "localhost"
    block_time: float = 2.0
    blocks_per_eon: int = 60
    confirmations: int = 3
    database_url: str = ""
    redis_url: str = ""
    node_url: str = ""
    chain_id: int = CHAIN_ID
    operator: str = OPERATOR
    operator_key: str = OPERATOR_KEY
    contract: str = CONTRACT
    token: str = LQD
    own_key: bool = False
    test: bool = False

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def hub_url(self) -> str:
        """Where a person or a client finds the hub, with the final slash."""
        return f"http://localhost:{self.ports['hub']}/"

    @property
    def embedded(self) -> dict[str, str]:
        """The ports that this instance itself will listen on, each with what wants it."""
        wanted = {"hub": "the hub's HTTP and websocket server"}
        if not self.node_url:
            wanted["node"] = "the Ethereum node"
        if not self.database_url:
            wanted["database"] = "PostgreSQL"
        if not self.redis_url:
            wanted["redis"] = "Redis"
        return wanted


def from_environment(environ: Mapping[str, str] = os.environ) -> Config:
    """The instance that the environment describes. Raises HubError that names the variable that is wrong."""
    if environ.get("RUNNING_IN_PRODUCTION", "").lower() in {"1", "true", "yes", "on"}:
        raise HubError(
            "RUNNING_IN_PRODUCTION is set, and ./run.sh is for development: it may use a public key. "
            "The production hub is './run.sh prod'."
        )
    own_key = environ.get("HUB_OWNER_ACCOUNT_KEY", "")
    return Config(
        folder=Path(environ.get("HUB_DATA") or HUB_FOLDER / "dev").resolve(),
        ports={
            what: _integer(environ, name, DEFAULT_PORTS[what], 1, 65535)
            for what, name in PORT_VARIABLES.items()
        },
        host=environ.get("HUB_HOST") or "localhost",
        block_time=_seconds(environ, "HUB_BLOCK_TIME", 2.0),
        blocks_per_eon=_integer(environ, "HUB_BLOCKS_PER_EON", 60, 4, 1_000_000),
        confirmations=_integer(environ, "HUB_LQD_CONTRACT_CONFIRMATIONS", 3, 0, 1000),
        database_url=environ.get("DATABASE_URL", ""),
        redis_url=environ.get("REDIS_URL", "").rstrip("/"),
        node_url=environ.get("HUB_ETHEREUM_NODE_URL", ""),
        chain_id=_integer(environ, "HUB_ETHEREUM_CHAIN_ID", CHAIN_ID, 1, 2**63),
        operator=environ.get("HUB_OWNER_ACCOUNT_ADDRESS") or OPERATOR,
        operator_key=own_key or OPERATOR_KEY,
        contract=environ.get("HUB_LQD_CONTRACT_ADDRESS") or CONTRACT,
        token=environ.get("SLA_TOKEN_ADDRESS") or LQD,
        own_key=bool(own_key) and own_key.lower() != OPERATOR_KEY,
        test=environ.get("HUB_TEST", "") == "1",
    )


def _integer(environ: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or not lowest <= int(text) <= highest:
        raise HubError(f"{name} must be a whole number from {lowest} to {highest}, and is {text!r}.")
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise HubError(f"{name} must be a number of seconds from 0.1 to 3600, and is {text!r}.")
    return value


def children_environment(config: Config, database_url: str, redis_url: str, node_url: str) -> dict[str, str]:
    """The variables that the hub's own processes read for this instance."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "HUB_ETHEREUM_NODE_URL": node_url,
        "HUB_ETHEREUM_CHAIN_ID": str(config.chain_id),
        "HUB_OWNER_ACCOUNT_ADDRESS": config.operator,
        "HUB_OWNER_ACCOUNT_KEY": config.operator_key,
        "HUB_LQD_CONTRACT_ADDRESS": config.contract,
        "HUB_LQD_CONTRACT_CONFIRMATIONS": str(config.confirmations),
        "SLA_TOKEN_ADDRESS": config.token,
        "HUB_PORT": str(config.ports["hub"]),
        "HUB_BEAT_SCHEDULE_FILE": str(config.run / "beat-schedule"),
    }


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's environment without the variables of an instance, and with the packages' programs on PATH."""
    kept = {name: value for name, value in environ.items() if name not in OWN_VARIABLES}
    programs = str(HUB_FOLDER / "venv" / "bin")
    paths = [part for part in kept.get("PATH", os.defpath).split(os.pathsep) if part != programs]
    kept["PATH"] = os.pathsep.join([programs, *paths])
    return kept
