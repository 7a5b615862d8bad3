"""What an operator runs beside the production hub, started separately, and the hub started by `./run.sh prod`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from eth_account import Account
from web3 import HTTPProvider, Web3

from contracts.artifacts_loader import load
from contracts.deploy import token_arguments
from nocust.addresses import parse_address
from scripts.hub import instance, node, ports, postgres, redis, wire
from scripts.hub.config import HUB_FOLDER, OPERATOR_KEY, ROOT, Config, base_environment
from scripts.hub.supervisor import Supervisor
from tests.eons import next_eon

PLACES = HUB_FOLDER / "test" / "stacks"
START_SECONDS = 60.0
HUB_SECONDS = 240.0
ETHER = 10**18


@dataclass
class Operator:
    """The operator's account, and what it has deployed."""

    key: bytes
    address: str
    contract: str = ""
    token: str = ""


class Services:
    """PostgreSQL, Redis and an Ethereum node with a contract that `deploy_contract.sh` deployed.

    `block_time` in seconds, `blocks_per_eon` in blocks: so many that a slow machine misses no checkpoint; tests go
    on to the next eon with `next_eon`.
    """

    def __init__(self, block_time: float = 1.0, blocks_per_eon: int = 240) -> None:
        PLACES.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="production-", dir=PLACES)).resolve()
        self.folder.chmod(0o755)  # the database's user must pass through
        hub, node_port, database, redis_port = ports.free_ports(4)
        self.hub_port = hub
        self.blocks_per_eon = blocks_per_eon
        numbers = {"hub": hub, "node": node_port, "database": database, "redis": redis_port}
        self.config = Config(self.folder / "services", numbers, block_time=block_time, test=True)
        self.said: list[str] = []
        self.supervisor = Supervisor(self.config.logs, self.said.append)
        made = Account.create()
        self.operator = Operator(bytes(made.key), made.address)
        self.database_url = self.redis_url = ""
        self.node_url = f"http://127.0.0.1:{node_port}"

    def __enter__(self) -> Services:
        try:
            self.start()
        except BaseException:
            self.supervisor.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()
        instance.reset(self.config.folder)
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the three servers and deploy contract and token."""
        instance.make_folders(self.config.folder)
        server = postgres.prepare(self.config)
        self.supervisor.start(server.program, START_SECONDS)
        postgres.make_database(server.url)
        self.database_url = server.url
        program, self.redis_url = redis.prepare(self.config)
        self.supervisor.start(program, START_SECONDS)
        (self.config.folder / "chain").mkdir(exist_ok=True)
        self.supervisor.start(node.program(self.config, base_environment()), START_SECONDS)
        self._deploy()

    def _deploy(self) -> None:
        web3 = Web3(HTTPProvider(self.node_url))
        rich = Account.from_key(OPERATOR_KEY)
        fields = {"to": self.operator.address, "value": 1000 * ETHER, "gas": 21_000, "data": b""}
        _send(web3, rich, fields)
        environment = base_environment() | {
            "HUB_ETHEREUM_NODE_URL": self.node_url,
            "HUB_ETHEREUM_CHAIN_ID": str(self.config.chain_id),
            "HUB_OWNER_ACCOUNT_ADDRESS": self.operator.address,
            "HUB_OWNER_ACCOUNT_KEY": self.operator.key.hex(),
            "HUB_BLOCKS_PER_EON": str(self.blocks_per_eon),
            "HUB_LQD_CONTRACT_CONFIRMATIONS": "1",
        }
        done = subprocess.run(
            [str(ROOT / "deploy_contract.sh")],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        self.operator.contract = printed["HUB_LQD_CONTRACT_ADDRESS"]
        code = load("TestToken").bytecode + token_arguments()
        owner = Account.from_key(self.operator.key)
        receipt = _send(web3, owner, {"to": b"", "value": 0, "gas": 3_000_000, "data": code})
        self.operator.token = receipt["contractAddress"]

    def next_eon(self) -> int:
        """Have the blocks mined that are missing to the next eon; that eon."""
        web3 = Web3(HTTPProvider(self.node_url))
        address = Web3.to_checksum_address(self.operator.contract)
        return next_eon(web3, web3.eth.contract(address=address, abi=load("NOCUSTCommitChain").abi))

    @property
    def contract(self) -> bytes:
        return parse_address(self.operator.contract)

    def variables(self) -> dict[str, str]:
        """What the hub's `.env` holds."""
        return {
            "SECRET_KEY": "kJ8s0vQ3xZ1nB6tY4wR7uM2pL9cF5hD0aG8eK3iV6oX1qN4z",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "SERVER_NAME": "hub of the tests",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "HUB_ETHEREUM_NODE_URL": self.node_url,
            "HUB_ETHEREUM_CHAIN_ID": str(self.config.chain_id),
            "HUB_OWNER_ACCOUNT_ADDRESS": self.operator.address,
            "HUB_OWNER_ACCOUNT_KEY": self.operator.key.hex(),
            "HUB_LQD_CONTRACT_ADDRESS": self.operator.contract,
            "HUB_LQD_CONTRACT_CONFIRMATIONS": "2",
            "SLA_TOKEN_ADDRESS": self.operator.token,
            "SLA_THRESHOLD": "1000000",
            "HUB_PORT": str(self.hub_port),
            "HUB_DATA": str(self.folder / "hub"),
        }


def _send(web3: Web3, account: Any, fields: dict[str, Any]) -> Any:
    filled = {
        **fields,
        "nonce": web3.eth.get_transaction_count(account.address),
        "gasPrice": 10**8,
        "chainId": web3.eth.chain_id,
    }
    signed = account.sign_transaction(filled)
    receipt = web3.eth.wait_for_transaction_receipt(
        web3.eth.send_raw_transaction(signed.raw_transaction), timeout=60
    )
    assert receipt["status"] == 1
    return receipt


class Hub:
    """The production hub of a `.env` file, as `./run.sh prod` starts it."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.file = folder / "hub.env"
        self.folder = Path(variables["HUB_DATA"])
        self.url = f"http://127.0.0.1:{variables['HUB_PORT']}/"
        self.output = folder / "hub.log"
        self.write(variables)
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, variables: dict[str, str]) -> None:
        """The file, readable by its owner alone."""
        self.file.touch(mode=0o600)
        self.file.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))

    @property
    def environment(self) -> dict[str, str]:
        return base_environment() | {"HUB_ENV_FILE": str(self.file)}

    def command(self, *arguments: str, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
        """One command of `./run.sh prod`."""
        return subprocess.run(
            [str(ROOT / "run.sh"), "prod", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        """What a command that must succeed printed."""
        done = self.command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Start all processes and wait until the hub is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start all processes."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    shutil.which("setpriv") or "setpriv",
                    "--pdeathsig",
                    "SIGTERM",
                    str(ROOT / "run.sh"),
                    "prod",
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the launched hub is ready."""
        deadline = time.monotonic() + HUB_SECONDS
        while not self._ready():
            self.check_alive()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def check_alive(self) -> None:
        """Fail with what the hub said if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.said()

    def _ready(self) -> bool:
        record = instance.running(self.folder)
        return record is not None and record.ready and wire.status(self.url + "audit/") == 200

    def said(self) -> str:
        """What the supervisor printed."""
        return self.output.read_text(errors="replace")

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    def pid(self, name: str) -> int:
        """The number of a running process."""
        record = instance.running(self.folder)
        assert record is not None
        return record.processes[name].pid

    def names(self) -> list[str]:
        record = instance.running(self.folder)
        return list(record.processes) if record else []

    def end(self) -> None:
        """SIGTERM, and wait for it; nothing if it does not run."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.kill(self._process.pid, 15)
        self._process.wait(120)
        self._process = None
