"""Batches of chance: payments, orders and the ends of orders of the same few wallets, in any order, good and bad.

What each command comes to is foreseen when it is signed, as by an owner who sends several at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from uuid import UUID

import pytest

from heartbeat.checks import states_differ
from ledger import engine, store
from ledger.accounts_sql import load_accounts
from ledger.engine import Command, Order, PlaceOrder, Refusal, Transfer
from ledger.models import Event, Outbox
from ledger.orders import StoredOrder, load_orders
from ledger.store import StoredTransfer
from ledger.tests.check_sets import check_sets
from ledger.tests.checks import check_checkpoint, check_ledger, row_counts
from ledger.tests.test_orders import LQD, done, fill, trader
from operator_api.simulation.play import Play
from operator_api.simulation.traders import Trader
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db

EONS, BATCHES, COMMANDS = 3, 10, 10
"""Eons, batches in each, and commands in a batch at most."""


@pytest.fixture
def play() -> Play:
    made = Play()
    made.add_token(LQD, "Liquid", "LQD")
    return made


@dataclass(slots=True)
class Game:
    """Four traders, half of whom begin with the one token and half with the other."""

    play: Play
    random: Random
    traders: list[Trader] = field(init=False)

    def __post_init__(self) -> None:
        funds = self.random.choice([100, 997, 10**20])
        self.traders = [trader(self.play, funds * (1 + who // 2), sells=who % 2) for who in range(4)]

    def wallets(self) -> list[SimulatedWallet]:
        return [wallet for one in self.traders for wallet in (one.debit, one.credit)]

    def accounts(self) -> dict[int, engine.Account]:
        """The wallets' accounts of this eon."""
        found = load_accounts({wallet.wallet_id: wallet.owner for wallet in self.wallets()}, [self.play.eon])
        return {wallet: account for (wallet, eon), account in found.items() if eon == self.play.eon}

    def orders(self) -> dict[UUID, Order]:
        """The orders of the traders who have one, as they are in this eon."""
        owners = {wallet.wallet_id: wallet.owner for wallet in self.wallets()}
        return load_orders([one.tx_id for one in self.traders if one.order], self.play.eon, owners)

    def fill(self) -> None:
        """Two opposite orders trade one for one, which is within the limits of all orders here."""
        orders = self.orders()
        able = [one for one in self.traders if one.order and orders[one.tx_id].is_open]
        pairs = [(one, other) for one in able for other in able if one.debit.token == other.credit.token]
        if pairs:
            taker, maker = self.random.choice(pairs)
            most = min(_left(orders[taker.tx_id]), _left(orders[maker.tx_id]))
            amount = self.random.choice([most, most, -(-most // 3)])
            done(fill(taker, maker, amount, amount))

    def next_eon(self) -> None:
        """Some orders go on; the other ones end."""
        self.play.next_eon()
        orders, accounts = self.orders(), self.accounts()
        for one in self.traders:
            if one.order and not (one.tx_id in orders and orders[one.tx_id].appended):
                one.forget()
            starts = (accounts[wallet.wallet_id].opening for wallet in (one.debit, one.credit))
            one.enter(self.play.eon, *starts)


def _left(order: Order) -> int:
    """What it can still trade one for one."""
    left = order.amount - order.out
    return left if order.sell else min(left, order.amount_swapped - order.got)


def _sides(one: Trader) -> tuple[int, int]:
    return one.debit.wallet_id, one.credit.wallet_id


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a command comes to: a refusal with that code, or an event that subscribers are told of, about the
    transaction with that nonce. A transfer gets the position; an order belongs to `placed` from then on."""

    command: Command
    nonce: int
    told: Event
    code: str
    position: int = 0
    placed: Trader | None = None

    def check(self, outcome: store.Outcome) -> int | None:
        """The row that subscribers are told of, if any."""
        if self.code:
            assert isinstance(outcome, Refusal), (self, outcome)
            assert outcome.code == self.code
            return None
        if isinstance(outcome, StoredTransfer):
            assert (outcome.event.nonce, outcome.event.position) == (self.nonce, self.position)
            return outcome.id
        assert isinstance(outcome, StoredOrder), (self, outcome)
        assert outcome.order.nonce == self.nonce
        if self.placed:
            assert isinstance(self.command, PlaceOrder)
            self.placed.accepted(self.command, outcome.order.tx_id)
        return outcome.order.row


class Batch:
    """Commands of one batch, each of which counts on what those before it come to."""

    def __init__(self, game: Game) -> None:
        self.game, self.random = game, game.random
        self.orders, accounts = game.orders(), game.accounts()
        self.available = {wallet: account.available for wallet, account in accounts.items()}
        self.received = {wallet: account.received for wallet, account in accounts.items()}
        self.before = {wallet.wallet_id: replace(wallet) for wallet in game.wallets()}
        self.held = {wallet for one in game.traders if one.order for wallet in _sides(one)}
        self.foreseen: list[Foreseen] = []

    def pay(self) -> None:
        """Nothing, some, all or too much, sometimes signed in an outdated state, and sometimes by a wallet or to
        one that an order holds."""
        token = self.random.choice(self.game.play.tokens).address
        able = [wallet for wallet in self.game.wallets() if wallet.token == token]
        free = [wallet for wallet in able if wallet.wallet_id not in self.held]
        often = self.random.random() < 0.8 and len(free) > 1
        sender, recipient = self.random.sample(free if often else able, 2)
        signing = self.before[sender.wallet_id] if self.random.random() < 0.3 else sender
        has = self.available[sender.wallet_id]
        amount = self.random.choice([0, has // 3, has, has, has, has + 1])
        checks = {
            "DEBIT_WALLET_CANNOT_ADD_TRANSACTION": sender.wallet_id in self.held,
            "CREDIT_WALLET_CANNOT_ADD_TRANSACTION": recipient.wallet_id in self.held,
            "DEBIT_WALLET_OVERSPENDING": amount > has,
            "INVALID_DEBIT_SIGNATURE": signing != sender,
        }
        command = signing.transfer(recipient.owner, amount)
        if self._add(command, command.nonce, Event.TRANSFER_CONFIRMATION, checks):
            sender.accepted(command, self.received[recipient.wallet_id])
            self.available[sender.wallet_id] -= amount
            self.available[recipient.wallet_id] += amount
            self.received[recipient.wallet_id] += amount

    def place(self) -> None:
        """All that somebody without an order has of the one token, or else of the other, for as much at most."""
        one = self.random.choice(self.game.traders)
        if not self.held.isdisjoint(_sides(one)):
            return
        if not self.available[one.debit.wallet_id]:
            one.debit, one.credit = one.credit, one.debit
            one.debit_start, one.credit_start = one.credit_start, one.debit_start
        amount, other = (self.available[wallet] for wallet in _sides(one))
        if not amount:
            return
        wanted = -(-amount // self.random.choice([1, 2, 3]))
        command = one.place(amount, wanted, self.random.choice([1, 3]), self.random.random() < 0.6)
        checks = {"CREDIT_WALLET_BALANCE_NOT_ZERO": other > 0}
        if self._add(command, command.nonce, Event.SWAP_CONFIRMATION, checks, one):
            self.held.update(_sides(one))

    def end(self) -> None:
        """Finalise, cancel or freeze an order that was there before the batch, not always one that can be."""
        there = [one for one in self.game.traders if one.order]
        if not there:
            return
        one = self.random.choice(there)
        order = self.orders[one.tx_id]
        able = self._finalize if order.complete else self._cancel if order.frozen else self._freeze
        if not order.is_open or self.random.random() < 0.5:
            self.random.choice([able, able, self._freeze, self._cancel, self._finalize])(one, order)

    def _freeze(self, one: Trader, order: Order) -> None:
        checks = {"SWAP_ALREADY_FULFILLED": order.complete, "SWAP_ALREADY_FROZEN": order.frozen}
        if self._add(one.freeze(), order.nonce, Event.SWAP_FREEZING, checks):
            self.orders[order.tx_id] = replace(order, frozen=True)

    def _cancel(self, one: Trader, order: Order) -> None:
        command = one.cancel(order.matched_out, order.matched_in)
        if self._add(command, order.nonce, Event.SWAP_CANCELLATION, {"SWAP_NOT_FROZEN": not order.frozen}):
            self._close(one, order)

    def _finalize(self, one: Trader, order: Order) -> None:
        command, checks = one.finalize(order.matched_in), {"SWAP_NOT_FULFILLED": not order.complete}
        if self._add(command, order.nonce, Event.SWAP_FINALIZATION, checks):
            self._close(one, order)

    def _close(self, one: Trader, order: Order) -> None:
        one.closed(order.matched_out, order.matched_in)
        self.held.difference_update(_sides(one))

    def _add(
        self, command: Command, nonce: int, told: Event, checks: dict[str, bool], placed: Trader | None = None
    ) -> bool:
        """Whether the command will be accepted: none of the checks, each by its code, holds."""
        code = next((code for code, fails in checks.items() if fails), "")
        position = self.received[command.recipient.wallet] if isinstance(command, Transfer) else 0
        self.foreseen.append(Foreseen(command, nonce, told, code, position, placed))
        return not code

    def run(self) -> None:
        """Everything comes as foreseen and is told in the order of the commands; refused ones change nothing."""
        count = self.random.randint(1, COMMANDS)
        for step in self.random.choices([self.pay, self.place, self.end], (4, 3, 4), k=count):
            step()
        last, before = Outbox.objects.latest("id").pk, row_counts()
        outcomes = store.execute([foreseen.command for foreseen in self.foreseen])
        answers = zip(self.foreseen, outcomes, strict=True)
        told = [(one.told, row) for one, outcome in answers if (row := one.check(outcome)) is not None]
        new = Outbox.objects.filter(id__gt=last).order_by("id")
        assert list(new.values_list("event", "object_id")) == told
        assert told or row_counts() == before
        accounts = self.game.accounts()
        assert self.available == {wallet: account.available for wallet, account in accounts.items()}
        assert self.received == {wallet: account.received for wallet, account in accounts.items()}
        check_sets(self.game.play.eon)
        assert states_differ(store.chain_status()) == {}


@pytest.mark.parametrize("seed", range(6))
def test_random_batches(play: Play, seed: int) -> None:
    game = Game(play, Random(seed))
    for _ in range(EONS):
        for _ in range(BATCHES):
            game.fill()
            game.fill()
            Batch(game).run()
        game.next_eon()
        check_ledger()
        check_checkpoint(play.eon)
    kinds = {Event.TRANSFER_CONFIRMATION, Event.SWAP_CANCELLATION, Event.SWAP_FINALIZATION}
    assert kinds <= set(Outbox.objects.values_list("event", flat=True)), "the seed is of no use"
