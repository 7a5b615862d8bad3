"""A node on which a whole block of calls costs one request."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from contracts.tests.bound import Bound
from contracts.tests.people import OPERATOR, PEOPLE, Person
from contracts.tests.rpc import Node

BLOCKS_PER_EON = 16
EPOCH = BLOCKS_PER_EON // 4
EXTENDED_EPOCH = BLOCKS_PER_EON // 3
SUBMISSION_END = BLOCKS_PER_EON - EPOCH // 2
WALLETS: tuple[Person, ...] = tuple(PEOPLE[:5])
"""Holders with an account on the commit-chain; the first is the operator."""
STRANGER = PEOPLE[6]
GAS = 2_000_000
SUPPLY = 10**27

Event = tuple[str, tuple[Any, ...]]


class BrokenGameError(AssertionError):
    """Something happened that must not; the text says what."""


@dataclass(frozen=True)
class Call:
    """A transaction. `succeeds`: whether it must; None if either is right."""

    person: Person
    function: str
    arguments: tuple[Any, ...]
    value: int = 0
    succeeds: bool | None = True


@dataclass(frozen=True)
class Outcome:
    """A mined call with the contract's events."""

    call: Call
    succeeded: bool
    events: list[Event]


class Chain:
    """The contract and a token in the first eon; `restart` goes back there."""

    def __init__(self) -> None:
        self.node = Node()
        try:
            self._deploy()
        except BaseException:
            self.node.close()
            raise

    def _deploy(self) -> None:
        self._nonces: dict[str, int] = {}
        self._connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=60)
        self.token = Bound.create(self.node, "TestToken", ("Test", "TST", 18, SUPPLY), OPERATOR.address)
        for person in (*WALLETS, STRANGER):
            self.node.rpc("anvil_setBalance", person.address, hex(SUPPLY))
            self.token.send("transfer", person.address, SUPPLY // 10, sender=OPERATOR.address)
        self.contract = Bound.create(
            self.node, "NOCUSTCommitChain", (BLOCKS_PER_EON, OPERATOR.address), OPERATOR.address
        )
        self.genesis = self.node.block_number()
        self.tokens = self.contract.raw, self.token.raw
        self.node.rpc("evm_setAutomine", False)
        self._let_use_token()
        self._first_nonces = dict(self._nonces)
        self._origin = str(self.node.rpc("evm_snapshot"))

    def _let_use_token(self) -> None:
        """One block in which everybody approves and the operator registers the token."""
        approval = self.token.data("approve", self.contract.address, 2**256 - 1)
        for person in (*WALLETS, STRANGER):
            nonce = int(self.node.rpc("eth_getTransactionCount", person.address, "latest"), 16)
            call = {"from": person.address, "to": self.token.address, "data": approval, "gasPrice": "0x64"}
            self.node.rpc("eth_sendTransaction", {**call, "gas": hex(GAS)})
            self._nonces[person.address] = nonce + 1
        self.block([Call(OPERATOR, "registerERC20", (self.token.address,))])

    def restart(self) -> None:
        """Forgets everything since the contract was made."""
        self.node.rpc("evm_revert", self._origin)
        self._origin = str(self.node.rpc("evm_snapshot"))
        self._nonces = dict(self._first_nonces)

    def close(self) -> None:
        """Ends the node."""
        self._connection.close()
        self.node.close()

    def batch(self, requests: Sequence[tuple[str, tuple[object, ...]]]) -> list[Any]:
        """Results of several calls to the node, in order. Raises BrokenGameError if one fails."""
        body = [
            {"jsonrpc": "2.0", "id": position, "method": method, "params": params}
            for position, (method, params) in enumerate(requests)
        ]
        self._connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        answers = json.loads(self._connection.getresponse().read())
        for answer in answers:
            if "error" in answer:
                raise BrokenGameError(f"the node refused {requests[answer['id']][0]}: {answer['error']}")
        return [answer["result"] for answer in sorted(answers, key=lambda a: int(a["id"]))]

    def block(self, calls: Sequence[Call]) -> list[Outcome]:
        """Mines one block with these calls in this order."""
        if not calls:
            self.node.rpc("evm_mine")
            return []
        hashes = self.batch(
            [
                ("eth_sendTransaction", (self._transaction(call, len(calls) - position),))
                for position, call in enumerate(calls)
            ]
        )
        self.node.rpc("evm_mine")
        mined = self.node.rpc("eth_getBlockReceipts", "latest")
        receipts = {receipt["transactionHash"]: receipt for receipt in mined}
        outcomes = []
        for call, hashed in zip(calls, hashes, strict=True):
            receipt = receipts[hashed]
            done = receipt["status"] == "0x1"
            outcomes.append(Outcome(call, done, self.contract.events(receipt)))
            if call.succeeds is not None and done != call.succeeds:
                raise BrokenGameError(self._surprise(call, hashed, done))
        return outcomes

    def _transaction(self, call: Call, price: int) -> dict[str, str]:
        """The node mines dearer transactions first. It answers batches in any order, so nonces are given here."""
        nonce = self._nonces[call.person.address]
        self._nonces[call.person.address] = nonce + 1
        return {
            "nonce": hex(nonce),
            "from": call.person.address,
            "to": self.contract.address,
            "data": self.contract.data(call.function, *call.arguments),
            "value": hex(call.value),
            "gas": hex(GAS),
            "gasPrice": hex(price),
        }

    def _surprise(self, call: Call, hashed: str, done: bool) -> str:
        if done:
            return f"{call.function} of {call.person.address} was accepted: {call.arguments}"
        trace = self.node.rpc("debug_traceTransaction", hashed, {"tracer": "callTracer"})
        raw = bytes.fromhex(str(trace.get("output", "0x"))[2:])
        reason = decode(["string"], raw[4:])[0] if len(raw) > 4 else "no reason"
        return f"{call.function} of {call.person.address} was refused ({reason}): {call.arguments}"
