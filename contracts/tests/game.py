"""A commit-chain played out on the node: the operator's books, checkpoints, proofs; honest unless tampered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from contracts.tests.bound import Bound, Receipt
from contracts.tests.people import OPERATOR, Person
from contracts.tests.rpc import Node
from nocust.balances import balance_inner_hash, balance_tree, token_leaf, token_tree
from nocust.encoding import ZERO_HASH
from nocust.leaves import OPEN_POSITION, swap_leaf, transfer_leaf, transfer_tag
from nocust.merkle import MerkleTree
from nocust.messages import active_state_hash
from nocust.passive import chain_words, passive_tree

GWEI = 10**9
FEE = 100_100 * 5 * GWEI
PLENTY = 10**16  # wei sent along with challenges; the surplus comes back

Leaves: TypeAlias = "dict[tuple[bytes, bytes], Leaf]"


@dataclass
class Transfer:
    """A transfer in its sender's set and in its recipient's passive tree."""

    token: bytes
    sender: Person
    recipient: Person
    amount: int
    nonce: int
    position: int
    recipient_trail: int
    index: int

    def leaf(self, open_: bool) -> bytes:
        position = OPEN_POSITION if open_ else self.position
        return transfer_leaf(self.recipient.raw, self.amount, self.recipient_trail, self.nonce, position)

    def tag(self, open_: bool) -> int:
        return transfer_tag(OPEN_POSITION if open_ else self.position, self.nonce)


@dataclass
class Order:
    """One eon of a swap order; `done` when complete or cancelled."""

    owner: Person
    tokens: tuple[bytes, bytes]
    credit_trail: int
    sell: int
    buy: int
    nonce: int
    starts: tuple[int, int]
    indexes: tuple[int, int]
    taken: int = 0
    given: int = 0
    done: bool = False

    def leaf(self, start: int) -> bytes:
        return swap_leaf(*self.tokens, self.credit_trail, self.sell, self.buy, start, self.nonce)


@dataclass
class Side:
    """An order in the set of one of its wallets."""

    order: Order
    credit: bool

    def leaf(self, _open: bool) -> bytes:
        if self.credit:
            return self.order.leaf(OPEN_POSITION if self.order.done else self.order.starts[1])
        return self.order.leaf(self.order.starts[0])


@dataclass
class Book:
    """One wallet's eon."""

    deposits: int = 0
    withdrawals: int = 0
    spent: int = 0
    gained: int = 0
    items: list[Transfer | Side] = field(default_factory=list)
    received: list[Transfer] = field(default_factory=list)

    def tree(self, count: int | None = None) -> MerkleTree:
        """Set of the first `count` transactions, the last of them open."""
        items = self.items[:count]
        return MerkleTree([item.leaf(item is items[-1]) for item in items])

    def passive(self) -> Any:
        """Tree of what was received, or None."""
        if not self.received:
            return None
        leaves = [
            transfer_leaf(t.sender.raw, t.amount, t.recipient_trail, t.nonce, t.position)
            for t in self.received
        ]
        return passive_tree(leaves, [t.position for t in self.received] + [self.total_received])

    @property
    def total_received(self) -> int:
        return sum(t.amount for t in self.received)

    @property
    def marker(self) -> int:
        last = self.items[-1] if self.items else None
        return last.position if isinstance(last, Transfer) else 0


@dataclass
class Leaf:
    """A wallet's entry in a checkpoint before the tree is built; tampering changes it."""

    amount: int
    active: bytes
    passive_root: bytes
    passive_amount: int
    marker: int
    left: int = 0


@dataclass(frozen=True)
class Proof:
    """A wallet's entry in a checkpoint with its proof, in the pieces that calls take."""

    trail: int
    chain: list[bytes]
    membership: list[bytes]
    values: list[int]
    lr: tuple[int, int]
    pm: tuple[int, int]
    active: bytes
    passive_root: bytes

    @property
    def checksums(self) -> list[bytes]:
        return [self.active, self.passive_root]

    @property
    def branches(self) -> tuple[list[bytes], list[bytes], list[int]]:
        return self.chain, self.membership, self.values

    @property
    def amount(self) -> int:
        return self.lr[1] - self.lr[0]


class Game:
    """Books of all wallets by (token, address, eon), and the checkpoints submitted."""

    def __init__(self, node: Node, chain: Bound) -> None:
        self.node, self.chain = node, chain
        self.genesis: int = chain.read("genesis")
        self.length: int = chain.read("BLOCKS_PER_EON")
        self.tokens: list[bytes] = [chain.raw]
        self.wallets: dict[bytes, list[Person]] = {chain.raw: []}
        self.allotments: dict[tuple[bytes, bytes, int], int] = {}
        self.books: dict[tuple[bytes, bytes, int], Book] = {}
        self.proofs: dict[tuple[bytes, bytes, int], Proof] = {}
        self.roots: dict[int, bytes] = {}

    # ---- time ----

    @property
    def eon(self) -> int:
        """Eon of the next block."""
        return (self.node.block_number() + 1 - self.genesis) // self.length + 1

    @property
    def era(self) -> int:
        """Era of the next block."""
        return (self.node.block_number() + 1 - self.genesis) % self.length

    def goto(self, eon: int, era: int = 0) -> None:
        """Mines until the next block is the one at (eon, era)."""
        target = self.genesis + (eon - 1) * self.length + era - 1
        missing = target - self.node.block_number()
        assert missing >= 0, f"block {target} has been mined"
        self.node.mine(missing)

    # ---- books ----

    def admit(self, *people: Person, token: bytes | None = None) -> None:
        """Gives people the next trails of a token."""
        self.wallets.setdefault(token or self.chain.raw, []).extend(people)

    def add_token(self, token: bytes) -> None:
        """Registers an ERC-20 token on the chain and in the books."""
        self.chain.send("registerERC20", token, sender=OPERATOR.address)
        self.tokens.append(token)
        self.wallets.setdefault(token, [])

    def trail(self, token: bytes, person: Person) -> int:
        return self.wallets[token].index(person)

    def book(self, person: Person, eon: int | None = None, token: bytes | None = None) -> Book:
        return self.books.setdefault((token or self.chain.raw, person.raw, eon or self.eon), Book())

    def deposit(self, person: Person, amount: int, token: bytes | None = None) -> Receipt:
        token = token or self.chain.raw
        value = amount if token == self.chain.raw else 0
        self.book(person, token=token).deposits += amount
        return self.chain.send("deposit", token, person.raw, amount, sender=person.address, value=value)

    def transfer(
        self, sender: Person, recipient: Person, amount: int, nonce: int = 7, token: bytes | None = None
    ) -> Transfer:
        """A transfer as the hub accepts it: delivered at once."""
        token = token or self.chain.raw
        book, target = self.book(sender, token=token), self.book(recipient, token=token)
        done = Transfer(
            token,
            sender,
            recipient,
            amount,
            nonce,
            target.total_received,
            self.trail(token, recipient),
            len(book.items),
        )
        book.items.append(done)
        book.spent += amount
        target.received.append(done)
        return done

    def order(self, owner: Person, tokens: tuple[bytes, bytes], sell: int, buy: int, nonce: int = 3) -> Order:
        """An order placed in this eon; the caller books what was matched on the result."""
        debit, credit = (self.book(owner, token=token) for token in tokens)
        starts = tuple(self.allotments.get((token, owner.raw, self.eon), 0) for token in tokens)
        order = Order(
            owner,
            tokens,
            self.trail(tokens[1], owner),
            sell,
            buy,
            nonce,
            (starts[0], starts[1]),
            (len(debit.items), len(credit.items)),
        )
        debit.items.append(Side(order, credit=False))
        credit.items.append(Side(order, credit=True))
        debit.spent += sell
        return order

    def state(
        self, person: Person, eon: int, token: bytes | None = None, count: int | None = None
    ) -> tuple[bytes, bytes, tuple[int, int]]:
        """(hash, set root, deltas) of a wallet's state, after its first `count` transactions if given."""
        token = token or self.chain.raw
        book = self.book(person, eon, token)
        spent = book.spent
        if count is not None:
            spent = sum(item.amount for item in book.items[:count] if isinstance(item, Transfer))
        root = book.tree(count).root
        hashed = active_state_hash(
            self.chain.raw, token, person.raw, self.trail(token, person), eon, root, spent, book.gained
        )
        return hashed, root, (spent, book.gained)

    # ---- checkpoints ----

    def balance(self, token: bytes, person: Person, eon: int) -> int:
        """What the wallet owns when `eon` ends."""
        book = self.book(person, eon, token)
        moved = sum(
            side.order.given if side.credit else side.order.sell - side.order.taken
            for side in book.items
            if isinstance(side, Side) and not side.order.done
        )
        return (
            self.allotments.get((token, person.raw, eon), 0)
            + book.deposits
            + book.gained
            - book.spent
            + book.total_received
            - book.withdrawals
            + moved
        )

    def checkpoint(self, tamper: Callable[[Leaves], None] | None = None) -> Receipt:
        """Builds and submits the checkpoint of the current eon."""
        eon = self.eon
        leaves = {(t, p.raw): self._leaf(t, p, eon - 1) for t in self.tokens for p in self.wallets[t]}
        if tamper:
            tamper(leaves)
        trees = []
        for token in self.tokens:
            bounds, inner = [0], []
            for person in self.wallets[token]:
                leaf = leaves[token, person.raw]
                leaf.left = bounds[-1]
                bounds.append(leaf.left + leaf.amount)
                entry = (leaf.passive_root, leaf.passive_amount, leaf.marker, leaf.active)
                inner.append(balance_inner_hash(self.chain.raw, token, person.raw, *entry))
            trees.append(balance_tree(inner, bounds))
        tokens = token_tree([token_leaf(tree.root, tree.upper_bound) for tree in trees])
        for trail, (token, tree) in enumerate(zip(self.tokens, trees, strict=True)):
            for index, person in enumerate(self.wallets[token]):
                leaf, proof = leaves[token, person.raw], tree.proof(index)
                self.allotments[token, person.raw, eon] = leaf.amount
                self.proofs[token, person.raw, eon] = Proof(
                    index,
                    proof.hashes,
                    tokens.proof(trail),
                    proof.values,
                    (leaf.left, leaf.left + leaf.amount),
                    (leaf.passive_amount, leaf.marker),
                    leaf.active,
                    leaf.passive_root,
                )
        self.roots[eon] = tokens.root
        basis = self.chain.read("getParentChainAccumulatorAtSlot", (eon - 1) % 5)
        return self.chain.send("submitCheckpoint", basis, tokens.root, sender=OPERATOR.address)

    def _leaf(self, token: bytes, person: Person, eon: int) -> Leaf:
        book = self.book(person, eon, token) if eon else Book()
        active = self.state(person, eon, token)[0] if book.items else ZERO_HASH
        passive = book.passive()
        root = passive.root if passive else ZERO_HASH
        amount = self.balance(token, person, eon) if eon else 0
        return Leaf(amount, active, root, book.total_received, book.marker)

    def proof(self, person: Person, eon: int, token: bytes | None = None) -> Proof:
        return self.proofs[token or self.chain.raw, person.raw, eon]

    def pass_eons(self, until: int, era: int = 8) -> None:
        """Submits honest checkpoints up to that of eon `until`, each at `era`."""
        while True:
            eon = self.eon if self.era <= era and self.eon not in self.roots else self.eon + 1
            self.goto(eon, era)
            self.checkpoint()
            if eon == until:
                return

    # ---- withdrawals ----

    def withdraw(
        self,
        person: Person,
        amount: int,
        token: bytes | None = None,
        proof: Proof | None = None,
        **options: Any,
    ) -> Receipt:
        """Requests a withdrawal by proof and books it."""
        token = token or self.chain.raw
        p = proof or self.proof(person, self.eon - 1, token)
        options.setdefault("value", FEE)
        sender = options.pop("sender", person.address)
        done = self.chain.send(
            "requestWithdrawal",
            token,
            p.checksums,
            p.trail,
            *p.branches,
            [p.lr, p.pm],
            amount,
            sender=sender,
            **options,
        )
        self.book(person, token=token).withdrawals += amount
        return done

    def recover(self, person: Person, eon: int, token: bytes | None = None, **options: Any) -> Receipt:
        """Recovers everything with the proof of checkpoint `eon`."""
        token = token or self.chain.raw
        p = self.proof(person, eon, token)
        options.setdefault("sender", person.address)
        return self.chain.send(
            "recoverAllFunds",
            token,
            person.raw,
            p.checksums,
            p.trail,
            *p.branches,
            p.lr,
            (0, *p.pm),
            **options,
        )

    # ---- challenges about states ----

    def challenge_state(
        self,
        person: Person,
        token: bytes | None = None,
        count: int | None = None,
        value: int = PLENTY,
        deltas: tuple[int, int] | None = None,
        **options: Any,
    ) -> Receipt:
        """By allotment, with the state that the wallet had in the previous eon."""
        token, eon = token or self.chain.raw, self.eon - 1
        p = self.proof(person, eon, token)
        hashed, root, true_deltas = self.state(person, eon, token, count)
        r, s, v = OPERATOR.sign(hashed)
        if not self.book(person, eon, token).items:
            true_deltas = (0, 0)
        return self.chain.send(
            "challengeStateUpdateWithProofOfExclusiveBalanceAllotment",
            token,
            p.checksums,
            p.trail,
            *p.branches,
            [p.lr, deltas or true_deltas, p.pm],
            [r, s, root],
            v,
            sender=person.address,
            value=value,
            **options,
        )

    def challenge_empty(
        self,
        person: Person,
        token: bytes | None = None,
        value: int = PLENTY,
        signer: Person = OPERATOR,
        **options: Any,
    ) -> Receipt:
        """By the operator's signature under the state of a wallet without allotment."""
        token, eon = token or self.chain.raw, self.eon - 1
        hashed, root, deltas = self.state(person, eon, token)
        r, s, v = signer.sign(hashed)
        return self.chain.send(
            "challengeStateUpdateWithProofOfActiveStateUpdateAgreement",
            token,
            root,
            self.trail(token, person),
            deltas,
            r,
            s,
            v,
            sender=person.address,
            value=value,
            **options,
        )

    def answer_state(
        self,
        person: Person,
        eon: int,
        token: bytes | None = None,
        sender: Person = OPERATOR,
        count: int | None = None,
    ) -> Receipt:
        """Answer to a challenge about `eon` with the entry in the next checkpoint."""
        token = token or self.chain.raw
        p = self.proof(person, eon + 1, token)
        hashed, root, deltas = self.state(person, eon, token, count)
        signatures = (*person.sign(hashed), *OPERATOR.sign(hashed))
        if not self.book(person, eon, token).items:
            root, deltas, signatures = ZERO_HASH, (0, 0), (ZERO_HASH, ZERO_HASH, 27, ZERO_HASH, ZERO_HASH, 27)
        r, s, v, r2, s2, v2 = signatures
        return self.chain.send(
            "answerStateUpdateChallenge",
            token,
            person.raw,
            *p.branches,
            [p.lr, deltas, p.pm],
            [r, s, r2, s2, root, p.passive_root],
            [v, v2],
            sender=sender.address,
        )

    # ---- challenges about transfers ----

    def challenge_delivery(
        self, transfer: Transfer, by: Person, count: int | None = None, value: int = PLENTY, **options: Any
    ) -> Receipt:
        """Through the state that the operator signed after the sender's first `count` transactions."""
        eon, sender = self.eon - 1, transfer.sender
        book = self.book(sender, eon, transfer.token)
        hashed, root, deltas = self.state(sender, eon, transfer.token, count)
        items = book.items[:count]
        tag = transfer.tag(open_=items[-1] is transfer)
        r, s, v = OPERATOR.sign(hashed)
        return self.chain.send(
            "challengeTransferDeliveryWithProofOfActiveStateUpdateAgreement",
            transfer.token,
            [sender.raw, transfer.recipient.raw],
            [tag, transfer.amount],
            [self.trail(transfer.token, sender), transfer.index, transfer.recipient_trail],
            book.tree(count).proof(transfer.index),
            deltas,
            [r, s, root],
            v,
            sender=by.address,
            value=value,
            **options,
        )

    def challenge_committed(self, transfer: Transfer, by: Person, nonce: int | None = None) -> Receipt:
        """Through the sender's entry in the current checkpoint; only for his newest transfer."""
        eon, sender = self.eon, transfer.sender
        p = self.proof(sender, eon, transfer.token)
        _, root, deltas = self.state(sender, eon - 1, transfer.token)
        return self.chain.send(
            "challengeTransferDeliveryWithProofOfPassiveStateUpdate",
            transfer.token,
            [sender.raw, transfer.recipient.raw],
            [root, p.passive_root],
            [p.trail, transfer.index, transfer.recipient_trail],
            *p.branches,
            [p.lr, deltas, p.pm, (transfer.nonce if nonce is None else nonce, transfer.amount)],
            self.book(sender, eon - 1, transfer.token).tree().proof(transfer.index),
            sender=by.address,
            value=PLENTY,
        )

    def answer_delivery(
        self,
        transfer: Transfer,
        eon: int,
        at: Transfer | None = None,
        position: int | None = None,
        nonce: int | None = None,
    ) -> Receipt:
        """Answer with the passive tree; `at` answers with the place of another transfer."""
        recipient = transfer.recipient
        p = self.proof(recipient, eon + 1, transfer.token)
        received = self.book(recipient, eon, transfer.token)
        place = at or transfer
        index = received.received.index(place)
        return self.chain.send(
            "answerTransferDeliveryChallengeWithProofOfPassiveStateUpdate",
            transfer.token,
            [transfer.sender.raw, recipient.raw],
            index,
            *p.branches,
            [
                p.lr,
                p.pm,
                (
                    place.position if position is None else position,
                    place.nonce if nonce is None else nonce,
                ),
            ],
            p.checksums,
            chain_words(received.passive().proof(index)),
            sender=OPERATOR.address,
        )

    # ---- challenges about orders ----

    def challenge_swap(self, order: Order, **options: Any) -> Receipt:
        """By the order's owner, about the previous eon."""
        eon, owner, debit = self.eon - 1, order.owner, order.tokens[0]
        p = self.proof(owner, eon + 1, debit)
        _, root, deltas = self.state(owner, eon, debit)
        return self.chain.send(
            "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
            order.tokens,
            [p.trail, order.indexes[0], order.credit_trail],
            p.chain,
            p.membership,
            self.book(owner, eon, debit).tree().proof(order.indexes[0]),
            p.values,
            [p.lr, deltas, p.pm],
            [order.sell, order.buy, order.starts[0], order.nonce],
            [root, p.passive_root, ZERO_HASH],
            sender=owner.address,
            value=PLENTY,
            **options,
        )

    def answer_swap(self, order: Order, eon: int, start: int | None = None) -> Receipt:
        """Answer with the credit wallet's set and entry."""
        owner, credit = order.owner, order.tokens[1]
        p = self.proof(owner, eon + 1, credit)
        _, root, deltas = self.state(owner, eon, credit)
        true_start = OPEN_POSITION if order.done else order.starts[1]
        return self.chain.send(
            "answerSwapChallengeWithProofOfExclusiveBalanceAllotment",
            order.tokens,
            owner.raw,
            order.indexes[1],
            p.chain,
            p.membership,
            self.book(owner, eon, credit).tree().proof(order.indexes[1]),
            p.values,
            [p.lr, deltas, p.pm],
            true_start if start is None else start,
            [root, p.passive_root, ZERO_HASH],
            sender=OPERATOR.address,
        )
