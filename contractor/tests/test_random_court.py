"""Owners who pay, trade and withdraw by chance, also more than they have, and then challenge all that they can: the
hub wins every challenge, and the contract always holds what checkpoints allot."""

from __future__ import annotations

from random import Random

import pytest

from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub
from contractor.tests.court import OPEN_ERA, live, settle
from contractor.tests.exchange import Dealer
from contractor.tests.test_withdrawals import request
from ledger import store
from ledger.engine import Command, Fill, Order, PlaceOrder, Transfer
from ledger.models import (
    Challenge,
    DelegatedWithdrawal,
    ExclusiveBalanceAllotment,
    Token,
    TokenCommitment,
    WithdrawalRequest,
)
from ledger.models import Transfer as Row
from ledger.orders import StoredOrder, load_orders
from ledger.store import StoredTransfer
from ledger.tests.checks import check_checkpoint, check_ledger
from transactor.services import delegate_withdrawal

DEALERS, LAST_EON, ACTS = 8, 6, 25
FUNDS = (7, 100, 1000, 10**6)


class Game:
    """Dealers, half of whom begin with the one token and half with the other. What they try may be refused."""

    def __init__(self, hub: Hub, seed: int) -> None:
        self.hub, self.random = hub, Random(seed)
        tokens = [hub.ether, Token.objects.get(trail=1)]
        self.dealers = []
        for number in range(DEALERS):
            sells, buys = tokens[number % 2], tokens[1 - number % 2]
            funds = self.random.choice(FUNDS)
            self.dealers.append(Dealer.register(hub, 2000 + number, sells, buys, funds))
        hub.settle()
        hub.go_to(3, OPEN_ERA)
        for dealer in self.dealers:
            dealer.enter(goes_on=False)

    def players(self) -> list[Player]:
        return [player for dealer in self.dealers for player in (dealer.debit, dealer.credit)]

    def play(self) -> None:
        acts = [self.pay, self.place, self.fill, self.end, self.withdraw, self.delegate]
        for act in self.random.choices(acts, (2, 4, 4, 3, 2, 1), k=ACTS):
            act(self.random.choice(self.dealers))

    # ---- off chain -----------------------------------------------------------------------------------------------

    def pay(self, dealer: Dealer) -> None:
        player = self.random.choice([dealer.debit, dealer.credit])
        token = player.wallet.token
        others = [one for one in self.players() if one.wallet.token == token and one is not player]
        has = max(self.hub.available(player.wallet), 0)
        amount = self.random.choice([0, has // 3, has // 2, has])
        marker = self.random.choice([0, (has - amount) // 2, has - amount])
        command = player.owner.transfer(self.random.choice(others).owner.owner, amount, marker)
        outcome = self._try(command)
        if isinstance(outcome, StoredTransfer):
            assert isinstance(command, Transfer)
            player.owner.accepted(command, outcome.event.position)

    def place(self, dealer: Dealer) -> None:
        """All that the one wallet has, or else the other."""
        if dealer.trader.order is not None:
            return
        if self.hub.available(dealer.debit.wallet) <= 0:
            dealer.debit, dealer.credit = dealer.credit, dealer.debit
            trader = dealer.trader
            trader.debit, trader.credit = trader.credit, trader.debit
            trader.debit_start, trader.credit_start = trader.credit_start, trader.debit_start
        amount = self.hub.available(dealer.debit.wallet)
        if amount <= 0:
            return
        wanted = self.random.choice([1, -(-amount // 3), -(-amount // 2), amount])
        eons, sell = self.random.choice([1, 2, 4]), self.random.random() < 0.7
        command: PlaceOrder = dealer.trader.place(amount, wanted, eons, sell)
        outcome = self._try(command)
        if isinstance(outcome, StoredOrder):
            dealer.trader.accepted(command, outcome.order.tx_id)
            dealer.orders.append(str(outcome.order.tx_id))

    def fill(self, _: Dealer) -> None:
        """Two opposite orders trade at any price; the ledger refuses one beyond their limits."""
        able = [(one, order) for one in self.dealers if (order := self.order(one)) and order.is_open]
        pairs = [(one, other) for one in able for other in able if _opposite(one[0], other[0])]
        if not pairs:
            return
        (taker, order), (maker, other) = self.random.choice(pairs)
        gives = self.random.choice([order.amount - order.out, -(-(order.amount - order.out) // 3)])
        gets = min(self.random.choice([other.amount - other.out, gives]), other.amount - other.out)
        wallets = (taker.debit, taker.credit, maker.debit, maker.credit)
        owners = tuple(player.owner.owner for player in wallets)
        self._try(Fill(taker.trader.tx_id, maker.trader.tx_id, gives, gets, owners))

    def end(self, dealer: Dealer) -> None:
        order = self.order(dealer)
        if order is None:
            return
        trader = dealer.trader
        out, got = order.matched_out, order.matched_in
        if order.complete:
            closing: Command = trader.finalize(got)
        else:
            self._try(trader.freeze())
            closing = trader.cancel(out, got)
        if self.random.random() < 0.7 and isinstance(self._try(closing), StoredOrder):
            trader.closed(out, got)

    def order(self, dealer: Dealer) -> Order | None:
        """Its order, as it is in this eon."""
        if dealer.trader.order is None:
            return None
        owners = {player.wallet.pk: player.owner.owner for player in (dealer.debit, dealer.credit)}
        return load_orders([dealer.trader.tx_id], self.hub.status.eon, owners).get(dealer.trader.tx_id)

    def _try(self, command: Command) -> store.Outcome | None:
        try:
            (outcome,) = store.execute([command])
        except ValueError:
            return None
        return outcome

    # ---- on chain ------------------------------------------------------------------------------------------------

    def withdraw(self, dealer: Dealer) -> None:
        """Of the contract, which does not know what was spent since."""
        player = self.random.choice([dealer.debit, dealer.credit])
        eon = self.hub.node.eon
        rows = ExclusiveBalanceAllotment.objects.filter(wallet=player.wallet, eon_number=eon - 1)
        has = sum(row.right - row.left for row in rows)
        if has:
            request(self.hub.node, player.wallet, self.random.choice([1, has // 2 + 1, has]), eon)
            if self.random.random() < 0.5 and self._left() > 2:
                settle(self.hub, 1)

    def delegate(self, dealer: Dealer) -> None:
        player = self.random.choice([dealer.debit, dealer.credit])
        status, has = self.hub.status, self.hub.available(player.wallet)
        expiry = status.first_block_of(status.eon + 1) - 1
        pending = DelegatedWithdrawal.objects.filter(wallet=player.wallet, state="pending")
        made = WithdrawalRequest.objects.filter(wallet=player.wallet, eon_number=status.eon, slashed=False)
        known = sum(int(row.amount) for rows in (pending, made) for row in rows)
        if has > 0:
            amount = self.random.choice([has // 2 + 1, has])
            signature = player.owner.delegation(amount, expiry, known)
            delegate_withdrawal(player.owner.owner, amount, expiry, signature)

    def _left(self) -> int:
        """Blocks until the eon ends."""
        status = self.hub.status
        return status.first_block_of(status.eon + 1) - self.hub.node.block

    def next_eon(self) -> None:
        """Some withdraw in the last block, and some pay before that is known and the checkpoint made."""
        hub, eon = self.hub, self.hub.status.eon + 1
        hub.node.mine_to_era(eon - 1, BLOCKS_PER_EON - 2)
        hub.beat()
        for _ in range(4):
            self.withdraw(self.random.choice(self.dealers))
        hub.node.mine_to_era(eon, 0)
        hub.beat()
        for player in self.players():
            player.owner.enter(eon)
        for _ in range(4):
            self.pay(self.random.choice(self.dealers))
        settle(hub, OPEN_ERA)
        check_ledger()
        check_checkpoint(eon)
        assert not TokenCommitment.objects.filter(shortfall__gt=0).exists()
        for dealer in self.dealers:
            self._enter(dealer, eon)

    def _enter(self, dealer: Dealer, eon: int) -> None:
        """As `Dealer.enter`, but for what was paid in the eon already."""
        goes_on = Row.objects.filter(tx_id__in=dealer.orders[-1:], eon_number=eon, appended=True).exists()
        wallets = (dealer.debit.owner, dealer.credit.owner)
        paid = [(wallet.spent, wallet.closed) for wallet in wallets]
        dealer.enter(goes_on)
        if not goes_on:
            for wallet, (spent, closed) in zip(wallets, paid, strict=True):
                wallet.spent, wallet.closed = spent, closed

    def challenge(self) -> None:
        eon = self.hub.status.eon
        issued = 0
        for dealer in self.dealers:
            dealer.challenged = self.random.choice([0, -1])
            issued += dealer.challenge_all(eon - 1)
        self.hub.node.mine()
        assert live(self.hub, eon) == issued
        settle(self.hub, 9)
        assert not Challenge.objects.filter(rebuted=False).exists()
        assert live(self.hub, eon) == 0


def _opposite(one: Dealer, other: Dealer) -> bool:
    return bool(one.debit.wallet.token == other.credit.wallet.token)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_random_owners_lose_every_challenge(hub: Hub, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    game = Game(hub, seed)
    for eon in range(4, LAST_EON + 1):
        game.play()
        game.next_eon()
        game.challenge()
        assert (hub.status.eon, hub.status.halted) == (eon, False)
    assert "ALARM overdraft" not in caplog.text
    assert WithdrawalRequest.objects.filter(slashed=True).exists(), "the seed is of no use"
