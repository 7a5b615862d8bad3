"""Money with orders under random commands: conserved at every step, and whatever was matched, frozen, cancelled,
finalised or carried over, every owner can be answered on chain at the end of every eon."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from ledger.engine.tests import contract
from ledger.engine.tests.market import TOKENS
from ledger.engine.tests.trading import OWNERS, PARTS, WALLETS, Trading
from nocust.matching_orders import within_limits


class Exchange(Trading):
    """What must hold, and much at a time."""

    # --- all of it -------------------------------------------------------------------------------------------
    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 25))
    def busy_times(self, seed: int, count: int) -> None:
        """Much of what the other rules do one at a time."""
        random = Random(seed)
        for kind in random.choices(range(9), (12, 9, 4, 6, 2, 2, 1, 2, 4), k=count):
            some = [random.randrange(60) for _ in range(6)]
            if kind == 0:
                price = random.choice([(1, 1), (1, 2), (9, 10), (random.randint(1, 99), 100), (11, 10)])
                eons, sell = random.choice([1, 2, 3, 5, 5]), random.random() < 0.6
                self.place([(random.randrange(WALLETS), price, eons, sell, random.randrange(30))])
            elif kind == 1:
                self.fill([(one, some[0], random.choice(PARTS), random.choice(PARTS)) for one in some[1:4]])
            elif kind == 2:
                self.match(some[:3])
            elif kind == 3:
                self.finalize(some[0])
            elif kind == 4:
                self.cancel(some[0], some[1] < 45)
            elif kind == 5:
                self.pay(random.randrange(WALLETS), random.randrange(1, OWNERS), random.randrange(5))
            elif kind == 6:
                self.deposit(random.randrange(WALLETS), random.choice([1, 1000]), late=False)
            elif kind == 7:
                self.request_withdrawal(self._owning(some[0]), random.randrange(1, 5), late=False)
            else:
                between = random.sample(range(6), random.choice([0, 0, 1, 2]))
                who = self._owning(some[0])
                self.next_eon([(one, who, random.randrange(1, 4)) for one in between])
            self.check()

    # --- what holds ------------------------------------------------------------------------------------------
    def _owning(self, which: int) -> int:
        """A wallet that can request a withdrawal, if there is one."""
        eon = self.world.eon - 1
        able = [
            who
            for who, wallet in enumerate(self.world.wallets)
            if self.world.allotments.get((wallet.wallet_id, eon))
        ]
        return able[which % len(able)] if able else which % WALLETS

    def check(self) -> None:
        """The invariants, in between."""
        self.money_is_conserved()
        self.nobody_is_below_zero_but_by_requests()
        self.orders_stay_within_their_limits()

    @invariant()
    def money_is_conserved(self) -> None:
        held, owed = defaultdict[bytes, int](int), defaultdict[bytes, int](int)
        for wallet in self.world.wallets:
            available = self.world.account(wallet.owner, self.world.eon).available
            assert available == self.world.wealth[wallet.wallet_id]
            held[wallet.token] += available
            owed[wallet.token] += self.world.requested[wallet.wallet_id]
        for token in TOKENS:
            assert held[token] == self.world.deposited[token] - owed[token]

    @invariant()
    def nobody_is_below_zero_but_by_requests(self) -> None:
        for wallet in self.world.wallets:
            if not self.world.requested[wallet.wallet_id]:
                assert self.world.account(wallet.owner, self.world.eon).available >= 0

    @invariant()
    def orders_stay_within_their_limits(self) -> None:
        """And remember over all eons what they gave and got."""
        for (tx_id, eon), order in self.world.rows.items():
            out, got = self.world.totals.get(tx_id, (0, 0))
            assert within_limits(order, out, got)
            assert order.sell or got <= order.amount_swapped
            if order.appended and eon == self.world.eon:
                assert (order.out, order.got) == (out, got)

    @invariant()
    def an_order_holds_its_wallets_no_longer_than_its_last_eon(self) -> None:
        for (_, eon), order in self.world.rows.items():
            if eon < self.world.eon - 1 or eon in self.world.closed:
                assert order.processed

    def every_owner_can_be_answered(self, eon: int) -> None:
        """Whichever of the states and orders of the eon it shows to the contract."""
        for wallet in self.world.wallets:
            leaf = self.world.leaf(wallet.wallet_id, eon)
            allotted = self.world.allotments.get((wallet.wallet_id, eon), 0)
            assert contract.answers_state(leaf, allotted, 0, 0)
            for state in self.world.states.get((wallet.wallet_id, eon), []):
                assert contract.takes_state(state.spent, state.gained)
                assert contract.answers_state(leaf, allotted, state.spent, state.gained)
        for order in self.world.orders_of(eon):
            debit, credit = (self.world.leaf(side.wallet, eon) for side in (order.debit, order.credit))
            start, answer = (
                next(
                    entry.start
                    for entry in self.world.committed(side.wallet, eon).entries
                    if entry.order == order.tx_id
                )
                for side in (order.debit, order.credit)
            )
            record = contract.challenge(debit, order.amount, order.amount_swapped, start)
            assert record is None or contract.answers(record, credit, answer), order

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert self.world.replayed() == self.world.accounts


TestExchange = Exchange.TestCase
TestExchange.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("seed", range(40))
def test_long_histories(seed: int) -> None:
    """Chosen by chance alone, and denser than the ones above."""
    random = Random(seed)
    exchange = Exchange()
    scale = random.choice([1, 100, 997, 10**6, 10**18 + 7, 2**100])
    exchange.begin(scale, [(random.randint(1, 40), random.randint(0, 5)) for _ in range(OWNERS)])
    exchange.busy_times(seed, 250)
    exchange.an_order_holds_its_wallets_no_longer_than_its_last_eon()
    exchange.teardown()
