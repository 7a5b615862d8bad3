"""What must hold after every eon, whoever cheats."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import decode

import contracts
from contracts.fuzz.chain import WALLETS, BrokenGameError, Chain
from contracts.fuzz.mirror import Mirror
from contracts.tests.bound import types

OUTPUTS = {
    entry["name"]: types(entry["outputs"])
    for entry in contracts.load("NOCUSTCommitChain").abi
    if entry["type"] == "function"
}


def check(chain: Chain, mirror: Mirror, gifts: int) -> None:
    """Compares the contract with the mirror. `gifts` is ether that was sent without a deposit, in wei.

    * Each accumulator is the chain of the eon's operations.
    * The running total of pending withdrawals is the sum of all lists, and the lists are those of the mirror.
    * The contract holds exactly deposits less payments, gifts and fees on top, so it can pay what it owes.
    """
    reader = Reader(chain)
    for slot in range(5):
        reader.ask("getParentChainAccumulatorAtSlot", slot)
    reader.ask("getFees")
    eon = reader.eon()
    for address in chain.tokens:
        reader.ask("getPendingWithdrawalsAtEon", address, eon)
        reader.ask("getServerContractLedgerStateVariables", eon, address)
        for person in WALLETS:
            reader.ask("getClientContractStateVariables", address, person.address)
    answers = iter(reader.answers())
    for slot in range(5):
        same("accumulator", next(answers)[0], mirror.accumulators[slot])
    held, claimable = next(answers)
    ether = chain.node.balance(chain.contract.address)
    for token in range(2):
        pending = next(answers)[0]
        pool = next(answers)[3]
        lists = [[tuple(item) for item in next(answers)[6]] for _ in WALLETS]
        for wallet, listed in enumerate(lists):
            known = mirror.requests[token, wallet]
            same(f"requests of {wallet}", merged(listed, eon), merged(known, eon))
        same("running total", pending, mirror.pending(token))
        same("running total", pending, sum(amount for listed in lists for _, amount in listed))
        extra = gifts if token == 0 else 0
        same("holdings", pool, mirror.holdings(token) + extra)
        if pool < pending:
            raise BrokenGameError(f"{pending} are owed of token {token}, {pool} are there")
    same("ether", ether, mirror.holdings(0) + gifts + held + claimable)


def merged(listed: list[tuple[int, int]], eon: int) -> list[tuple[int, int]]:
    """Sum of the requests, and of each of the last three eons; older ones may have been listed together."""
    total = sum(amount for _, amount in listed)
    recent = {at: sum(amount for when, amount in listed if when == at) for at in range(eon - 2, eon + 1)}
    return [(0, total), *recent.items()]


def same(what: str, found: object, expected: object) -> None:
    """Raises BrokenGameError unless both are equal."""
    if found != expected:
        raise BrokenGameError(f"{what}: the contract has {found!r}, its events make {expected!r}")


class Reader:
    """Reads the contract in one request."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._asked: list[tuple[str, tuple[object, ...]]] = []

    def eon(self) -> int:
        """Current eon."""
        return int(self._chain.contract.read("currentEon"))

    def ask(self, function: str, *arguments: object) -> None:
        """Adds a question."""
        self._asked.append((function, arguments))

    def answers(self) -> list[tuple[Any, ...]]:
        """Outputs of all questions, in order, as of the newest block."""
        contract = self._chain.contract
        results = self._chain.batch(
            [
                ("eth_call", ({"to": contract.address, "data": contract.data(name, *values)}, "latest"))
                for name, values in self._asked
            ]
        )
        return [
            decode(OUTPUTS[name], bytes.fromhex(result[2:]))
            for (name, _), result in zip(self._asked, results, strict=True)
        ]
