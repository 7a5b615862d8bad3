"""A chain on which operations of the contract are measured one by one."""

from __future__ import annotations

import random
from typing import Any

from contracts.synthetic import COIN, Checkpoint, Entry, checkpoint
from contracts.tests.bound import Bound, Receipt, Refused
from contracts.tests.people import ALICE, BOB, DAVE, OPERATOR, Person
from contracts.tests.rpc import Node
from nocust.messages import active_state_hash

BLOCKS_PER_EON = 64
EPOCH = BLOCKS_PER_EON // 4
EXTENDED_EPOCH = BLOCKS_PER_EON // 3
TOTAL = 10**6 * COIN
"""Upper bound of every tree, smallest units."""
PLAIN = Entry(ALICE.raw, 10 * COIN), Entry(BOB.raw, 5 * COIN)
SEED = 20


class StillNode(Node):
    """A node that mines a block for each transaction when told to, instead of some time later."""

    def __init__(self) -> None:
        super().__init__()
        super().rpc("evm_setAutomine", False)

    def rpc(self, method: str, *params: object) -> Any:
        result = super().rpc(method, *params)
        if method == "eth_sendTransaction":
            super().rpc("evm_mine")
        return result


class Lab:
    """The contract with one token in its first eon on a node of its own; ended by `close`."""

    def __init__(self) -> None:
        self.node = StillNode()
        try:
            self._deploy()
        except BaseException:
            self.node.close()
            raise

    def _deploy(self) -> None:
        self.rng = random.Random(SEED)  # noqa: S311  (hashes of trees that nobody built)
        self.exceeded: list[str] = []
        for person in (OPERATOR, ALICE, BOB, DAVE):
            self.node.rpc("anvil_setBalance", person.address, hex(10**8 * COIN))
        self.chain = Bound.create(
            self.node, "NOCUSTCommitChain", (BLOCKS_PER_EON, OPERATOR.address), OPERATOR.address
        )
        self.genesis = self.node.block_number()
        self.token = Bound.create(self.node, "TestToken", ("Test", "TST", 18, 10**9 * COIN), OPERATOR.address)
        for person in (ALICE, BOB, DAVE):
            self.token.send("transfer", person.address, 10**8 * COIN, sender=OPERATOR.address)
            self.token.send("approve", self.chain.address, 2**256 - 1, sender=person.address)
        self.eth = self.chain.address
        self.tokens = self.chain.raw, self.token.raw

    def close(self) -> None:
        """Ends the node."""
        self.node.close()

    # ---- time ----

    def eon(self) -> int:
        """Eon of the next block."""
        return (self.node.block_number() + 1 - self.genesis) // BLOCKS_PER_EON + 1

    def to(self, eon: int, era: int = 0) -> None:
        """Mines until the next block is in `eon` and `era`. Raises ValueError if that is past."""
        target = self.genesis + (eon - 1) * BLOCKS_PER_EON + era
        missing = target - self.node.block_number() - 1
        if missing < 0:
            raise ValueError("the block is past")
        self.node.mine(missing)

    def snapshot(self) -> str:
        return str(self.node.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> str:
        """Goes back to a snapshot, which is used up; returns a new one of the same state."""
        self.node.rpc("evm_revert", snapshot)
        return self.snapshot()

    # ---- actions ----

    def act(self, person: Person, function: str, *arguments: Any, value: int = 0, gas: int = 0) -> Receipt:
        """A transaction of `person`; raises Refused."""
        limit = {"gas": gas} if gas else {}
        return self.chain.send(function, *arguments, sender=person.address, value=value, **limit)

    def act_as_client(
        self, operation: str, limit: int, person: Person, function: str, *arguments: Any, value: int = 0
    ) -> int:
        """Gas of a transaction with the stock client's gas limit. If it fails with that, the operation is noted in
        `exceeded` and done without; raises Refused if it fails then."""
        try:
            return self.act(person, function, *arguments, value=value, gas=limit).gas
        except Refused:
            self.exceeded.append(operation)
            return self.act(person, function, *arguments, value=value).gas

    def checkpoint(
        self,
        depth: int,
        ether: tuple[Entry, Entry] = PLAIN,
        token: tuple[Entry, Entry] = PLAIN,
    ) -> Checkpoint:
        """A checkpoint of trees of 2^depth wallets."""
        return checkpoint(self.rng, self.chain.raw, self.tokens, (ether, token), TOTAL, depth)

    def submit(self, root: bytes) -> int:
        """Submits a checkpoint in the current eon; gas used."""
        slot = (self.eon() - 1) % 5
        accumulator = self.chain.read("getParentChainAccumulatorAtSlot", slot)
        return self.act(OPERATOR, "submitCheckpoint", accumulator, root).gas

    def state(
        self, person: Person, token: bytes, trail: int, eon: int, root: bytes, deltas: tuple[int, int]
    ) -> bytes:
        """Message of an active state."""
        return active_state_hash(self.chain.raw, token, person.raw, trail, eon, root, *deltas)
