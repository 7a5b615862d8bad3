"""The commands of owners, strangers and the chain, for orders in a ledger in memory, each with the outcome that it
must have."""

from __future__ import annotations

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ledger.engine import (
    CancelOrder,
    CancelWithdrawal,
    Deposit,
    Fill,
    Filled,
    FinalizeOrder,
    Order,
    OrderCancelled,
    OrderFinalized,
    OrderFrozen,
    OrderPlaced,
    PlaceOrder,
    Refusal,
    RequestWithdrawal,
    Transferred,
)
from ledger.engine.tests.market import TOKENS, Market
from ledger.engine.tests.world import CONTRACT
from nocust.matching import Book
from nocust.matching_orders import Order as BookOrder
from nocust.matching_orders import within_limits
from nocust.signatures import Signer
from operator_api.simulation.traders import Trader
from operator_api.simulation.wallets import SimulatedWallet

OWNERS = 6
WALLETS = OWNERS * len(TOKENS)
DIRECTIONS = [(who, shift) for who in range(WALLETS) for shift in (1, 2)]
"""A wallet that gives, and how many tokens on the one stands that receives."""
pick = st.integers(min_value=0, max_value=WALLETS - 1)
amounts = st.one_of(
    st.integers(min_value=1, max_value=20),
    st.integers(min_value=1, max_value=10**6),
    st.sampled_from([1, 99, 100, 101, 10**18, 10**18 + 7, 2**112]),
)
PARTS = (0, 1, 3, 6, 11, 12, 12)
"""Twelfths."""
shares = st.sampled_from(PARTS)
ratios = st.one_of(
    st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 1), (1, 3)]),
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
)


class Trading(RuleBasedStateMachine):
    """Six owners with a wallet in each of three tokens."""

    @initialize(
        scale=st.sampled_from([1, 100, 997, 10**6, 10**18 + 7, 2**100]),
        funds=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), min_size=OWNERS, max_size=OWNERS),
    )
    def begin(self, scale: int, funds: list[tuple[int, int]]) -> None:
        """Half of the owners have the one token, half another one, about as much."""
        wallets = []
        for number in range(OWNERS):
            signer = Signer((number + 1).to_bytes(32, "big"))
            for place, token in enumerate(TOKENS):
                wallet = SimulatedWallet(signer, CONTRACT, token)
                wallet.wallet_id, wallet.trail = 100 * place + number + 1, number
                wallet.enter(1)
                wallets.append(wallet)
        self.world = Market(wallets)
        self.traders: dict[UUID, Trader] = {}
        self.nonce = 0
        self.effects = False
        for number, (units, odd) in enumerate(funds):
            self.deposit(number * len(TOKENS) + number % 2, units * scale + odd, late=False)

    # --- the chain -------------------------------------------------------------------------------------------
    @rule(who=pick, amount=amounts, late=st.booleans())
    def deposit(self, who: int, amount: int, late: bool) -> None:
        """By the owner, or by a stranger."""
        owner = self.world.wallets[who].owner
        self._effect(Deposit(owner, self._effect_eon(late), amount))

    @rule(who=pick)
    def deposit_a_wei(self, who: int) -> None:
        self.deposit(who, 1, late=False)

    @rule(who=pick, share=st.integers(min_value=1, max_value=4), late=st.booleans())
    def request_withdrawal(self, who: int, share: int, late: bool) -> None:
        """As much of the allotment of the checkpoint before as the contract grants, spent or not."""
        owner, eon = self.world.wallets[who].owner, self._effect_eon(late)
        allotted = self.world.allotments.get((owner.wallet, eon - 1), 0)
        requested = sum(self.world.on_chain.get((owner.wallet, at), (0, 0))[1] for at in (eon - 1, eon))
        amount = max(allotted - requested, 0) * share // 4
        if amount:
            self._effect(RequestWithdrawal(owner, eon, amount))

    @rule(who=pick)
    def cancel_requests(self, who: int) -> None:
        """All of the eon, and of the one before while its ledger is open."""
        owner = self.world.wallets[who].owner
        for eon in {self.world.eon, self._effect_eon(late=True)}:
            amount = self.world.on_chain.get((owner.wallet, eon), (0, 0))[1]
            if amount:
                assert not isinstance(self.world.submit(CancelWithdrawal(owner, eon, amount)), Refusal)

    def _effect_eon(self, late: bool) -> int:
        """The eon before, while its ledger is open and nothing of this one was seen; else the latest."""
        before = self.world.eon - 1
        return before if late and not self.effects and before not in self.world.closed else self.world.eon

    def _effect(self, command: Deposit | RequestWithdrawal) -> None:
        assert not isinstance(self.world.submit(command), Refusal)
        self.effects |= command.eon == self.world.eon

    @rule(who=pick, share=st.integers(0, 2))
    def reserve(self, who: int, share: int) -> None:
        """Something set aside for a withdrawal on its way, or nothing."""
        wallet = self.world.wallets[who].wallet_id
        self.world.reserved[wallet] = max(self.world.wealth[wallet], 0) * share // 4

    # --- eons ------------------------------------------------------------------------------------------------
    @rule(between=st.lists(st.tuples(st.integers(0, 5), pick, st.integers(1, 3)), max_size=4))
    def next_eon(self, between: list[tuple[int, int, int]]) -> None:
        """What may happen between the eon's first block and its checkpoint, then the checkpoint."""
        self.world.enter_next_eon()
        self.effects = False
        for kind, who, number in between:
            if kind == 0:
                self.deposit(who, number, late=True)
            elif kind == 1:
                self.request_withdrawal(who, number, late=True)
            elif kind == 2:
                self.cancel_requests(who)
            elif kind == 3:
                self.freeze([who % 8])
            elif kind == 4:
                self.pay(who, number, number)
            else:
                self.place([(who, (1, 1), number, True, 0)])
        self.world.close_eon_before()
        for order in self.world.on_market():
            trader = self.traders[order.tx_id]
            starts = [self.world.account(wallet.owner, self.world.eon).opening for wallet in _sides(trader)]
            trader.enter(self.world.eon, *starts)
        self.every_owner_can_be_answered(self.world.eon - 1)

    # --- transfers -------------------------------------------------------------------------------------------
    @rule(who=pick, distance=st.integers(1, OWNERS - 1), share=st.integers(0, 4))
    def pay(self, who: int, distance: int, share: int) -> None:
        sender = self._client(who)
        recipient = self.world.wallets[(who + distance * len(TOKENS)) % WALLETS]
        self.nonce += 1
        spendable = self._spendable(sender)
        command = sender.transfer(recipient.owner, max(spendable, 0) * share // 4, 0, self.nonce)
        outcome = self.world.submit(command)
        if isinstance(outcome, Refusal):
            held = {sender.wallet_id, recipient.wallet_id} & set(self.world.facts.ordered)
            assert held or spendable < 0 or outcome.code.endswith("EXCEEDED_SLA"), outcome
            return
        assert isinstance(outcome, Transferred)
        sender.accepted(command, outcome.position)

    def _client(self, who: int) -> SimulatedWallet:
        return self.world.client(self.world.wallets[who])

    def _spendable(self, wallet: SimulatedWallet) -> int:
        return self.world.wealth[wallet.wallet_id] - self.world.reserved.get(wallet.wallet_id, 0)

    # --- orders ----------------------------------------------------------------------------------------------
    @rule(
        orders=st.lists(
            st.tuples(
                st.integers(0, 2 * WALLETS), ratios, st.integers(1, 5), st.booleans(), st.integers(0, 12)
            ),
            min_size=1,
            max_size=6,
        )
    )
    def place(self, orders: list[tuple[int, tuple[int, int], int, bool, int]]) -> None:
        """Each of all that a wallet has, mostly by owners who can; others are refused. The owner may have signed
        later eons badly, which is found out before them."""
        for which, ratio, eons, sell, bad in orders:
            able = [(who, shift) for who, shift in DIRECTIONS if self._can_place(who, shift)]
            able = [
                (who, shift) for who, shift in able if {who % 3, _other(who, shift) % 3} == {0, 1}
            ] or able
            who, shift = able[which % len(able)] if able and which < WALLETS else (which % WALLETS, 1)
            trader = self._trader(who, shift)
            amount = self._spendable(trader.debit)
            if amount > 0:
                wanted = max(amount * ratio[0] // ratio[1], 1)
                self.nonce += 1
                self._place(trader, trader.place(amount, wanted, eons, sell, self.nonce), bad)

    def _can_place(self, who: int, shift: int) -> bool:
        debit = self.world.wallets[who]
        credit = self.world.wallets[_other(who, shift)]
        held = self.world.facts.ordered & {debit.wallet_id, credit.wallet_id}
        return not held and self._spendable(debit) > 0 and self.world.wealth[credit.wallet_id] == 0

    def _place(self, trader: Trader, command: PlaceOrder, bad: int) -> None:
        refusal = self._why_not_placed(command)
        outcome = self.world.submit(command)
        if refusal is not None:
            assert isinstance(outcome, Refusal)
            assert outcome.code == refusal
            return
        assert isinstance(outcome, OrderPlaced), outcome
        tx_id = UUID(int=len(self.world.plans))
        trader.accepted(command, tx_id)
        self.traders[tx_id] = trader
        if 0 < bad < len(command.debit_signatures):
            self.world.bad_from[tx_id] = self.world.eon + bad

    def _trader(self, who: int, shift: int) -> Trader:
        debit = self._client(who)
        credit = self._client(_other(who, shift))
        starts = [self.world.account(wallet.owner, self.world.eon).opening for wallet in (debit, credit)]
        return Trader(debit, credit, starts[0], starts[1])

    def _why_not_placed(self, command: PlaceOrder) -> str | None:
        facts, debit, credit = self.world.facts, command.debit.wallet, command.credit.wallet
        checks = {
            "EON_NUMBER_OUT_OF_SYNC": self.world.eon - 1 not in self.world.closed,
            "DEBIT_WALLET_CANNOT_ADD_TRANSACTION": debit in facts.ordered,
            "CREDIT_WALLET_CANNOT_ADD_TRANSACTION": credit in facts.ordered,
            "CREDIT_WALLET_BALANCE_NOT_ZERO": self.world.wealth[credit] != 0,
        }
        return next((code for code, fails in checks.items() if fails), None)

    @rule(who=pick, shift=st.integers(1, len(TOKENS) - 1), over=st.sampled_from([-1, 1]))
    def place_another_amount(self, who: int, shift: int, over: int) -> None:
        trader = self._trader(who, shift)
        amount = self._spendable(trader.debit) + over
        if amount > 0:
            self.nonce += 1
            outcome = self.world.submit(trader.place(amount, amount, 1, nonce=self.nonce))
            assert isinstance(outcome, Refusal)

    @rule(takers=st.lists(st.integers(0, 7), min_size=1, max_size=6))
    def match(self, takers: list[int]) -> None:
        """Orders take from the book what crosses them."""
        for which in takers:
            order = self._choose(which, self._matchable())
            if order is not None:
                self._match(order)

    def _match(self, order: Order) -> None:
        book = Book()
        for other in self._matchable():
            if self._opposite(order, other):
                book.add(1, _book_order(other))
        orders = {one.row: one for one in self.world.on_market()}
        for fill in book.take(0, _book_order(order)):
            outcome = self._fill(orders[fill.taker], orders[fill.maker], fill.taker_gives, fill.maker_gives)
            if isinstance(outcome, Refusal):
                assert outcome.code == "DEBIT_WALLET_OVERSPENDING"
                return
            assert isinstance(outcome, Filled)
            complete = (fill.taker_complete, fill.maker_complete)
            assert (outcome.taker.order.complete, outcome.maker.order.complete) == complete

    @rule(
        fills=st.lists(
            st.tuples(st.integers(0, 7), st.integers(0, 7), shares, shares), min_size=1, max_size=6
        )
    )
    def fill(self, fills: list[tuple[int, int, int, int]]) -> None:
        """Orders trade at any price that is within both limits, better ones included."""
        for which, other, given, bonus in fills:
            taker = self._choose(which, [one for one in self._matchable() if self._partners(one)])
            if taker is None:
                return
            maker = self._choose(other, self._partners(taker))
            assert maker is not None
            paid_for = _most(maker, taker) * taker.amount // taker.amount_swapped
            gives = min(_most(taker, maker), paid_for) * given // 12
            least = -(-gives * taker.amount_swapped // taker.amount)
            most = min(_most(maker, taker), gives * maker.amount // maker.amount_swapped)
            gets = least + max(most - least, 0) * bonus // 12
            if _within(taker, gives, gets) and _within(maker, gets, gives):
                self._fill(taker, maker, gives, gets)

    def _partners(self, order: Order) -> list[Order]:
        return [one for one in self._matchable() if self._opposite(order, one)]

    def _fill(self, taker: Order, maker: Order, gives: int, gets: int) -> object:
        """Refused only where an owner withdrew what it had offered."""
        owners = (taker.debit, taker.credit, maker.debit, maker.credit)
        before = dict(self.world.accounts)
        taker, maker = (self.world.rows[one.tx_id, self.world.eon] for one in (taker, maker))
        wealth = self.world.wealth
        short = any(wealth[one.debit.wallet] < one.amount - one.out for one in (taker, maker))
        outcome = self.world.submit(Fill(taker.tx_id, maker.tx_id, gives, gets, owners))
        assert isinstance(outcome, Refusal) == short, outcome
        for one in (taker, maker):
            key = (one.debit.wallet, self.world.eon)
            assert self.world.accounts[key].available >= min(before[key].available, 0)
        return outcome

    def _matchable(self) -> list[Order]:
        if self.world.eon - 1 not in self.world.closed:
            return []
        return [order for order in self.world.on_market() if order.is_open]

    @staticmethod
    def _opposite(one: Order, other: Order) -> bool:
        return (one.debit.token, one.credit.token) == (other.credit.token, other.debit.token)

    @staticmethod
    def _choose(which: int, orders: list[Order]) -> Order | None:
        return orders[which % len(orders)] if orders else None

    def _live(self) -> list[Order]:
        """Those that are not ended yet."""
        return [order for order in self.world.facts.orders.values() if not order.processed]

    def _in_force(self) -> list[Order]:
        return [order for order in self._live() if order.appended]

    @rule(which=st.lists(st.integers(0, 7), min_size=1, max_size=2))
    def freeze(self, which: list[int]) -> None:
        for one in which:
            order = self._choose(one, self._live())
            if order is None:
                return
            outcome = self.world.submit(self.traders[order.tx_id].freeze())
            if order.complete or order.frozen:
                assert isinstance(outcome, Refusal)
            else:
                assert isinstance(outcome, OrderFrozen), outcome

    @rule(which=st.integers(0, 7), frozen=st.booleans())
    def cancel(self, which: int, frozen: bool) -> None:
        """A frozen one; or one that is frozen for it."""
        order = self._choose(which, [one for one in self._in_force() if not one.complete])
        if order is None:
            return
        trader = self.traders[order.tx_id]
        if not order.frozen and frozen:
            self.world.submit(trader.freeze())
            order = self.world.rows[order.tx_id, order.eon]
        command: CancelOrder = trader.cancel(order.matched_out, order.matched_in)
        outcome = self.world.submit(command)
        if not order.frozen:
            assert isinstance(outcome, Refusal)
            assert outcome.code == "SWAP_NOT_FROZEN"
            return
        assert isinstance(outcome, OrderCancelled), outcome
        trader.closed(order.matched_out, order.matched_in)

    @rule(which=st.integers(0, 7))
    def finalize(self, which: int) -> None:
        """A complete one, if there is any."""
        orders = self._in_force()
        order = self._choose(which, [one for one in orders if one.complete] or orders)
        if order is None:
            return
        trader = self.traders[order.tx_id]
        command: FinalizeOrder = trader.finalize(order.matched_in)
        outcome = self.world.submit(command)
        if not order.complete:
            assert isinstance(outcome, Refusal)
            assert outcome.code == "SWAP_NOT_FULFILLED"
            return
        assert isinstance(outcome, OrderFinalized), outcome
        trader.closed(order.matched_out, order.matched_in)

    def every_owner_can_be_answered(self, eon: int) -> None:
        """Whichever of the states and orders of the eon it shows to the contract."""
        raise NotImplementedError


def _other(who: int, shift: int) -> int:
    """The wallet of the same owner in another token."""
    return who // len(TOKENS) * len(TOKENS) + (who + shift) % len(TOKENS)


def _sides(trader: Trader) -> tuple[SimulatedWallet, SimulatedWallet]:
    return trader.debit, trader.credit


def _book_order(order: Order) -> BookOrder:
    return BookOrder(
        order.row, order.row, order.amount, order.amount_swapped, order.sell, order.out, order.got
    )


def _within(order: Order, gives: int, gets: int) -> bool:
    bought = order.sell or order.got + gets <= order.amount_swapped
    return bought and within_limits(order, order.out + gives, order.got + gets)


def _most(giver: Order, taker: Order) -> int:
    """What an order may give to another one."""
    room = 2**256 if taker.sell else taker.amount_swapped - taker.got
    return min(giver.amount - giver.out, room)
