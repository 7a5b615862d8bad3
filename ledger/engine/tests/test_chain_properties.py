"""The engine under a chain that mines, drops and reorders what wallets send to the contract, while they pay each
other: effects of the eon before that come late, cancellations before and after its ledger was closed, forks at each
depth above the confirmations, eons that begin on a branch that loses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.engine import CancelWithdrawal, Command, Deposit, Refusal, RequestWithdrawal, Transferred
from ledger.engine.tests.world import TOKENS, World, players

OWNERS = 3
BLOCKS_PER_EON = 4
DEPTH = 2
"""Confirmations."""
pick = st.integers(min_value=0, max_value=2 * OWNERS - 1)
amounts = st.integers(min_value=1, max_value=100)


@dataclass(frozen=True)
class Sent:
    """Something sent to the contract; `amount` is nothing for a cancellation."""

    kind: type[Deposit | RequestWithdrawal | CancelWithdrawal]
    who: int
    amount: int = 0


@dataclass
class Block:
    """A mined block with its effects: what happened to whom, by the eon that the effect is about."""

    number: int
    sent: list[Sent]
    effects: list[tuple[Sent, int]] = field(default_factory=list)

    @property
    def eon(self) -> int:
        return self.number // BLOCKS_PER_EON + 1


class Chain:
    """The contract as far as the ledger sees it: deposits and requests are granted, a cancellation takes all of a
    holder's requests of its eon and the one before."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    @property
    def head(self) -> int:
        return len(self.blocks) - 1

    def mine(self, sent: list[Sent]) -> None:
        block = Block(len(self.blocks), sent)
        self.blocks.append(block)
        for one in sent:
            if one.kind is CancelWithdrawal:
                for eon in (block.eon - 1, block.eon):
                    amount = self.standing(one.who, eon)
                    if amount:
                        block.effects.append((Sent(CancelWithdrawal, one.who, amount), eon))
            else:
                block.effects.append((one, block.eon))

    def standing(self, who: int, eon: int) -> int:
        """What a holder requested in an eon and that was not cancelled."""
        total = 0
        for block in self.blocks:
            for effect, about in block.effects:
                if effect.who == who and about == eon and effect.kind is not Deposit:
                    total += effect.amount if effect.kind is RequestWithdrawal else -effect.amount
        return total

    def drop(self, count: int) -> list[Sent]:
        """A fork: the newest blocks never were. What they held."""
        dropped = self.blocks[len(self.blocks) - count :]
        del self.blocks[len(self.blocks) - count :]
        return [one for block in dropped for one in block.sent]


class Follower(RuleBasedStateMachine):
    """A ledger that follows the chain as `contractor.follower` does."""

    @initialize()
    def begin(self) -> None:
        self.world = World(players(OWNERS))
        self.chain = Chain()
        self.chain.mine([])
        self.applied = -1
        self.waiting = [Sent(Deposit, who, 100) for who in range(2 * OWNERS)]
        self.nonce = 0
        self.beats(BLOCKS_PER_EON)

    # --- the chain -------------------------------------------------------------------------------------------
    @rule(who=pick, amount=amounts)
    def send_deposit(self, who: int, amount: int) -> None:
        self.waiting.append(Sent(Deposit, who, amount))

    @rule(who=pick, share=st.integers(min_value=1, max_value=4))
    def send_request(self, who: int, share: int) -> None:
        """Of what the wallet has now, which it may spend before the request is applied."""
        amount = max(self.world.wealth[self.world.wallets[who].wallet_id], 0) * share // 4
        if amount:
            self.waiting.append(Sent(RequestWithdrawal, who, amount))

    @rule(who=pick)
    def send_cancellation(self, who: int) -> None:
        self.waiting.append(Sent(CancelWithdrawal, who))

    @rule(data=st.data())
    def mine(self, data: st.DataObject) -> None:
        """Some of what waits, in any order."""
        order = data.draw(st.permutations(range(len(self.waiting))))
        taken = order[: data.draw(st.integers(0, len(order)))]
        self.chain.mine([self.waiting[index] for index in taken])
        self.waiting = [one for index, one in enumerate(self.waiting) if index not in taken]

    @rule(blocks=st.integers(min_value=1, max_value=BLOCKS_PER_EON))
    def beats(self, blocks: int) -> None:
        """A hub that keeps up, and a chain that takes what it is sent."""
        for _ in range(blocks):
            self.chain.mine(self.waiting)
            self.waiting = []
            self.follow(1)
            self.close()

    @rule(
        depth=st.integers(min_value=1, max_value=DEPTH), kept=st.booleans(), length=st.integers(0, DEPTH + 1)
    )
    def fork(self, depth: int, kept: bool, length: int) -> None:
        """Another branch wins, for a moment perhaps a shorter one; what the blocks held is mined again or lost."""
        depth = min(depth, self.chain.head - max(self.applied, 0))
        sent = self.chain.drop(depth)
        if kept:
            self.waiting += sent
        for _ in range(length):
            self.chain.mine([])

    # --- the hub ---------------------------------------------------------------------------------------------
    @rule(blocks=st.integers(min_value=1, max_value=2 * BLOCKS_PER_EON))
    def follow(self, blocks: int) -> None:
        """Up to some blocks, but not beyond the eon after the newest checkpoint."""
        ceiling = (max(self.world.closed) + 2) * BLOCKS_PER_EON - 1
        head = min(self.chain.head, ceiling, self.applied + DEPTH + blocks)
        self.world.eon = max(self.world.eon, self.chain.blocks[head].eon if head >= 0 else 1)
        for number in range(self.applied + 1, min(self.chain.head - DEPTH, head) + 1):
            for effect, about in self.chain.blocks[number].effects:
                self._apply(effect, about, self.chain.blocks[number].eon)
            self.applied = number

    def _apply(self, effect: Sent, about: int, at: int) -> None:
        """A cancellation is given back in the eon of the requests, or where that is closed in its own."""
        eon = at if about in self.world.closed else about
        owner = self.world.wallets[effect.who].owner
        command: Command = effect.kind(owner, eon, effect.amount)
        assert not isinstance(self.world.submit(command), Refusal)

    @rule()
    def close(self) -> None:
        """As soon as all blocks of the eon before are applied."""
        known = self.applied >= (self.world.eon - 1) * BLOCKS_PER_EON - 1
        if known and self.world.eon - 1 not in self.world.closed:
            self.world.close_eon_before()

    @rule(who=pick, distance=st.integers(1, OWNERS - 1), share=st.integers(0, 4))
    def pay(self, who: int, distance: int, share: int) -> None:
        sender = self.world.client(self.world.wallets[who])
        recipient = self.world.wallets[who // OWNERS * OWNERS + (who + distance) % OWNERS]
        self.nonce += 1
        wealth = self.world.wealth[sender.wallet_id]
        command = sender.transfer(recipient.owner, max(wealth, 0) * share // 4, 0, self.nonce)
        outcome = self.world.submit(command)
        if isinstance(outcome, Refusal):
            # What was requested on chain after it was spent is owed; what is left in the set is limited.
            assert wealth < 0 or outcome.code.endswith("EXCEEDED_SLA")
            return
        assert isinstance(outcome, Transferred)
        sender.accepted(command, outcome.position)

    # --- what holds in every state ---------------------------------------------------------------------------
    @invariant()
    def the_ledger_holds_what_the_chain_does(self) -> None:
        deposits, requests = defaultdict[bytes, int](int), defaultdict[bytes, int](int)
        for block in self.chain.blocks[: self.applied + 1]:
            for effect, _ in block.effects:
                token = self.world.wallets[effect.who].token
                if effect.kind is Deposit:
                    deposits[token] += effect.amount
                else:
                    requests[token] += effect.amount * (1 if effect.kind is RequestWithdrawal else -1)
        for token in TOKENS:
            wallets = [wallet for wallet in self.world.wallets if wallet.token == token]
            held = sum(self.world.account(w.owner, self.world.eon).available for w in wallets)
            assert held == deposits[token] - requests[token]

    @invariant()
    def accounts_are_what_the_commands_made_of_them(self) -> None:
        for wallet in self.world.wallets:
            available = self.world.account(wallet.owner, self.world.eon).available
            assert available == self.world.wealth[wallet.wallet_id]

    @invariant()
    def eons_join(self) -> None:
        for (wallet, eon), account in self.world.accounts.items():
            earlier = self.world.accounts.get((wallet, eon - 1))
            if earlier is not None:
                assert account.opening == earlier.available

    @invariant()
    def a_cancelled_holder_owes_nothing(self) -> None:
        """Requests that are all cancelled leave the wallet as if they had never been."""
        if any(block.effects for block in self.chain.blocks[self.applied + 1 :]):
            return
        for who, wallet in enumerate(self.world.wallets):
            standing = sum(self.chain.standing(who, eon) for eon in range(1, self.world.eon + 1))
            if standing == 0:
                assert self.world.requested[wallet.wallet_id] == 0
                assert self.world.account(wallet.owner, self.world.eon).available >= 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert self.world.replayed() == self.world.accounts


TestFollower = Follower.TestCase
TestFollower.settings = settings(
    max_examples=200,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
