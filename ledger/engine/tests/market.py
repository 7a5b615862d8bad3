"""A ledger in memory with orders, which keeps of each wallet and eon what its owner could show to the contract."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from ledger.engine import (
    Account,
    ChainEffect,
    Command,
    Deposit,
    Event,
    Facts,
    Fill,
    Filled,
    Key,
    Moved,
    Order,
    OrderCancelled,
    OrderCarried,
    OrderEon,
    OrderFinalized,
    OrderPlaced,
    Owner,
    PlaceOrder,
    Refusal,
    RequestWithdrawal,
    SignedState,
    Transferred,
    apply,
    carry_over,
    orders_after,
)
from ledger.engine.tests import contract
from ledger.engine.tests.world import CONTRACT, World
from nocust.leaves import COMPLETE_START, OPEN_POSITION, swap_leaf, transfer_leaf
from nocust.merkle import MerkleTree, verify_membership
from nocust.messages import active_state_hash
from nocust.signatures import is_valid

TOKENS = (CONTRACT, bytes.fromhex("e982e462b094850f12af94d21d470e21be9d0e9c"), b"\3" * 20)


@dataclass(frozen=True)
class Entry:
    """An entry of a set: its leaf; of an order, which one and the start balance in the leaf."""

    leaf: bytes
    order: UUID | None = None
    start: int = 0


@dataclass(frozen=True)
class Signed:
    """A state that the operator signed."""

    spent: int
    gained: int
    entries: tuple[Entry, ...]


@dataclass
class Market(World):
    """`rows` are the orders by id and eon, `plans` what was signed when they were placed, `totals` what they gave
    and got. Of an order in `bad_from` the owner did not sign the eons from that one on.

    `sets` are the entries of each wallet's set in their final form, `states` what the operator signed, the newest
    in force; `allotments` what the checkpoints allot, `on_chain` the eons' (deposits, requests) as the contract
    counts them, `written_off` the debts that a checkpoint forgave, with the number of events before."""

    rows: dict[tuple[UUID, int], Order] = field(default_factory=dict)
    plans: dict[UUID, OrderPlaced] = field(default_factory=dict)
    bad_from: dict[UUID, int] = field(default_factory=dict)
    allotments: dict[Key, int] = field(default_factory=dict)
    on_chain: dict[Key, tuple[int, int]] = field(default_factory=lambda: defaultdict(lambda: (0, 0)))
    totals: dict[UUID, tuple[int, int]] = field(default_factory=lambda: defaultdict(lambda: (0, 0)))
    written_off: list[tuple[int, int, Owner]] = field(default_factory=list)
    sets: dict[Key, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    states: dict[Key, list[Signed]] = field(default_factory=lambda: defaultdict(list))

    @property
    def facts(self) -> Facts:
        held = {
            wallet
            for (_, eon), row in self.rows.items()
            if eon == self.eon and not row.processed
            for wallet in (row.debit.wallet, row.credit.wallet)
        }
        orders: dict[UUID, Order] = {}
        for (tx_id, eon), row in sorted(self.rows.items(), key=lambda item: item[0][1]):
            if eon >= self.eon:
                orders.setdefault(tx_id, row)
        return replace(super().facts, ordered=held, orders=orders)

    def on_market(self) -> list[Order]:
        """The orders in force in the latest eon."""
        return [row for (_, eon), row in self.rows.items() if eon == self.eon and row.appended]

    # ---- what happens -------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> Event | Refusal:
        before = dict(self.rows)
        outcome = super().submit(command)
        if isinstance(outcome, Refusal):
            assert self.rows == before
            return outcome
        if isinstance(outcome, OrderPlaced):
            outcome = self._number(outcome)
        self._note(outcome)
        if isinstance(command, ChainEffect):
            self._count(command)
        elif isinstance(command, Fill):
            self._trade(command)
        elif isinstance(command, PlaceOrder):
            used = range(command.eon, command.eon + len(command.debit_signatures))
            self.nonces |= {(command.debit.wallet, eon, command.nonce) for eon in used}
        return outcome

    def _number(self, event: OrderPlaced) -> OrderPlaced:
        """With the identity that a store gives it, and with its rows of later eons."""
        number = len(self.plans) + 1
        tx_id = UUID(int=number)
        event = replace(event, order=replace(event.order, tx_id=tx_id, row=number))
        self.events[-1] = event
        self.plans[tx_id] = event
        for eon in event.eons[1:]:
            later = eon.fulfillment
            self.rows[tx_id, later.eon] = replace(
                event.order,
                eon=later.eon,
                fulfillment=(later.spent, later.gained, later.tx_set_hash),
                appended=False,
            )
        return event

    def _count(self, command: ChainEffect) -> None:
        key = (command.owner.wallet, command.eon)
        deposits, requests = self.on_chain[key]
        if isinstance(command, Deposit):
            deposits += command.amount
        else:
            requests += command.amount if isinstance(command, RequestWithdrawal) else -command.amount
        self.on_chain[key] = deposits, requests

    def _trade(self, command: Fill) -> None:
        taker, maker = (self.rows[tx_id, self.eon] for tx_id in command.orders)
        for order, gave, got in (
            (taker, command.taker_gives, command.maker_gives),
            (maker, command.maker_gives, command.taker_gives),
        ):
            self.wealth[order.debit.wallet] -= gave
            self.wealth[order.credit.wallet] += got
            out, into = self.totals[order.tx_id]
            self.totals[order.tx_id] = out + gave, into + got

    def close_eon_before(self) -> None:
        """The checkpoint: balances are allotted, debts written off, and orders go on or end."""
        ended = self.eon - 1
        super().close_eon_before()
        for wallet in self.wallets:
            key = (wallet.wallet_id, self.eon)
            left = self.account(wallet.owner, ended).available
            self.allotments[key] = max(left, 0)
            if left < 0:
                self.wealth[wallet.wallet_id] -= left
                self.deposited[wallet.token] -= left
                self.accounts[key] = replace(self.account(wallet.owner, self.eon), opening=0)
                self.written_off.append((len(self.events), self.eon, wallet.owner))
        for (tx_id, eon), row in list(self.rows.items()):
            if eon == self.eon and not row.processed and not row.appended:
                self._carry(self.rows[tx_id, ended], row)
        for (tx_id, eon), row in list(self.rows.items()):
            if eon == ended and not row.processed:
                self.rows[tx_id, eon] = replace(row, processed=True, frozen=False)

    def _carry(self, before: Order, row: Order) -> None:
        if self.bad_from.get(row.tx_id, row.eon + 1) <= row.eon:
            row = replace(row, voided=True)
        view = self.view((row.debit, row.credit), [])
        event = carry_over(view, before, row, self.rules)
        out, got = self.totals[row.tx_id]
        debit, credit = (self.allotments[owner.wallet, row.eon] for owner in (row.debit, row.credit))
        willing = before.is_open and not (row.frozen or row.voided)
        assert isinstance(event, OrderCarried) == (willing and debit >= row.amount - out and credit >= got)
        if isinstance(event, OrderCarried):
            self.accounts.update(apply(view, event))
        self.events.append(event)
        self.moments.append(self.eon)
        self._note(event)

    # ---- what the owners can show -------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        """Keep up rows, sets and states, and check each state against the history."""
        if isinstance(event, Transferred):
            self._note_transfer(event)
            return
        if isinstance(event, Moved):
            return
        for order in orders_after(event):
            self.rows[order.tx_id, order.eon] = order
            if order.complete or order.processed or order.frozen:
                self._change_later(order)
        if isinstance(event, OrderPlaced | OrderCarried):
            self._note_begun(event.order)
        elif isinstance(event, Filled):
            for side in (event.taker, event.maker):
                self._note_filled(side.order, side.fulfilled)
        elif isinstance(event, OrderCancelled):
            self._note_closed(event.order, event.debit, event.credit)
        elif isinstance(event, OrderFinalized):
            self._note_closed(event.order, None, event.credit)

    def _change_later(self, order: Order) -> None:
        over = order.complete or order.processed
        for (tx_id, eon), row in list(self.rows.items()):
            if tx_id == order.tx_id and eon > order.eon and not row.processed:
                self.rows[tx_id, eon] = replace(row, frozen=order.frozen, voided=over, processed=over)

    def _note_transfer(self, event: Transferred) -> None:
        key, to = (event.sender.wallet, event.eon), event.recipient
        opened, final = (
            Entry(transfer_leaf(to.address, event.amount, to.trail, event.nonce, position))
            for position in (OPEN_POSITION, event.position)
        )
        self._sign(key, event, opened)
        self.sets[key].append(final)

    def _note_begun(self, order: Order) -> None:
        """In the first eon leaves start from the real balances; later ones were signed for the whole amount."""
        plan = self.plans[order.tx_id]
        eon = self._plan_of(order)
        first = plan.order.eon == order.eon
        for owner, state, start in (
            (order.debit, eon.debit, order.amount),
            (order.credit, eon.credit, 0),
        ):
            key = (owner.wallet, order.eon)
            opening = self.accounts[key].opening
            self._sign(key, state, entry(order, opening if first else start))
            self.sets[key].append(entry(order, opening))

    def _note_filled(self, order: Order, fulfilled: bytes | None) -> None:
        if not order.complete:
            assert fulfilled is None
            return
        key = (order.credit.wallet, order.eon)
        self.sets[key].pop()
        if fulfilled is not None:
            state = self._plan_of(order).fulfillment
            assert state.message == fulfilled
            self._sign(key, state, entry(order, COMPLETE_START))
        self.sets[key].append(entry(order, COMPLETE_START))

    def _note_closed(self, order: Order, debit: SignedState | None, credit: SignedState) -> None:
        for state, start in ((debit, self.accounts[order.debit.wallet, order.eon].opening), (credit, None)):
            if state is not None:
                key = (state.owner.wallet, order.eon)
                self.sets[key].pop()
                last = entry(order, COMPLETE_START if start is None else start)
                self._sign(key, state, last)
                self.sets[key].append(last)

    def _plan_of(self, order: Order) -> OrderEon:
        plan = self.plans[order.tx_id]
        return plan.eons[order.eon - plan.order.eon]

    def _sign(self, key: Key, state: SignedState | Transferred, last: Entry) -> None:
        """The operator signs a state in which the newest entry of the set is `last`."""
        entries = (*self.sets[key], last)
        tree = MerkleTree([known.leaf for known in entries])
        owner = state.sender if isinstance(state, Transferred) else state.owner
        assert (owner.wallet, state.eon) == key
        assert (state.tx_set_hash, state.tx_set_index) == (tree.root, len(entries) - 1)
        assert verify_membership(state.tx_set_index, state.tx_set_proof, last.leaf, tree.root)
        message = active_state_hash(
            CONTRACT, owner.token, owner.address, owner.trail, state.eon, tree.root, state.spent, state.gained
        )
        assert state.message == message
        assert is_valid(message, state.signature, owner.address)
        self.states[key].append(Signed(state.spent, state.gained, entries))

    # ---- the contract -------------------------------------------------------------------------------------------

    def committed(self, wallet: int, eon: int) -> Signed:
        """The state of the eon in the next checkpoint; of a wallet that did nothing, an empty one."""
        states = self.states.get((wallet, eon))
        return states[-1] if states else Signed(0, 0, ())

    def leaf(self, wallet: int, eon: int) -> contract.Leaf:
        """A wallet's eon as the contract reads it in the next checkpoint."""
        committed = self.committed(wallet, eon)
        account = self.accounts.get((wallet, eon))
        deposits, requests = self.on_chain.get((wallet, eon), (0, 0))
        return contract.Leaf(
            self.allotments[wallet, eon + 1],
            committed.spent,
            committed.gained,
            0 if account is None else account.received,
            deposits,
            requests,
        )

    def orders_of(self, eon: int) -> Iterable[Order]:
        """All orders that were in force in an eon."""
        return [row for (_, at), row in self.rows.items() if at == eon and row.appended]

    # ---- replay -------------------------------------------------------------------------------------------------

    def replayed(self) -> dict[Key, Account]:
        """The accounts that the events alone lead to, with what the checkpoints wrote off."""
        replay = Market(self.wallets)
        write_offs = list(self.written_off)
        for number, (eon, event) in enumerate(zip(self.moments, self.events, strict=True)):
            replay._write_off(write_offs, number)
            replay.eon = eon
            eons = [event.eon] if isinstance(event, Moved) else []
            replay.accounts.update(apply(replay.view(_owners(event), eons), event))
        replay._write_off(write_offs, len(self.events))
        return replay.accounts

    def _write_off(self, write_offs: list[tuple[int, int, Owner]], number: int) -> None:
        while write_offs and write_offs[0][0] <= number:
            _, eon, owner = write_offs.pop(0)
            self.accounts[owner.wallet, eon] = replace(self.account(owner, eon), opening=0)


def _owners(event: Event) -> list[Owner]:
    if isinstance(event, Transferred):
        return [event.sender, event.recipient]
    if isinstance(event, Moved):
        return [event.owner]
    return [owner for order in orders_after(event) for owner in (order.debit, order.credit)]


def entry(order: Order, start: int) -> Entry:
    """An order's entry in a set."""
    leaf = swap_leaf(
        order.debit.token,
        order.credit.token,
        order.credit.trail,
        order.amount,
        order.amount_swapped,
        start,
        order.nonce,
    )
    return Entry(leaf, order.tx_id, start)
