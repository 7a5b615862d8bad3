"""Random flows through the store, with checkpoints: every proof verifies, money is conserved, and what is refused
leaves no row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from django.db import transaction

from ledger import engine, store
from ledger.accounts_sql import load_accounts
from ledger.directory import owner_of
from ledger.engine import Refusal
from ledger.models import Account, ExclusiveBalanceAllotment, RootCommitment, Wallet, WithdrawalRequest
from ledger.tests.checks import account_rows, check_checkpoint, check_ledger, row_counts
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db
EONS = 4
STEPS = 30
"""Actions an eon."""


class Flow:
    """A play with two tokens and random actions."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.play = Play()
        self.play.add_token(b"\x11" * 20, "Token", "TOK")
        self.players = [player for token in self.play.tokens for player in self.play.register(4, token)]
        for player in self.players:
            self.play.deposit(player, self.random.choice([0, 100, 10**21, 2**112 - 1]))

    def step(self) -> None:
        actions: list[Callable[[], None]] = [
            *[self.pay] * 8,
            *[self.hostile] * 4,
            self.deposit,
            self.deposit_before_registering,
            *[self.request_withdrawal] * 2,
            self.slash,
        ]
        self.random.choice(actions)()

    def pair(self) -> tuple[SimulatedWallet, SimulatedWallet]:
        sender = self.random.choice(self.players)
        others = [other for other in self.players if other.token == sender.token and other is not sender]
        return sender, self.random.choice(others)

    def spendable(self, player: SimulatedWallet) -> int:
        accounts = load_accounts({player.wallet_id: player.owner}, [self.play.eon])
        return accounts[player.wallet_id, self.play.eon].available

    def pay(self) -> None:
        sender, recipient = self.pair()
        spendable = self.spendable(sender)
        outcome = self.play.pay(sender, recipient, max(spendable, 0) * self.random.randint(0, 4) // 4)
        assert isinstance(outcome, Refusal) == (spendable < 0)

    def hostile(self) -> None:
        sender, recipient = self.pair()
        if sender.eon != self.play.eon:
            sender.enter(self.play.eon)
        spendable = max(self.spendable(sender), 0)
        stranger = next(other for other in self.players if other.token != sender.token)
        commands = [
            sender.transfer(recipient.owner, spendable + 1),
            sender.transfer(recipient.owner, spendable // 2, marker=spendable - spendable // 2 + 1),
            sender.transfer(sender.owner, 0),
            sender.transfer(stranger.owner, 0),
            replace(sender.transfer(recipient.owner, 0), eon=sender.eon - 1),
            replace(sender.transfer(recipient.owner, 0), eon=sender.eon + 1),
            replace(sender.transfer(recipient.owner, 0), signature=bytes(65)),
            replace(sender.transfer(recipient.owner, 0), nonce=7),
        ]
        counts, rows = row_counts(), account_rows()
        (outcome,) = store.execute([self.random.choice(commands)])
        assert isinstance(outcome, Refusal)
        assert (row_counts(), account_rows()) == (counts, rows)

    def deposit(self) -> None:
        self.play.deposit(self.random.choice(self.players), self.random.randint(0, 1000), self.effect_eon())

    def deposit_before_registering(self) -> None:
        token = self.random.choice(self.play.tokens)
        player = SimulatedWallet.create(self.play.contract, token.address)
        self.play.deposit(player, self.random.randint(1, 1000), self.effect_eon())
        if self.random.random() < 0.7:
            self.play.admit([player], token)
            self.players.append(player)

    def request_withdrawal(self) -> None:
        """Of a part of what the wallet was allotted, so that it may be spent already."""
        player = self.random.choice(self.players)
        allotments = ExclusiveBalanceAllotment.objects.filter(wallet=player.wallet_id)
        newest = allotments.order_by("-eon_number").first()
        allotted = 0 if newest is None else newest.right - newest.left
        amount = allotted * self.random.randint(1, 3) // 3
        self.play.request_withdrawal(player, amount, self.effect_eon())

    def slash(self) -> None:
        """Cancel a request of an eon that is not closed: there it is given back."""
        oldest = self.play.eon
        if not RootCommitment.objects.filter(eon_number=oldest).exists():
            oldest -= 1
        request = WithdrawalRequest.objects.filter(slashed=False, eon_number__gte=oldest).first()
        if request is not None:
            slash(request, request.eon_number)

    def effect_eon(self) -> int:
        """The latest eon, or the one before while its ledger is open."""
        eon = self.play.eon
        still_open = eon > 1 and not RootCommitment.objects.filter(eon_number=eon).exists()
        return eon - 1 if still_open and self.random.random() < 0.5 else eon


def slash(request: WithdrawalRequest, eon: int) -> None:
    """The chain cancelled a request, in an eon."""
    wallet = Wallet.objects.select_related("token").get(withdrawal_requests=request)
    with transaction.atomic():
        request.slashed, request.slashed_eon_number = True, eon
        request.save()
        store.run([engine.CancelWithdrawal(owner_of(wallet), eon, request.amount)])


@pytest.mark.parametrize("seed", range(8))
def test_random_flow(seed: int) -> None:
    flow = Flow(seed)
    for _ in range(EONS):
        for _ in range(STEPS):
            flow.step()
        check_ledger()
        closing = flow.play.enter_next_eon()
        for _ in range(STEPS // 3):
            flow.step()
        flow.play.close_eon()
        check_ledger()
        for eon in range(1, closing + 1):
            check_checkpoint(eon)
    assert Account.objects.filter(spent__gt=0).exists()
