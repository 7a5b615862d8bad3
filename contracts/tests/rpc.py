"""A private development node and bare JSON-RPC to it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from contracts.build import npm_dir
from scripts.hub.ports import free_ports

MNEMONIC = "myth like bonus scare over problem client lizard pioneer submit female collect"
BINARY = Path("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil")
FLAGS = ("--hardfork", "osaka", "--chain-id", "1337", "--gas-limit", "30000000", "--base-fee", "0")


class RpcError(Exception):
    """The node answered with an error; `data` is what came with it."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.data = error.get("data")


class Node:
    """An automining node on a free port, ended by `close`."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        binary = npm_dir() / BINARY
        command = ["setpriv", "--pdeathsig", "TERM"]  # a killed test run leaves no node behind
        command += [str(binary), "--host", "127.0.0.1", "--port", str(self.port), *FLAGS]
        command += ["--gas-price", "0", "--mnemonic", MNEMONIC, "--silent"]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        self._process = subprocess.Popen(command, env=environment)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._await_start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _await_start(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.rpc("web3_clientVersion")
            except OSError:
                self._connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def rpc(self, method: str, *params: object) -> Any:
        """Result of a call. Raises RpcError."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def block_number(self) -> int:
        """Number of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def mine(self, count: int) -> None:
        """Appends `count` empty blocks."""
        if count:
            self.rpc("anvil_mine", hex(count))

    def balance(self, address: str) -> int:
        """Ether of an account in wei."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def close(self) -> None:
        """Ends the node."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(10)
