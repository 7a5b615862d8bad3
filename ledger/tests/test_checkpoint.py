"""Checkpoints: every wallet's proof verifies, money is conserved, a second run changes nothing."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from ledger.checkpoint import UnbalancedLedgerError, create_checkpoint
from ledger.models import Account, Deposit, ExclusiveBalanceAllotment, RootCommitment, TokenCommitment
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db


def test_balances_move_into_the_next_checkpoint() -> None:
    play = Play()
    alice, bob, carol = play.register(3)
    play.deposit(alice, 100)
    play.pay(alice, bob, 30)
    play.pay(alice, carol, 5)
    play.pay(bob, carol, 10)
    play.next_eon()
    sizes = ExclusiveBalanceAllotment.objects.filter(eon_number=2).order_by("wallet_id")
    assert [row.right - row.left for row in sizes] == [0, 65, 20, 15]
