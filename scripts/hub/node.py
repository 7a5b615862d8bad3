"""The development Ethereum node: anvil from npm, with its chain kept in files that survive a crash.

anvil's own `--state-interval` rewrites the file in place, so a kill in the middle of that destroys the chain.
Here a thread asks for the state (`anvil_dumpState`) and replaces a snapshot atomically; what anvil itself writes
at a clean end (`--state`) is another file, and the better of the two is loaded.

After a restart blocks, receipts, logs and the current state are there, but state *at* blocks from before the
restart is not (`eth_call` with an old block number is refused): keeping it would cost megabytes a block.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import threading
import time
from pathlib import Path

from scripts.hub import proc
from scripts.hub.child import Program
from scripts.hub.config import CHAIN_ID, HUB_FOLDER, MNEMONIC, Config
from scripts.hub.errors import HubError
from scripts.hub.ports import loopback_addresses, occupied
from scripts.hub.wire import FAILURES, rpc

PACKAGE = Path("@foundry-rs") / "anvil-linux-amd64" / "bin" / "anvil"
PROBLEMS = (*FAILURES, HubError)


def binary() -> Path:
    """The anvil program that npm installed. Raises HubError."""
    path = HUB_FOLDER / "npm" / "node_modules" / PACKAGE
    if platform.machine() != "x86_64":
        raise HubError(
            f"There is no packaged Ethereum node for {platform.machine()}: start one yourself "
            f"(chain id {CHAIN_ID}) and set HUB_ETHEREUM_NODE_URL."
        )
    if not path.exists():
        raise HubError(
            "The Ethereum node is not installed: ./run.sh installs it with npm; see .hub/install.log, "
            "or set HUB_ETHEREUM_NODE_URL to a node of yours."
        )
    return path


class ChainFiles:
    """The files of one chain in a folder: what the node loads and leaves at a clean end, and the last snapshot."""

    def __init__(self, folder: Path) -> None:
        self.loaded = folder / "state.json"
        self.snapshot = folder / "snapshot.json"

    def choose(self) -> None:
        """Let the node load the file with the higher block. Raises HubError if none of them is whole."""
        loaded, snapshot = _height(self.loaded), _height(self.snapshot)
        if snapshot > loaded:
            shutil.copyfile(self.snapshot, self.loaded)
        elif loaded < 0 and (self.loaded.exists() or self.snapshot.exists()):
            raise HubError(
                f"The chain in {self.loaded} cannot be read: './run.sh reset' begins a new chain and database."
            )

    def save(self, url: str) -> None:
        """Replace the snapshot by the node's present state, whole or not at all. Raises one of PROBLEMS."""
        packed = bytes.fromhex(rpc(url, "anvil_dumpState", timeout=60)[2:])
        fresh = self.snapshot.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(gzip.decompress(packed))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.snapshot)


def _height(path: Path) -> int:
    """The highest block of a state file; -1 if there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            return int(json.load(file)["best_block_number"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def program(config: Config, environment: dict[str, str]) -> Program:
    """The node on its port, with the development accounts. Raises HubError if it is not installed."""
    folder = config.folder / "chain"
    folder.mkdir(parents=True, exist_ok=True)
    files = ChainFiles(folder)
    port = config.ports["node"]
    command = [str(binary()), "--port", str(port), "--chain-id", str(config.chain_id)]
    for address in loopback_addresses():
        command += ["--host", address]
    command += ["--hardfork", "osaka", "--mnemonic", MNEMONIC, "--block-time", f"{config.block_time:g}"]
    command += ["--gas-limit", "30000000", "--base-fee", "0", "--gas-price", "0", "--silent"]
    command += ["--state", str(files.loaded), "--cache-path", str(folder / "cache")]

    def ready(pid: int) -> bool:
        return answers(pid, port, config.chain_id)

    return Program(
        "node",
        command,
        {**environment, "HOME": str(folder)},
        folder=folder,
        stop_seconds=30.0,
        before=files.choose,
        ready=ready,
    )


def answers(pid: int, port: int, chain_id: int) -> bool:
    """Whether the process itself serves the port with the expected chain. Raises HubError if another does."""
    try:
        served = int(rpc(f"http://127.0.0.1:{port}", "eth_chainId", timeout=2), 16)
    except FAILURES:
        return False
    if not proc.listens(pid, port):
        raise HubError(occupied(port, "the Ethereum node", "HUB_NODE_PORT"))
    if served != chain_id:
        raise HubError(f"The node on port {port} serves chain {served}, expected {chain_id}.")
    return True


def check_external(url: str) -> int:
    """The chain id of a node that others run. Raises HubError if it does not answer."""
    try:
        return int(rpc(url, "eth_chainId"), 16)
    except PROBLEMS as error:
        raise HubError(
            f"HUB_ETHEREUM_NODE_URL={url} does not answer: {error}. Unset it to use the embedded one."
        ) from error


class ChainKeeper:
    """A thread that saves the chain whenever a block was mined, no more than a tenth of the time."""

    def __init__(self, files: ChainFiles, url: str, interval: float = 1.0) -> None:
        self._files, self._url, self._interval = files, url, interval
        self._end, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="chain-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the node may be stopped afterwards."""
        self._end.set()
        self._thread.join()

    def save_now(self) -> None:
        """Save in the caller's thread, after something that must not be lost. Raises one of PROBLEMS."""
        with self._lock:
            self._files.save(self._url)

    def _run(self) -> None:
        saved, pause = "", self._interval
        while not self._end.wait(pause):
            began = time.monotonic()
            try:
                newest = str(rpc(self._url, "eth_getBlockByNumber", "latest", False)["hash"])
                if newest != saved:
                    self.save_now()
                    saved = newest
            except PROBLEMS:
                continue  # the node is being started again; the next round saves
            finally:
                pause = max(self._interval, 10 * (time.monotonic() - began))
