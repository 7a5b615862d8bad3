"""The commit-chain's books for one token: what an honest operator knows, and the checkpoints that follow."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from contracts.fuzz.chain import WALLETS
from nocust.balances import balance_inner_hash, balance_tree
from nocust.encoding import ZERO_HASH
from nocust.interval import IntervalProof, IntervalTree
from nocust.leaves import OPEN_POSITION, transfer_leaf
from nocust.merkle import MerkleTree
from nocust.messages import active_state_hash
from nocust.passive import passive_tree

Amounts = defaultdict[int, int]


def amounts() -> Amounts:
    """Amounts by wallet, zero if absent."""
    return defaultdict(int)


@dataclass(frozen=True)
class Transfer:
    """`position` is what the recipient had got before in the eon, smallest units."""

    sender: int
    recipient: int
    amount: int
    nonce: int
    position: int


@dataclass(frozen=True)
class State:
    """What sender and operator signed with his transfer number `count - 1` of an eon."""

    eon: int
    count: int
    spent: int
    tree: MerkleTree
    message: bytes


@dataclass
class Eon:
    """What happened in one eon. `marker` is the smallest balance that a wallet declared, if it did."""

    transfers: list[Transfer] = field(default_factory=list)
    states: dict[int, list[State]] = field(default_factory=lambda: defaultdict(list))
    deposits: Amounts = field(default_factory=amounts)
    requests: Amounts = field(default_factory=amounts)
    marker: dict[int, int] = field(default_factory=dict)

    def sent(self, wallet: int) -> list[Transfer]:
        return [transfer for transfer in self.transfers if transfer.sender == wallet]

    def received(self, wallet: int) -> list[Transfer]:
        return [transfer for transfer in self.transfers if transfer.recipient == wallet]

    def change(self, wallet: int) -> int:
        """What the eon adds to the wallet's allotment."""
        got = sum(transfer.amount for transfer in self.received(wallet))
        gave = sum(transfer.amount for transfer in self.sent(wallet))
        return got - gave + self.deposits[wallet] - self.requests[wallet]


@dataclass(frozen=True)
class Leaf:
    """A wallet's entry in a checkpoint."""

    width: int
    active: bytes
    passive: IntervalTree | None
    passive_root: bytes
    passive_amount: int
    mark: int


@dataclass(frozen=True)
class Sheet:
    """One token's part of a checkpoint; the membership chain is the other token's leaf."""

    leaves: list[Leaf]
    tree: IntervalTree

    def lr(self, wallet: int) -> list[int]:
        return self.tree.bounds[wallet : wallet + 2]

    def passive_mark(self, wallet: int) -> list[int]:
        return [self.leaves[wallet].passive_amount, self.leaves[wallet].mark]

    def proof(self, wallet: int) -> IntervalProof:
        return self.tree.proof(wallet)


class Book:
    """`allotted[e]` is by wallet what the honest checkpoint of eon e allots."""

    def __init__(self, contract: bytes, token: bytes) -> None:
        self.contract = contract
        self.token = token
        self.eons: dict[int, Eon] = defaultdict(Eon)
        self.allotted: dict[int, list[int]] = {0: [0] * len(WALLETS)}

    def close_eon(self, eon: int) -> list[int]:
        """Allotments of the checkpoint of `eon`, which knows the eons before."""
        last = self.allotted[eon - 1]
        self.allotted[eon] = [
            last[wallet] + self.eons[eon - 1].change(wallet) for wallet in range(len(WALLETS))
        ]
        return self.allotted[eon]

    def overdrawn(self, eon: int, wallet: int) -> bool:
        """Whether the wallet asked for more than it has: now, or when the eon before ended, as long as that can be
        put right."""
        ended = self.allotted[eon - 1][wallet] + self.eons[eon - 1].change(wallet)
        return self.available(eon, wallet) < 0 or (eon not in self.allotted and ended < 0)

    def available(self, eon: int, wallet: int) -> int:
        """What the wallet may still spend in `eon`, by all that is known; below zero if it asked for too much."""
        return (
            self.allotted[eon - 1][wallet] + self.eons[eon - 1].change(wallet) + self.eons[eon].change(wallet)
        )

    def transfer(self, eon: int, sender: int, recipient: int, amount: int, nonce: int) -> None:
        """Books a transfer with the state that it makes."""
        page = self.eons[eon]
        position = sum(transfer.amount for transfer in page.received(recipient))
        page.transfers.append(Transfer(sender, recipient, amount, nonce, position))
        sent = page.sent(sender)
        tree = MerkleTree(self.set_leaves(sent))
        spent = sum(transfer.amount for transfer in sent)
        message = active_state_hash(
            self.contract, self.token, WALLETS[sender].raw, sender, eon, tree.root, spent, 0
        )
        page.states[sender].append(State(eon, len(sent), spent, tree, message))

    @staticmethod
    def set_leaves(sent: list[Transfer]) -> list[bytes]:
        """Leaves of a sender's set; the newest is open."""
        return [
            transfer_leaf(
                WALLETS[transfer.recipient].raw,
                transfer.amount,
                transfer.recipient,
                transfer.nonce,
                OPEN_POSITION if place == len(sent) - 1 else transfer.position,
            )
            for place, transfer in enumerate(sent)
        ]

    def leaf(self, eon: int, wallet: int, width: int, dropped: Transfer | None = None) -> Leaf:
        """Entry in the checkpoint of `eon`, without a transfer that a thief leaves out."""
        page = self.eons[eon - 1]
        got = [transfer for transfer in page.received(wallet) if transfer is not dropped]
        bounds = [0]
        for transfer in got:
            bounds.append(bounds[-1] + transfer.amount)
        leaves = [
            transfer_leaf(WALLETS[item.sender].raw, item.amount, wallet, item.nonce, bounds[place])
            for place, item in enumerate(got)
        ]
        tree = passive_tree(leaves, bounds) if got else None
        sent = page.sent(wallet)
        return Leaf(
            width,
            page.states[wallet][-1].message if sent else ZERO_HASH,
            tree,
            tree.root if tree else ZERO_HASH,
            bounds[-1],
            sent[-1].position if sent else 0,
        )

    def sheet(self, eon: int, widths: list[int], dropped: Transfer | None = None) -> Sheet:
        """This token's part of a checkpoint of `eon` that allots `widths`."""
        leaves = [self.leaf(eon, wallet, width, dropped) for wallet, width in enumerate(widths)]
        bounds = [0]
        for width in widths:
            bounds.append(bounds[-1] + width)
        inner = [
            balance_inner_hash(
                self.contract,
                self.token,
                WALLETS[wallet].raw,
                leaf.passive_root,
                leaf.passive_amount,
                leaf.mark,
                leaf.active,
            )
            for wallet, leaf in enumerate(leaves)
        ]
        return Sheet(leaves, balance_tree(inner, bounds))
