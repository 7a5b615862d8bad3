"""Contracts on the private node, called by name, with refusals as exceptions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector

import contracts
from contracts.tests.rpc import Node, RpcError

GAS_LIMIT = 12_000_000
ERROR_STRING = bytes.fromhex("08c379a0")


class Refused(Exception):
    """The contract reverted; `reason` is its text, empty if it gave none."""

    def __init__(self, data: str | None) -> None:
        raw = bytes.fromhex((data or "0x")[2:])
        self.reason = ""
        if raw[:4] == ERROR_STRING:
            (self.reason,) = decode(["string"], raw[4:])
        elif raw:
            self.reason = f"0x{raw.hex()}"
        super().__init__(self.reason)


@contextmanager
def refuses(*reasons: str) -> Iterator[None]:
    """Expects the call inside to be refused with exactly one of `reasons`."""
    with pytest.raises(Refused) as refusal:
        yield
    assert refusal.value.reason in reasons, f"refused with {refusal.value.reason!r}, not {reasons}"


@dataclass(frozen=True)
class Receipt:
    """What a mined transaction did: gas used, and its events as (name, arguments in the ABI's order)."""

    gas: int
    block: int
    events: list[tuple[str, tuple[Any, ...]]]


def types(inputs: list[dict[str, Any]]) -> list[str]:
    return [collapse_if_tuple(entry) for entry in inputs]


def plain(value: Any) -> Any:
    """Addresses as 20 bytes become the text that the encoder takes."""
    if isinstance(value, bytes) and len(value) == 20:
        return "0x" + value.hex()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


class Bound:
    """A contract at `address` (0x text)."""

    def __init__(self, node: Node, name: str, address: str) -> None:
        self.node = node
        self.address = address
        self.raw = bytes.fromhex(address[2:])
        abi = contracts.load(name).abi
        self._functions = {entry["name"]: entry for entry in abi if entry["type"] == "function"}
        self._events = {event_abi_to_log_topic(e): e for e in abi if e["type"] == "event"}  # type: ignore[arg-type]  # entries are plain JSON

    @classmethod
    def create(cls, node: Node, name: str, arguments: tuple[Any, ...], sender: str) -> Bound:
        """Deploys a contract. Raises Refused."""
        artifact = contracts.load(name)
        constructor = [entry for entry in artifact.abi if entry["type"] == "constructor"]
        inputs = types(constructor[0]["inputs"]) if constructor else []
        data = artifact.bytecode + encode(inputs, plain(arguments))
        receipt = submit(node, {"from": sender, "data": "0x" + data.hex()})
        return cls(node, name, receipt["contractAddress"])

    def data(self, function: str, *arguments: Any) -> str:
        """Call data as 0x text."""
        entry = self._functions[function]
        selector = function_abi_to_4byte_selector(entry)  # type: ignore[arg-type]  # entries are plain JSON
        return "0x" + (selector + encode(types(entry["inputs"]), plain(arguments))).hex()

    def read(self, function: str, *arguments: Any, sender: str | None = None) -> Any:
        """Result of a call as if it were in the next block; one value or a tuple. Raises Refused."""
        call = {"to": self.address, "data": self.data(function, *arguments)}
        if sender:
            call["from"] = sender
        try:
            answer = self.node.rpc("eth_call", call, "pending")
        except RpcError as error:
            raise Refused(error.data) from None
        values = decode(types(self._functions[function]["outputs"]), bytes.fromhex(answer[2:]))
        return values[0] if len(values) == 1 else values

    def send(
        self,
        function: str,
        *arguments: Any,
        sender: str,
        value: int = 0,
        gas: int = GAS_LIMIT,
        gas_price: int = 0,
    ) -> Receipt:
        """Sends a transaction and mines it. Raises Refused."""
        receipt = submit(
            self.node,
            {
                "from": sender,
                "to": self.address,
                "data": self.data(function, *arguments),
                "value": hex(value),
                "gas": hex(gas),
                "gasPrice": hex(gas_price),
            },
        )
        return Receipt(int(receipt["gasUsed"], 16), int(receipt["blockNumber"], 16), self.events(receipt))

    def events(self, receipt: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
        """This contract's events in a receipt."""
        found = []
        for log in receipt["logs"]:
            if log["address"].lower() == self.address.lower():
                entry = self._events[bytes.fromhex(log["topics"][0][2:])]
                indexed = [i for i in entry["inputs"] if i["indexed"]]
                rest = [i for i in entry["inputs"] if not i["indexed"]]
                values = {
                    i["name"]: decode([i["type"]], bytes.fromhex(topic[2:]))[0]
                    for i, topic in zip(indexed, log["topics"][1:], strict=True)
                }
                body = decode(types(rest), bytes.fromhex(log["data"][2:]))
                values.update({i["name"]: value for i, value in zip(rest, body, strict=True)})
                found.append((entry["name"], tuple(values[i["name"]] for i in entry["inputs"])))
        return found


def submit(node: Node, transaction: dict[str, Any]) -> dict[str, Any]:
    """Receipt of a transaction from one of the node's own accounts. Raises Refused."""
    body = {"gas": hex(GAS_LIMIT), "gasPrice": "0x0", **transaction}
    hashed = node.rpc("eth_sendTransaction", body)
    receipt = await_receipt(node, hashed)
    if receipt["status"] != "0x1":
        trace = node.rpc("debug_traceTransaction", hashed, {"tracer": "callTracer"})
        raise Refused(trace.get("output"))
    return receipt


def await_receipt(node: Node, hashed: str) -> dict[str, Any]:
    """Receipt of a transaction, which the node mines just after it has taken it."""
    for _ in range(500):
        receipt: dict[str, Any] | None = node.rpc("eth_getTransactionReceipt", hashed)
        if receipt:
            return receipt
        time.sleep(0.01)
    raise AssertionError(f"{hashed} was not mined")
