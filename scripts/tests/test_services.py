"""The embedded PostgreSQL, Redis and node, for real: data outlives kills and restarts, and belongs together."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from redis import Redis

from scripts.hub import instance, node, place, ports, postgres, proc, tie
from scripts.hub import redis as redis_service
from scripts.hub.child import Account
from scripts.hub.config import CONTRACT, PORT_VARIABLES, Config
from scripts.hub.errors import HubError
from scripts.hub.hub import Hub
from scripts.hub.node import ChainFiles
from scripts.hub.progress import Progress
from scripts.hub.wire import rpc
from scripts.tests.helpers import eventually

FUNDED = "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1"
# Creation code of a contract whose every call logs one topic, and of one that is empty.
LOGGER = "0x600a600c600039600a6000f360016000" + "6000a1" + "00" * 4


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    chosen = dict(zip(PORT_VARIABLES, ports.free_ports(4), strict=True))
    made = Config(tmp_path / "hub", chosen, block_time=600, test=True)
    yield made
    place.remove_data(made.folder)


class Services:
    """A hub with its three services up, and nothing else."""

    def __init__(self, config: Config) -> None:
        instance.make_folders(config.folder)
        self.hub = Hub(config, Progress())
        self.supervisor = self.hub.supervisor

    def __enter__(self) -> Services:
        try:
            self.hub.start_services()
        except BaseException:
            self.hub.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.stop()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.hub.database_url, connect_timeout=5)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def rpc(self, method: str, *params: object) -> Any:
        return rpc(self.hub.node_url, method, *params)

    def send(self, **fields: str) -> dict[str, Any]:
        """The receipt of a transaction, mined at once."""
        transaction = {"from": FUNDED, "gas": "0x186a0", "gasPrice": hex(10**8), **fields}
        identifier = self.rpc("eth_sendTransaction", transaction)
        self.rpc("anvil_mine", "0x1")
        receipt: dict[str, Any] = self.rpc("eth_getTransactionReceipt", identifier)
        return receipt

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the successor to answer."""
        slot = self.supervisor.slots[name]
        assert slot.child is not None
        slot.child.process.kill()
        slot.child.process.wait()

        def again() -> bool:
            return slot.restarts > 0 and slot.child is not None and slot.program.ready(slot.child.pid)

        self.supervisor.wait_until(again, 30, f"{name} did not come back")


def test_services_survive_kills_and_restarts_with_their_data(config: Config) -> None:
    with Services(config) as first:
        first.sql("CREATE TABLE kept (value int)")
        first.sql("INSERT INTO kept VALUES (7)")
        with Redis.from_url(first.hub.redis_url) as redis:
            assert redis.ping()
        created = first.send(data=LOGGER)
        logged = first.send(to=created["contractAddress"])
        assert len(logged["logs"]) == 1
        chain = tie.first_block(first.hub.node_url)
        files = ChainFiles(config.folder / "chain")
        assert eventually(lambda: node._height(files.snapshot) == 2)
        for name in ("postgres", "redis", "node"):
            first.kill(name)
        assert first.sql("SELECT value FROM kept") == [(7,)]
        assert first.rpc("eth_getTransactionReceipt", logged["transactionHash"]) == logged
        first.rpc("anvil_mine", "0x12c")  # 300 blocks
        again = first.send(to=created["contractAddress"])
        assert again["status"] == "0x1"
        assert again["effectiveGasPrice"] == hex(10**8)
    with Services(config) as second:
        assert second.sql("SELECT value FROM kept") == [(7,)]
        assert tie.first_block(second.hub.node_url) == chain
        assert int(second.rpc("eth_chainId"), 16) == 1337
        assert int(second.rpc("eth_blockNumber"), 16) == 303
        query = {"address": created["contractAddress"], "fromBlock": "0x0", "toBlock": "latest"}
        assert [log["blockNumber"] for log in second.rpc("eth_getLogs", query)] == ["0x2", "0x12f"]
        assert second.rpc("eth_getBlockByNumber", "0x2", False)["hash"] == logged["blockHash"]
        assert second.send(to=created["contractAddress"])["blockNumber"] == "0x130"


def test_each_service_is_served_by_its_own_child(config: Config) -> None:
    with Services(config) as services:
        for name, port in (("postgres", "database"), ("redis", "redis"), ("node", "node")):
            child = services.supervisor.slots[name].child
            assert child is not None
            assert proc.listens(child.pid, config.ports[port])
        # a second node that finds the port taken is told so, although something answers with the right chain
        with pytest.raises(HubError, match=rf"Port {config.ports['node']}, wanted for the Ethereum node"):
            node.answers(os.getpid(), config.ports["node"], config.chain_id)


def test_servers_want_their_password(config: Config) -> None:
    with Services(config) as services:
        password = (config.folder / "postgres.password").read_text()
        assert stat.S_IMODE((config.folder / "postgres.password").stat().st_mode) == 0o600
        assert "authentication failed" in postgres.problem(
            services.hub.database_url.replace(password, "wrong")
        )
        assert redis_service.problem(f"redis://127.0.0.1:{config.ports['redis']}") != ""
        assert redis_service.problem(services.hub.redis_url) == ""


def test_chain_and_database_belong_together(config: Config) -> None:
    with Services(config) as services:
        tie.check(config, services.hub.database_url, services.hub.node_url)
        tie.check(config, services.hub.database_url, services.hub.node_url)
        services.rpc("anvil_setCode", CONTRACT, "0x00")
    shutil.rmtree(config.folder / "chain")
    time.sleep(1.0)  # a chain is told from another by the second in which it began
    with Services(config) as services, pytest.raises(HubError, match=r"another chain.*run\.sh reset"):
        tie.check(config, services.hub.database_url, services.hub.node_url)


def test_an_empty_database_beside_an_old_chain_is_refused(config: Config) -> None:
    with Services(config) as services:
        services.rpc("anvil_setCode", CONTRACT, "0x00")
        with pytest.raises(HubError, match=r"the database is empty.*run\.sh reset"):
            tie.check(config, services.hub.database_url, services.hub.node_url)
        own_node = replace(config, node_url=services.hub.node_url)
        tie.check(
            own_node, services.hub.database_url, services.hub.node_url
        )  # a public chain is older than its hubs


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("database_url", "postgresql://hub:x@127.0.0.1:{port}/hub"),
        ("redis_url", "redis://127.0.0.1:{port}"),
        ("node_url", "http://127.0.0.1:{port}"),
    ],
)
def test_a_named_server_that_does_not_answer_is_an_error(config: Config, setting: str, value: str) -> None:
    names = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL", "node_url": "HUB_ETHEREUM_NODE_URL"}
    dead = value.format(port=ports.free_ports(1)[0])
    changed = Config(**{**vars(config), setting: dead})
    with (
        pytest.raises(HubError, match=rf"{names[setting]}.*Unset it to use the embedded one"),
        Services(changed),
    ):
        pass


def hub_of_others(config: Config, services: Services, folder: Path) -> Config:
    """An instance whose environment names the servers of another one."""
    hub = services.hub
    urls = (hub.database_url, hub.redis_url, hub.node_url)
    return replace(config, folder=folder / "other", database_url=urls[0], redis_url=urls[1], node_url=urls[2])


def test_named_servers_are_used_and_nothing_is_started(config: Config, tmp_path: Path) -> None:
    with Services(config) as services:
        hub = services.hub
        with Services(hub_of_others(config, services, tmp_path)) as other:
            assert other.supervisor.slots == {}
            assert other.hub.environment["DATABASE_URL"] == hub.database_url
        with (
            pytest.raises(HubError, match="serves chain 1337, expected 5: set HUB_ETHEREUM_CHAIN_ID=1337"),
            Services(hub_of_others(replace(config, chain_id=5), services, tmp_path)),
        ):
            pass


def test_the_public_key_is_refused_on_other_chains(config: Config, tmp_path: Path) -> None:
    with Services(replace(config, chain_id=99)) as services:
        other = hub_of_others(replace(config, chain_id=99), services, tmp_path)
        with pytest.raises(HubError, match="development key is public"), Services(other):
            pass


def write_state(path: Path, height: int) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps({"best_block_number": height}))


def test_the_better_of_two_chain_files_is_loaded(tmp_path: Path) -> None:
    files = ChainFiles(tmp_path)
    files.choose()  # a new chain
    assert not files.loaded.exists()
    write_state(files.snapshot, 9)
    files.choose()
    assert node._height(files.loaded) == 9
    write_state(files.loaded, 12)  # a clean end
    files.choose()
    assert node._height(files.loaded) == 12
    files.loaded.write_text(files.loaded.read_text()[:-3])  # killed while it wrote
    files.choose()
    assert node._height(files.loaded) == 9


def test_a_chain_that_cannot_be_read_is_not_replaced_silently(tmp_path: Path) -> None:
    files = ChainFiles(tmp_path)
    files.loaded.write_text('{"best_block_number": 3')
    with pytest.raises(HubError, match=r"cannot be read.*run\.sh reset"):
        files.choose()
    assert files.loaded.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_root_places_what_an_ordinary_user_cannot_reach_outside(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    account: Account = place.unprivileged()
    folder = closed / "hub"
    try:
        data = place.data_folder(folder, account)
        assert data.is_relative_to(place.OUTSIDE)
        assert (folder / "postgres").resolve() == data
        assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (account.uid, 0o700)
        assert data.parent.stat().st_uid == 0
        assert place.data_folder(folder, account) == data
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        place.remove_data(folder)
    assert not place.outside_folder(folder).exists()
    assert not (folder / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_root_does_not_use_a_folder_that_another_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "OUTSIDE", tmp_path)
    folder = tmp_path / "closed"
    planted = place.outside_folder(folder)
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    with pytest.raises(HubError, match="not a folder of root's own"):
        place._own_folder(planted)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_roots_copy_of_the_programs_runs_as_an_ordinary_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_folder = place.OUTSIDE / f"nocust-hub-test-{os.getpid()}"
    open_folder.mkdir(mode=0o755)
    monkeypatch.setattr(place, "OUTSIDE", open_folder)
    wheel = place.wheel_folder()
    assert wheel is not None
    try:
        programs = place._copy(wheel) / place.INSTALL / "bin"
        assert programs.is_relative_to(open_folder)
        assert place._works(programs, place.unprivileged())
        assert place._copy(wheel) / place.INSTALL / "bin" == programs
    finally:
        shutil.rmtree(open_folder)
