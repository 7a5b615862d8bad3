"""A hub whose chain side does all that its workers do, a step at a time, with what disputes are about."""

from __future__ import annotations

from django.utils import timezone

from contractor import disputes, sender, slashing
from contractor.models import EthereumTransaction
from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub, signer
from ledger.models import Challenge, RootCommitment

EPOCH = BLOCKS_PER_EON // 4
OPEN_ERA = EPOCH + 1
"""The first era in which the contract takes challenges."""


def beat(hub: Hub) -> None:
    EthereumTransaction.objects.update(retry_at=timezone.now())
    hub.beat()
    disputes.step()
    slashing.slash_overdrawn()
    sender.step()


def settle(hub: Hub, blocks: int = 6) -> None:
    for _ in range(blocks):
        hub.node.mine()
        beat(hub)


def live(hub: Hub, eon: int) -> int:
    return int(hub.node.contract.functions.getLiveChallenges(eon).call())


def players(hub: Hub, count: int, funds: int = 100) -> list[Player]:
    """Wallets with deposits, at the start of eon 3, the first that they hold allotments in."""
    made = [Player.register(hub, signer(2000 + number)) for number in range(count)]
    for player in made:
        player.deposit(funds)
    hub.settle()
    hub.go_to(3, 7)
    return made


def challenger(hub: Hub) -> Player:
    """A wallet with a deposit of 100 that has just challenged its state of eon 3, as early as can be."""
    made = Player.register(hub, signer(2000))
    made.deposit(100)
    hub.settle()
    hub.go_to(4, OPEN_ERA)
    assert made.challenge_state(3)
    return made


def check_won(hub: Hub, eon: int, count: int) -> None:
    assert live(hub, eon) == 0
    rows = Challenge.objects.filter(eon_number=eon)
    assert [row.rebuted for row in rows] == [True] * count
    hub.go_to(eon + 1, OPEN_ERA)
    assert not hub.status.halted
    assert RootCommitment.objects.filter(eon_number=eon + 1).exists()
    assert hub.node.contract.functions.lastSubmissionEon().call() == eon + 1
