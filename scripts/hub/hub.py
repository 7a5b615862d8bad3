"""The whole development hub: services, contract, tables and the six processes, in the order of their needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts.hub import instance, node, ports, postgres, proc, redis, tie, wire
from scripts.hub.child import Program
from scripts.hub.config import (
    CHAIN_ID,
    CONTRACT,
    PORT_VARIABLES,
    ROOT,
    Config,
    base_environment,
    children_environment,
)
from scripts.hub.errors import HubError
from scripts.hub.instance import Record
from scripts.hub.programs import SCRIPTS, programs
from scripts.hub.progress import Progress
from scripts.hub.supervisor import Supervisor

SERVICE_SECONDS = 30.0
STEP_SECONDS = 300.0
READY_SECONDS = 180.0
FIRST = {"server", "scheduler", "accounting"}
"""What answers wallets and matches their orders. The others load as much: they are started when the server serves,
and leave it the processors until then."""
START_DEATHS = 2  # of one process before the hub was ever ready: more will not help


class Hub:
    """One instance. Use from one thread: `start`, then `watch`, and `stop` in any case."""

    def __init__(self, config: Config, progress: Progress) -> None:
        self.config = config
        self.progress = progress
        self.supervisor = Supervisor(config.logs, progress.say, self._tell)
        self.database_url = config.database_url
        self.redis_url = config.redis_url
        self.node_url = config.node_url
        self._record = Record(os.getpid(), proc.start_time(os.getpid()), config.hub_url)
        self._keeper: node.ChainKeeper | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables of this instance that its processes read."""
        return children_environment(self.config, self.database_url, self.redis_url, self.node_url)

    def _tell(self) -> None:
        self._record.processes = self.supervisor.records()
        instance.write(self.config.folder, self._record)

    def start(self) -> None:
        """Bring everything up. Raises HubError or StopRequested; call `stop` then."""
        ports.check_ports(self.config)
        self._tell()
        self.start_services()
        step, node_url = self.progress.step, self.node_url
        with step("chain and database"):
            tie.check(self.config, self.database_url, node_url)
        with step("contract and tables"):
            self._deploy_and_migrate()
        self._record.environment = self.environment
        with step("tokens and terms"):
            self.supervisor.run_to_end([self._manage("prepare", "prepare_hub")], STEP_SECONDS)
        with step("six processes"):
            self._start_processes()
        self._record.ready = True
        self._tell()

    def start_services(self) -> None:
        """PostgreSQL, Redis and the node, or a check of the ones that the environment names."""
        with self.progress.step("PostgreSQL"):
            if self.config.database_url:
                postgres.check_external(self.config.database_url)
            else:
                server = postgres.prepare(self.config)
                self.database_url = server.url
                self.supervisor.start(server.program, SERVICE_SECONDS)
                postgres.make_database(server.url)
        with self.progress.step("Redis"):
            if self.config.redis_url:
                redis.check_external(self.config.redis_url)
            else:
                program, self.redis_url = redis.prepare(self.config)
                self.supervisor.start(program, SERVICE_SECONDS)
        with self.progress.step("Ethereum node"):
            if self.config.node_url:
                self._check_external_node()
            else:
                self.start_node()

    def start_node(self) -> None:
        """The embedded node, and the thread that keeps its chain."""
        program = node.program(self.config, base_environment())
        self.supervisor.start(program, SERVICE_SECONDS)
        self.node_url = f"http://127.0.0.1:{self.config.ports['node']}"
        files = node.ChainFiles(self.config.folder / "chain")
        self._keeper = node.ChainKeeper(files, self.node_url)
        self._keeper.start()

    def _check_external_node(self) -> None:
        config = self.config
        served = node.check_external(config.node_url)
        if served != config.chain_id:
            raise HubError(
                f"The node that HUB_ETHEREUM_NODE_URL names serves chain {served}, expected {config.chain_id}: "
                f"set HUB_ETHEREUM_CHAIN_ID={served} if that is the chain you mean."
            )
        if served != CHAIN_ID and not config.own_key:
            raise HubError(
                f"The operator's development key is public and may not be used on chain {served}: "
                "set HUB_OWNER_ACCOUNT_ADDRESS and HUB_OWNER_ACCOUNT_KEY."
            )

    def _deploy_and_migrate(self) -> None:
        # what Django's own checks find, `prepare_hub` tells right after
        steps = [self._manage("migrate", "migrate", "--no-input", "--skip-checks", "--verbosity", "1")]
        deploys = self._wants_deployment()
        if deploys:
            command = [sys.executable, "-m", "contracts.deploy", "--dev", "--node", self.node_url]
            steps.append(
                self._step("deploy", [*command, "--blocks-per-eon", str(self.config.blocks_per_eon)])
            )
        try:
            self.supervisor.run_to_end(steps, STEP_SECONDS)
        except HubError as error:
            raise HubError(f"{error}\n{tie.OTHER_VERSION}") from None
        if not deploys:
            return
        if not tie.has_code(self.node_url, self.config.contract):
            raise HubError(f"After its deployment there is no contract at {self.config.contract}.")
        if self._keeper:
            self._keeper.save_now()

    def _wants_deployment(self) -> bool:
        """Whether there is no contract yet or, on the embedded node, no token, which is deployed after it. What is
        on the embedded node must be of this version."""
        config = self.config
        if not config.node_url:
            if not all(tie.has_code(self.node_url, place) for place in (config.contract, config.token)):
                return True
            tie.check_version(config, self.node_url)
            return False
        if tie.has_code(self.node_url, config.contract):
            return False
        if config.contract.lower() != CONTRACT.lower() or config.chain_id != CHAIN_ID:
            raise HubError(
                f"There is no contract at {config.contract} on chain {config.chain_id}: deploy one "
                "('python -m contracts.deploy --help') and set HUB_LQD_CONTRACT_ADDRESS."
            )
        return True

    def _log(self, name: str) -> Path:
        return self.supervisor.log(name)

    def _manage(self, name: str, *arguments: str) -> Program:
        return self._step(name, [sys.executable, str(ROOT / "manage.py"), *arguments])

    def _step(self, name: str, command: list[str]) -> Program:
        return Program(name, command, base_environment() | self.environment)

    def _start_processes(self) -> None:
        config = self.config
        environment = base_environment() | self.environment | {"HUB_HOST": self._host()}
        patience, self.supervisor.limit = self.supervisor.limit, START_DEATHS
        everything = programs(environment)
        for program in everything:
            if program.name in FIRST:
                self.supervisor.start(program)
        address = f"http://127.0.0.1:{config.ports['hub']}/audit/"
        self.supervisor.wait_until(
            lambda: self._serves(address),
            READY_SECONDS,
            f"The hub does not answer at {address} (log: {self._log('server')})",
        )
        for program in everything:
            if program.name not in FIRST:
                self.supervisor.start(program)
        self.supervisor.limit = patience

    def _host(self) -> str:
        """`localhost` only where all its addresses exist; the server could not listen otherwise."""
        if self.config.host == "localhost" and len(ports.loopback_addresses()) == 1:
            return "127.0.0.1"
        return self.config.host

    def _serves(self, address: str) -> bool:
        slot = self.supervisor.slots["server"]
        port = self.config.ports["hub"]
        if wire.status(address, timeout=10.0) != 200:
            return False
        if slot.child is None or not proc.listens(slot.child.pid, port):
            raise HubError(ports.occupied(port, "the hub's HTTP and websocket server", PORT_VARIABLES["hub"]))
        return True

    def watch(self) -> None:
        """Keep everything running until a stop is requested."""
        self.supervisor.watch()

    def stop(self) -> None:
        """End everything that this instance started: the six together, then node, Redis, PostgreSQL."""
        if self._keeper:
            self._keeper.stop()
        self._record.ready = False
        groups = [list(reversed(SCRIPTS)), ["node"], ["redis"], ["postgres"]]
        self.supervisor.stop(groups)
