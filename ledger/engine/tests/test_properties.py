"""The engine under random commands, hostile ones included: money is conserved, nothing is overspent, refused
commands change nothing, signed sets are what the history says, and the history alone gives the same state."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.engine import (
    HIGHEST_COUNTER,
    Account,
    CancelWithdrawal,
    Deposit,
    Key,
    Refusal,
    RequestWithdrawal,
    Transfer,
    Transferred,
)
from ledger.engine.tests.world import MAX_AMOUNT, SLA_THRESHOLD, TOKENS, World, players
from nocust.leaves import OPEN_POSITION, transfer_leaf
from nocust.merkle import MerkleTree, verify_membership
from nocust.passive import passive_tree, transfer_bounds
from nocust.signatures import CURVE_ORDER, is_valid
from operator_api.simulation.wallets import SimulatedWallet

OWNERS = 3
pick = st.integers(min_value=0, max_value=2 * OWNERS - 1)
peers = st.tuples(pick, st.integers(min_value=1, max_value=OWNERS - 1))
"""A sender, and how many places after it, in the same token, the recipient stands."""
amounts = st.one_of(
    st.integers(min_value=0, max_value=100),
    st.sampled_from([0, 1, 2**127, HIGHEST_COUNTER, 2**255, MAX_AMOUNT - 1, MAX_AMOUNT]),
)
COUNTERS = ("spent", "gained", "received", "deposited", "set_size")
ALWAYS_POSITIVE = ("spent", "gained", "received", "deposited", "passive_marker")


class Ledger(RuleBasedStateMachine):
    """Three owners with a wallet in each of two tokens, through as many eons as it takes."""

    @initialize(funds=st.lists(amounts, min_size=2 * OWNERS, max_size=2 * OWNERS))
    def begin(self, funds: list[int]) -> None:
        self.world = World(players(OWNERS))
        self.seen: dict[Key, Account] = {}
        self.replays: list[Transfer] = []
        self.nonce = 0
        for who, amount in enumerate(funds):
            self.deposit(who, amount, late=False)

    # --- the chain -------------------------------------------------------------------------------------------
    @rule(who=pick, amount=amounts, late=st.booleans())
    def deposit(self, who: int, amount: int, late: bool) -> None:
        owner = self.world.wallets[who].owner
        room = MAX_AMOUNT - self.world.deposited[owner.token]  # a contract counts in 256 bits
        command = Deposit(owner, self._effect_eon(late), min(amount, room))
        assert not isinstance(self.world.submit(command), Refusal)

    @rule(who=pick, amount=amounts, late=st.booleans(), over=st.booleans())
    def request_withdrawal(self, who: int, amount: int, late: bool, over: bool) -> None:
        """What the chain granted is a fact, even when it was spent off-chain already."""
        owner = self.world.wallets[who].owner
        limit = self.world.deposited[owner.token] if over else max(self.world.wealth[owner.wallet], 0) // 3
        amount = min(amount, limit, MAX_AMOUNT - self.world.requested[owner.wallet])
        command = RequestWithdrawal(owner, self._effect_eon(late), amount)
        assert not isinstance(self.world.submit(command), Refusal)

    @rule(who=pick, part=st.integers(min_value=1, max_value=3), late=st.booleans())
    def cancel_withdrawal(self, who: int, part: int, late: bool) -> None:
        owner = self.world.wallets[who].owner
        amount = self.world.requested[owner.wallet] // part
        command = CancelWithdrawal(owner, self._effect_eon(late), amount)
        assert not isinstance(self.world.submit(command), Refusal)

    @rule(who=pick, amount=amounts)
    def effect_on_a_closed_eon(self, who: int, amount: int) -> None:
        """A contradiction between chain and ledger is no refusal but an error that nobody may overlook."""
        closed = max(self.world.closed)
        if closed == 0:
            return
        for kind in (Deposit, RequestWithdrawal, CancelWithdrawal):
            before = dict(self.world.accounts)
            try:
                self.world.submit(kind(self.world.wallets[who].owner, closed, amount))
            except ValueError:
                assert self.world.accounts == before
            else:
                raise AssertionError("an effect on a closed eon was taken")

    def _effect_eon(self, late: bool) -> int:
        """The eon before, while its ledger is open; else the latest."""
        before = self.world.eon - 1
        return before if late and before not in self.world.closed else self.world.eon

    # --- eons ------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.world.eon - 1 in self.world.closed)
    @rule()
    def enter_next_eon(self) -> None:
        self.world.enter_next_eon()

    @precondition(lambda self: self.world.eon - 1 not in self.world.closed)
    @rule()
    def close_eon_before(self) -> None:
        self.world.close_eon_before()

    @rule(pair=peers, why=st.sampled_from(["CHAIN_HALTED", "CHAIN_FORKED", "CHAIN_BEHIND"]))
    def transfer_while_stopped(self, pair: tuple[int, int], why: str) -> None:
        sender, recipient = self._pair(pair)
        self.world.stopped = why
        self._expect(self._signed(sender, recipient, 0), why)
        self.world.stopped = ""

    @rule(who=pick, amount=amounts)
    def reserve(self, who: int, amount: int) -> None:
        """An amount set aside for a withdrawal on its way, or none."""
        self.world.reserved[self.world.wallets[who].wallet_id] = amount

    # --- transfers -------------------------------------------------------------------------------------------
    @rule(pair=peers, amount=amounts, share=st.integers(0, 4), marker=amounts, sla=st.booleans())
    def transfer(self, pair: tuple[int, int], amount: int, share: int, marker: int, sla: bool) -> None:
        """A transfer signed as it should be: of a share of what there is, or of any amount."""
        sender, recipient = self._pair(pair)
        spendable = self._spendable(sender)
        if share and spendable > 0:
            amount = spendable * share // 4
        command = self._signed(sender, recipient, amount, min(marker, max(spendable - amount, 0)))
        self._expect(replace(command, sender_subscribed=sla), self._verdict(command, sla))

    @rule(pairs=st.lists(peers, min_size=1, max_size=8), share=st.integers(min_value=1, max_value=3))
    def payments(self, pairs: list[tuple[int, int]], share: int) -> None:
        """Several in a row, each of a share of what there is."""
        for pair in pairs:
            self.transfer(pair, 0, share, 0, sla=True)

    @rule(pair=peers, over=st.integers(min_value=1, max_value=3))
    def spend_too_much(self, pair: tuple[int, int], over: int) -> None:
        sender, recipient = self._pair(pair)
        amount = min(max(self._spendable(sender), 0) + over, MAX_AMOUNT)
        command = self._signed(sender, recipient, amount)
        self._expect(command, self._verdict(command))

    @rule(pair=peers, over=st.integers(min_value=1, max_value=3))
    def claim_too_much(self, pair: tuple[int, int], over: int) -> None:
        """A marker above what would be left."""
        sender, recipient = self._pair(pair)
        spendable = max(self._spendable(sender), 0)
        amount = spendable // 2
        command = self._signed(sender, recipient, amount, min(spendable - amount + over, MAX_AMOUNT))
        self._expect(command, self._verdict(command))

    @rule(pair=peers, shift=st.sampled_from([-2, -1, 1, 2, 2**63 - 1]))
    def wrong_eon(self, pair: tuple[int, int], shift: int) -> None:
        sender, recipient = self._pair(pair)
        sender.eon = max(self.world.eon + shift, 0)
        command = self._signed(sender, recipient, 0)
        sender.eon = self.world.eon
        self._expect(command, "EON_NUMBER_OUT_OF_SYNC")

    @rule(who=pick, amount=amounts)
    def to_itself(self, who: int, amount: int) -> None:
        sender = self.world.client(self.world.wallets[who])
        command = self._signed(sender, sender, amount)
        self._expect(command, self._verdict(command))

    @rule(sender=pick, recipient=pick, amount=amounts)
    def across_tokens(self, sender: int, recipient: int, amount: int) -> None:
        giver, taker = self.world.wallets[sender], self.world.wallets[recipient]
        if giver.token == taker.token:
            return
        command = self._signed(self.world.client(giver), taker, amount)
        self._expect(command, self._verdict(command))

    @rule(pair=peers, forgery=st.integers(min_value=0, max_value=8))
    def forged(self, pair: tuple[int, int], forgery: int) -> None:
        """A transfer whose signature is of something else, or by somebody else."""
        sender, recipient = self._pair(pair)
        if sender.spent == MAX_AMOUNT:
            return  # one more could not be signed at all
        command = self._signed(sender, recipient, 0)
        signature = self._forgeries(sender, recipient, command)[forgery]
        self._expect(
            replace(command, signature=signature), self._verdict(command) or "INVALID_DEBIT_SIGNATURE"
        )

    def _forgeries(self, sender: SimulatedWallet, to: SimulatedWallet, genuine: Transfer) -> list[bytes]:
        """Signatures that are valid for something else than the command."""
        owner = to.owner
        thief = replace_wallet(sender, signer=to.signer)
        elsewhere = replace_wallet(sender, token=next(token for token in TOKENS if token != sender.token))
        later = replace_wallet(sender, eon=sender.eon + 1)
        forgetful = replace_wallet(sender, closed=sender.closed.append(bytes(32)))
        moved = replace_wallet(sender, trail=sender.trail + 1)
        flipped = bytearray(genuine.signature)
        flipped[40] ^= 1
        return [
            thief.transfer(owner, 0, nonce=genuine.nonce).signature,
            elsewhere.transfer(owner, 0, nonce=genuine.nonce).signature,
            later.transfer(owner, 0, nonce=genuine.nonce).signature,
            forgetful.transfer(owner, 0, nonce=genuine.nonce).signature,
            moved.transfer(owner, 0, nonce=genuine.nonce).signature,
            sender.transfer(owner, 0, nonce=genuine.nonce + 1).signature,
            sender.transfer(owner, 1, nonce=genuine.nonce).signature,
            bytes(flipped),
            b"",
        ]

    @rule(pair=peers)
    def mirrored_signature(self, pair: tuple[int, int]) -> None:
        """The same signature with the other s is as good, as on chain."""
        sender, recipient = self._pair(pair)
        command = self._signed(sender, recipient, 0)
        s = CURVE_ORDER - int.from_bytes(command.signature[32:64], "big")
        v = bytes([27 + 28 - command.signature[64]])
        mirrored = command.signature[:32] + s.to_bytes(32, "big") + v
        self._expect(replace(command, signature=mirrored), self._verdict(command))

    @precondition(lambda self: self.replays)
    @rule(which=st.integers(min_value=0, max_value=200))
    def replayed_command(self, which: int) -> None:
        """What was accepted once is never accepted again."""
        command = self.replays[which % len(self.replays)]
        self._expect(command, "unique")

    @precondition(lambda self: self.replays)
    @rule(which=st.integers(min_value=0, max_value=200), pair=peers)
    def used_nonce(self, which: int, pair: tuple[int, int]) -> None:
        """A nonce serves once an eon and sender, whatever else changes."""
        sender, recipient = self._pair(pair)
        used = [c.nonce for c in self.replays if c.eon == sender.eon and c.sender == sender.owner]
        if not used:
            return
        command = sender.transfer(recipient.owner, 0, nonce=used[which % len(used)])
        self._expect(command, "unique")

    def _pair(self, pair: tuple[int, int]) -> tuple[SimulatedWallet, SimulatedWallet]:
        """A sender and a recipient of the same token."""
        first, distance = pair
        sender = self.world.client(self.world.wallets[first])
        recipient = self.world.wallets[first // OWNERS * OWNERS + (first + distance) % OWNERS]
        return sender, recipient

    def _signed(
        self, sender: SimulatedWallet, recipient: SimulatedWallet, amount: int, marker: int = 0
    ) -> Transfer:
        """A transfer; what no client can sign, since its total has more than 256 bits, has some signature."""
        self.nonce += 1
        if sender.spent + amount > MAX_AMOUNT:
            command = sender.transfer(recipient.owner, 0, marker, self.nonce)
            return replace(command, amount=amount)
        return sender.transfer(recipient.owner, amount, marker, self.nonce)

    def _spendable(self, sender: SimulatedWallet) -> int:
        wallet = sender.wallet_id
        return self.world.wealth[wallet] - self.world.reserved.get(wallet, 0)

    def _verdict(self, command: Transfer, subscribed: bool = False) -> str | None:
        """Why a transfer signed by its sender must be refused; None when it must be accepted."""
        sender, recipient = command.sender, command.recipient
        spendable = self.world.wealth[sender.wallet] - self.world.reserved.get(sender.wallet, 0)
        spent = sum(e.amount for e in self.world.sent(sender.wallet, command.eon))
        received = sum(e.amount for e in self.world.received(recipient.wallet, command.eon))
        exempt = self.world.wallets[0].address in (sender.address, recipient.address)
        checks = {
            "DEBIT_CREDIT_WALLET_ADDRESS_MATCH": sender == recipient,
            "DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH": sender.token != recipient.token,
            "DEBIT_WALLET_EXCEEDED_SLA": not (exempt or subscribed)
            and self.world.entries[sender.wallet, command.eon] + 1 > SLA_THRESHOLD,
            "CREDIT_WALLET_EXCEEDED_SLA": not exempt
            and self.world.entries[recipient.wallet, command.eon] > SLA_THRESHOLD,
            "DEBIT_WALLET_OVERSPENDING": command.amount > spendable,
            "DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE": command.amount + command.marker > spendable,
            "counters": spent + command.amount > HIGHEST_COUNTER or received + command.amount > MAX_AMOUNT,
        }
        failed = next((code for code, failed in checks.items() if failed), None)
        return "DEBIT_WALLET_OVERSPENDING" if failed == "counters" else failed

    def _expect(self, command: Transfer, code: str | None) -> None:
        events, accounts = len(self.world.events), dict(self.world.accounts)
        outcome = self.world.submit(command)
        if code is not None:
            assert isinstance(outcome, Refusal), f"{outcome} instead of {code}"
            assert outcome.code == code
            assert (len(self.world.events), self.world.accounts) == (events, accounts)
            return
        assert isinstance(outcome, Transferred), outcome
        sender = next(w for w in self.world.wallets if w.wallet_id == command.sender.wallet)
        sender.accepted(command, outcome.position)
        self.replays.append(command)
        self._check_state(outcome)
        assert self.world.account(command.sender, command.eon).available >= 0

    def _check_state(self, event: Transferred) -> None:
        """What the sender signed is its history of the eon, the newest transfer open."""
        history = self.world.sent(event.sender.wallet, event.eon)
        leaves = [final_leaf(sent) for sent in history[:-1]]
        to = event.recipient
        opened = transfer_leaf(to.address, event.amount, to.trail, event.nonce, OPEN_POSITION)
        tree = MerkleTree([*leaves, opened])
        assert event.tx_set_hash == tree.root
        assert event.tx_set_index == len(leaves)
        assert list(event.tx_set_proof) == tree.proof(len(leaves))
        assert verify_membership(event.tx_set_index, event.tx_set_proof, opened, event.tx_set_hash)
        assert event.spent == sum(sent.amount for sent in history)
        assert is_valid(event.message, event.signature, event.sender.address)
        account = self.world.account(event.sender, event.eon)
        assert account.closed_set().root() == MerkleTree([*leaves, final_leaf(event)]).root
        assert account.passive_marker == event.position

    # --- what holds in every state ---------------------------------------------------------------------------
    @invariant()
    def money_is_conserved(self) -> None:
        held: dict[bytes, int] = defaultdict(int)
        owed: dict[bytes, int] = defaultdict(int)
        for wallet in self.world.wallets:
            available = self.world.account(wallet.owner, self.world.eon).available
            assert available == self.world.wealth[wallet.wallet_id]
            held[wallet.token] += available
            owed[wallet.token] += self.world.requested[wallet.wallet_id]
        for token in TOKENS:
            assert held[token] == self.world.deposited[token] - owed[token]

    @invariant()
    def nothing_is_negative(self) -> None:
        for account in self.world.accounts.values():
            for name in ALWAYS_POSITIVE:
                assert 0 <= getattr(account, name) <= MAX_AMOUNT, name
        for wallet in self.world.wallets:
            if self.world.requested[wallet.wallet_id] == 0:
                assert self.world.account(wallet.owner, self.world.eon).available >= 0

    @invariant()
    def counters_never_fall(self) -> None:
        for key, before in self.seen.items():
            after = self.world.accounts[key]
            for name in COUNTERS:
                assert getattr(after, name) >= getattr(before, name), name
            if key[1] in self.world.closed and key[1] + 1 in self.world.closed:
                assert after == before
        self.seen = dict(self.world.accounts)

    @invariant()
    def eons_join(self) -> None:
        """What a wallet has at the end of an eon is what it begins the next one with."""
        for (wallet, eon), account in self.world.accounts.items():
            earlier = self.world.accounts.get((wallet, eon - 1))
            if earlier is not None:
                assert account.opening == earlier.available

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.replayed() == self.world.accounts
        for wallet in self.world.wallets:
            for eon in range(1, self.world.eon + 1):
                self._check_received(wallet, eon)

    def _check_received(self, wallet: SimulatedWallet, eon: int) -> None:
        """What a wallet received are adjacent intervals from 0 on, in order of arrival."""
        events = self.world.received(wallet.wallet_id, eon)
        bounds = transfer_bounds([event.amount for event in events])
        assert [event.position for event in events] == bounds[:-1]
        assert self.world.account(wallet.owner, eon).received == bounds[-1]
        tree = passive_tree([passive_leaf(event) for event in events], bounds)
        assert tree.upper_bound == bounds[-1]


def replace_wallet(wallet: SimulatedWallet, **changes: Any) -> SimulatedWallet:
    """A copy with other values, which forgets nothing."""
    return replace(wallet, **changes)


def final_leaf(event: Transferred) -> bytes:
    """The transfer in its sender's set once another follows."""
    to = event.recipient
    return transfer_leaf(to.address, event.amount, to.trail, event.nonce, event.position)


def passive_leaf(event: Transferred) -> bytes:
    """The transfer in its recipient's tree."""
    return transfer_leaf(
        event.sender.address, event.amount, event.recipient.trail, event.nonce, event.position
    )


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=500,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
