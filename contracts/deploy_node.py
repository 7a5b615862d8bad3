"""The few questions that a deployment asks a node, with answers of known type and errors that a person can read."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 20.0
"""Seconds to wait for an answer."""


class DeploymentRefusedError(Exception):
    """Why nothing was deployed, or what is wrong with what was; one sentence for the person who asked."""


class NodeRefusedError(DeploymentRefusedError):
    """The node answered a question with an error."""


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, path, query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


class DeploymentNode:
    """JSON-RPC over HTTP(S) at `url`. Every method raises DeploymentRefusedError if there is no good answer."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *params: object) -> Any:
        """Result of one call."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "nocust-hub"}
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310  (checked: http or https)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise DeploymentRefusedError(
                f"The server at {shown(self.url)} answered with HTTP status {error.code}."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise DeploymentRefusedError(f"No node answers at {shown(self.url)}: {reason}.") from None
        except ValueError:
            raise DeploymentRefusedError(f"What answers at {shown(self.url)} is no Ethereum node.") from None
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
            raise DeploymentRefusedError(f"What answers at {shown(self.url)} is no Ethereum node.")
        if answer.get("error"):
            problem = answer["error"]
            message = problem.get("message", problem) if isinstance(problem, dict) else problem
            raise NodeRefusedError(f"The node refused {method}: {message}.")
        return answer["result"]

    def number(self, method: str, *params: object) -> int:
        """Result of a call that answers with a number."""
        result = self.call(method, *params)
        try:
            return int(result, 16)
        except (TypeError, ValueError):
            raise DeploymentRefusedError(f"The node's answer to {method} is no number.") from None

    def chain_id(self) -> int:
        """Which chain it is."""
        return self.number("eth_chainId")

    def head(self) -> int:
        """Number of the newest block."""
        return self.number("eth_blockNumber")

    def balance(self, address: str) -> int:
        """Ether of an account in wei."""
        return self.number("eth_getBalance", address, "latest")

    def nonce(self, address: str, block: str) -> int:
        """Number of transactions of an account, `block` being "latest" or "pending"."""
        return self.number("eth_getTransactionCount", address, block)

    def code(self, address: str) -> bytes:
        """Code at an address."""
        return bytes.fromhex(str(self.call("eth_getCode", address, "latest"))[2:])

    def fees(self) -> dict[str, int]:
        """Price fields of a transaction, in wei per gas, good for a while of rising prices."""
        block = self.call("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict) or block.get("baseFeePerGas") is None:
            return {"gasPrice": self.number("eth_gasPrice") * 12 // 10}
        try:
            tip = self.number("eth_maxPriorityFeePerGas")
        except NodeRefusedError:
            tip = 10**9
        return {"maxPriorityFeePerGas": tip, "maxFeePerGas": 2 * int(block["baseFeePerGas"], 16) + tip}
