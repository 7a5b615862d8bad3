"""A game's state and the mining of its blocks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.fuzz.book import Book, Sheet, State, Transfer
from contracts.fuzz.chain import BLOCKS_PER_EON, WALLETS, Call, Chain, Event
from contracts.fuzz.mirror import INDEX, Mirror
from contracts.fuzz.moves import Page
from contracts.tests.people import OPERATOR
from nocust.balances import token_leaf, token_tree

TOKENS = (0, 1)
"""Ether and an ERC-20 token."""

Move = tuple[Call, Callable[[], None] | None]
"""A call and what follows from it if it succeeds, besides its events."""


@dataclass(frozen=True)
class Challenge:
    """An open challenge of `eon`: about a transfer, or about a wallet's state, with the newest state of it."""

    eon: int
    token: int
    wallet: int
    state: State | None = None
    transfer: Transfer | None = None
    by_sender: bool = False

    @property
    def key(self) -> tuple[int, int, int, bool]:
        """What may be used once an eon."""
        if self.transfer:
            return self.token, self.transfer.sender, self.transfer.recipient, self.by_sender
        return self.token, self.wallet, self.wallet, False


class Board:
    """One game: contract, its mirror, the operator's books, checkpoints by eon, open challenges."""

    def __init__(self, chain: Chain, seed: int) -> None:
        chain.restart()
        self.chain = chain
        self.rng = random.Random(seed)  # noqa: S311  (games must be repeatable)
        self.mirror = Mirror(chain.tokens)
        self.books = [Book(chain.contract.raw, token) for token in chain.tokens]
        self.pages: dict[int, Page] = {}
        self.open: list[Challenge] = []
        self.used: set[tuple[int, tuple[int, int, int, bool]]] = set()
        self.gifts = 0
        self._block = chain.node.block_number() + 1
        self.calls = 0
        # rare payments let requests pile up until they give way in the ring
        self.paying = self.rng.choice((0.0, 0.01, 0.12))

    # ---- time, of the next block ----

    @property
    def eon(self) -> int:
        return (self._block - self.chain.genesis) // BLOCKS_PER_EON + 1

    @property
    def era(self) -> int:
        return (self._block - self.chain.genesis) % BLOCKS_PER_EON

    @property
    def block(self) -> int:
        """Number of the next block."""
        return self._block

    def skip_to(self, eon: int, era: int) -> None:
        """Mines empty blocks until the next one is there."""
        target = self.chain.genesis + (eon - 1) * BLOCKS_PER_EON + era
        if target > self._block:
            self.chain.node.mine(target - self._block)
            self._block = target

    # ---- blocks ----

    def mine(self, moves: Sequence[Move]) -> list[bool]:
        """Mines the calls in one block, in order, and books what they did; whether each succeeded."""
        eon, era = self.eon, self.era
        self.calls += len(moves)
        outcomes = self.chain.block([call for call, _ in moves])
        self._block += 1
        for outcome, (_, consequence) in zip(outcomes, moves, strict=True):
            for event in outcome.events:
                self.mirror.apply(event, eon, era)
                self._book(event, eon)
            if outcome.succeeded and consequence:
                consequence()
        return [outcome.succeeded for outcome in outcomes]

    def _book(self, event: Event, eon: int) -> None:
        name, values = event
        if name == "EtherReceived":
            self.gifts += values[1]
        if name not in {"Deposit", "WithdrawalRequest", "WithdrawalSlashed"}:
            return
        book = self.books[0 if values[0].lower() == self.chain.contract.address.lower() else 1]
        wallet = INDEX[values[1].lower()]
        if name == "Deposit":
            book.eons[eon].deposits[wallet] += values[2]
        elif name == "WithdrawalRequest":
            book.eons[eon].requests[wallet] += values[2]
        else:
            book.eons[eon - 1].requests[wallet] -= values[2]
            book.eons[eon].requests[wallet] -= values[3]

    # ---- checkpoints ----

    def page(self, sheets: tuple[Sheet, Sheet]) -> Page:
        """A checkpoint of two sheets."""
        leaves = [token_leaf(sheet.tree.root, sheet.tree.upper_bound) for sheet in sheets]
        return Page(token_tree(leaves).root, sheets, leaves)

    def submission(self, page: Page, succeeds: bool | None = True) -> Move:
        """The operator's submission in the current eon."""
        eon = self.eon
        accumulator = self.mirror.accumulators[(eon - 1) % 5]
        call = Call(OPERATOR, "submitCheckpoint", (accumulator, page.root), 0, succeeds)
        return call, lambda: self.pages.update({eon: page})

    def honest_page(self) -> Page:
        """The checkpoint that the books make for the current eon."""
        eon = self.eon
        first, second = (book.sheet(eon, book.close_eon(eon)) for book in self.books)
        return self.page((first, second))

    # ---- challenges ----

    def challenge(self, challenge: Challenge, call: Call) -> Move:
        """A call that opens a challenge."""
        return call, lambda: self._opened(challenge)

    def _opened(self, challenge: Challenge) -> None:
        self.open.append(challenge)
        self.used.add((challenge.eon, challenge.key))
        self.mirror.live[challenge.eon] += 1

    def answer(self, challenge: Challenge, call: Call) -> Move:
        """A call that answers a challenge."""
        return call, lambda: self._answered(challenge)

    def _answered(self, challenge: Challenge) -> None:
        self.open.remove(challenge)
        self.mirror.live[challenge.eon] -= 1

    def free(self, challenge: Challenge) -> bool:
        """Whether a challenge may be opened, its kind not having been used in its eon."""
        return (challenge.eon, challenge.key) not in self.used

    def wallets(self) -> range:
        return range(len(WALLETS))
