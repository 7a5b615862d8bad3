"""Requests that take more than there is: cancelled with the marker that does it, and never against a checkpoint."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from django.utils import timezone

from contractor import checkpoints, disputes, follower, sender, slashing
from contractor.builders import ImpossibleError, NotYetError, SupersededError, build
from contractor.chain import chain
from contractor.errors import NodeRefusedError
from contractor.models import EthereumTransaction
from contractor.tests.challenger import Player, chains
from contractor.tests.conftest import BLOCKS_PER_EON, Hub, signer
from contractor.tests.court import OPEN_ERA, beat, live, settle
from heartbeat.tests.drill import Drill
from ledger.checkpoint import create_checkpoint
from ledger.models import (
    Challenge,
    ExclusiveBalanceAllotment,
    MinimumAvailableBalance,
    RootCommitment,
    Token,
    WithdrawalRequest,
)
from ledger.tests.racing import Running
from nocust.encoding import ZERO_HASH

FEE = 100_100 * 5 * 10**9
State = EthereumTransaction.State


def request(player: Player, amount: int) -> None:
    """The owner's own request, with the proof of the checkpoint before the contract's eon."""
    eon = player.hub.node.web3.eth.block_number + 1
    eon = player.hub.status.eon_of(eon) - 1
    proof = player.proof(eon)
    allotment = proof.allotment
    assert player.send(
        "requestWithdrawal",
        player.token,
        [player.active(proof), allotment.passive_checksum or ZERO_HASH],
        player.wallet.trail_identifier,
        *chains(proof),
        [
            [allotment.left, allotment.right],
            [allotment.passive_amount, allotment.passive_marker],
        ],
        amount,
        value=FEE,
    )


def overdraw(hub: Hub, thief: Player, victim: Player) -> None:
    """At the end of eon 3 the thief requests 70, of 100 of which it has paid 60."""
    thief.pay(victim, 60, marker=40)
    hub.node.mine_to_era(3, BLOCKS_PER_EON - 2)
    beat(hub)
    request(thief, 70)


def without_sending(hub: Hub) -> list[EthereumTransaction]:
    """A beat in which no transaction gets out; the cancellations."""
    follower.step()
    checkpoints.create_due_checkpoint()
    slashing.slash_overdrawn()
    return slashes()


def slashes() -> list[EthereumTransaction]:
    return list(EthereumTransaction.objects.filter(kind="slashWithdrawal").order_by("id"))


@pytest.fixture
def thief(hub: Hub) -> Player:
    made = Player.register(hub, signer(2000))
    made.deposit(100)
    return made


@pytest.fixture
def victim(hub: Hub, thief: Player) -> Player:
    made = Player.register(hub, signer(2001))
    made.deposit(100)
    hub.settle()
    hub.go_to(3, OPEN_ERA)
    return made


def test_the_smallest_marker_that_still_counts_is_used(hub: Hub, thief: Player, victim: Player) -> None:
    thief.pay(victim, 10, marker=90)
    thief.pay(victim, 10, marker=70)
    hub.go_to(4, OPEN_ERA)
    thief.pay(victim, 10, marker=65)
    thief.pay(victim, 20, marker=50)
    victim.pay(thief, 40)
    thief.pay(victim, 5, marker=85)
    hub.go_to(5, OPEN_ERA)
    marker = slashing.smallest_marker(thief.wallet, 5)
    assert marker is not None
    assert (marker.eon_number, marker.amount) == (4, 50)
    request(thief, 60)
    settle(hub)
    assert hub.available(thief.wallet) == 25  # covered
    assert slashes() == []
    thief.pay(victim, 25)
    request(thief, 20)
    settle(hub, 8)
    assert [row.slashed for row in WithdrawalRequest.objects.order_by("id")] == [True] * 2
    assert hub.available(thief.wallet) == 60
    assert [row.state for row in slashes()] == [State.CONFIRMED]


def test_a_marker_older_than_three_eons_cancels_nothing(hub: Hub, thief: Player, victim: Player) -> None:
    thief.pay(victim, 10, marker=3)
    for eon, expected in ((3, 3), (4, 3), (5, 3), (6, None)):
        marker = slashing.smallest_marker(thief.wallet, eon)
        assert (marker.amount if marker else None) == expected


def test_a_marker_counts_the_requests_of_its_own_eon(hub: Hub, thief: Player, victim: Player) -> None:
    """What was left when it was signed is requested twice, the second time in the last block of the next eon."""
    thief.pay(victim, 50, marker=50)
    request(thief, 50)
    settle(hub)
    hub.go_to(4, OPEN_ERA)
    hub.node.mine_to_era(4, BLOCKS_PER_EON - 2)
    beat(hub)
    request(thief, 50)
    hub.node.mine(3)
    follower.step()
    case = slashing.overdraft(thief.wallet, 5)
    assert case is not None
    assert (case.missing, case.oldest_eon) == (50, 4)
    assert case.marker is not None
    assert (case.marker.eon_number, case.marker.amount) == (3, 50)


def test_honest_requests_of_the_eon_before_survive_the_cancellation(
    hub: Hub, thief: Player, victim: Player
) -> None:
    """The contract cancels both eons' requests while the latest checkpoint is missing."""
    request(thief, 30)
    settle(hub)
    hub.node.mine_to_era(4, 1)
    beat(hub)
    assert hub.available(thief.wallet) == 70
    thief.pay(victim, 60, marker=0)
    request(thief, 60)
    hub.node.mine(3)
    (row,) = without_sending(hub)
    assert row.arguments["oldest_eon"] == 4
    with pytest.raises(NotYetError):
        build(chain(), row)
    settle(hub, 10)
    slashed = {made.amount: made.slashed for made in WithdrawalRequest.objects.all()}
    assert slashed == {30: False, 60: True}
    assert hub.available(thief.wallet) == 10
    hub.go_to(5, OPEN_ERA)
    assert thief.challenge_state(4)
    settle(hub, 7)
    assert Challenge.objects.get().rebuted


@pytest.mark.alarm("late cancellation")
def test_no_cancellation_is_sent_against_a_checkpoint(
    hub: Hub, thief: Player, victim: Player, drill: Drill
) -> None:
    """Its checkpoint was made without it, since it could not be sent in time."""
    overdraw(hub, thief, victim)
    hub.node.mine(4)
    for era in (BLOCKS_PER_EON // 2, BLOCKS_PER_EON // 2 + 1):
        (waiting,) = without_sending(hub)
        assert (waiting.arguments["oldest_eon"], waiting.state) == (3, State.QUEUED)
        assert not RootCommitment.objects.filter(eon_number=4).exists()
        hub.node.mine_to_era(4, era)
    (row,) = without_sending(hub)
    assert RootCommitment.objects.filter(eon_number=4).exists()
    row.refresh_from_db()
    assert row.state == State.FAILED
    with pytest.raises(ImpossibleError):
        build(chain(), row)
    settle(hub, 5)
    assert not WithdrawalRequest.objects.filter(slashed=True).exists()
    assert "checkpoint 4 is late" in drill.raised("late cancellation")
    drill.passes("late cancellation", lambda: settle(hub, 1))


def test_a_node_that_refuses_for_a_while_does_not_end_a_cancellation(
    hub: Hub, thief: Player, victim: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract would take it; the checkpoint waits."""
    overdraw(hub, thief, victim)
    hub.node.mine(4)

    def refuse(*_: Any) -> int:
        raise NodeRefusedError("gas estimate: the node says: limit exceeded")

    with monkeypatch.context() as patched:
        patched.setattr(chain().node, "estimate_gas", refuse)
        for _ in range(2 * slashing.PATIENCE):
            beat(hub)
        (row,) = slashes()
        assert (row.state, row.refusals) == (State.QUEUED, 2 * slashing.PATIENCE)
        assert not RootCommitment.objects.filter(eon_number=4).exists()
    settle(hub, 10)
    assert WithdrawalRequest.objects.get().slashed
    assert RootCommitment.objects.get(eon_number=4).tokens.get(token=hub.ether).shortfall == 0


@pytest.mark.alarm("late cancellation", "overdraft")
def test_what_was_requested_since_is_cancelled_after_a_checkpoint_without_cancellation(
    hub: Hub, thief: Player, victim: Player
) -> None:
    """The requests of the eon before stand; those of this one need not."""
    overdraw(hub, thief, victim)
    hub.node.mine()
    follower.step()
    request(thief, 20)
    hub.node.mine(4)
    (given_up,) = without_sending(hub)
    hub.node.mine_to_era(4, BLOCKS_PER_EON // 2 + 1)
    without_sending(hub)
    given_up.refresh_from_db()
    assert given_up.state == State.FAILED
    settle(hub, 8)
    slashed = {made.amount: made.slashed for made in WithdrawalRequest.objects.all()}
    assert slashed == {70: False, 20: True}
    assert hub.available(thief.wallet) == 0


@pytest.mark.alarm("late cancellation")
def test_a_checkpoint_that_an_open_challenge_needs_does_not_wait(
    hub: Hub, thief: Player, victim: Player, drill: Drill
) -> None:
    """A challenge opened as early as can be is lost as soon as half of the eon is over."""
    other = Player.register(hub, signer(2002), Token.objects.get(trail=1))
    overdraw(hub, thief, victim)
    hub.node.mine_to_era(4, OPEN_ERA - 1)
    (waiting,) = without_sending(hub)
    assert other.challenge_registration()
    while without_sending(hub) == [waiting] and not RootCommitment.objects.filter(eon_number=4).exists():
        hub.node.mine()
    assert live(hub, 4) == 1
    beat(hub)
    settle(hub, 8)
    assert Challenge.objects.get().rebuted
    assert not WithdrawalRequest.objects.filter(slashed=True).exists()
    assert "checkpoint 4 is late" in drill.raised("late cancellation")
    drill.passes("late cancellation", lambda: settle(hub, 1))


def test_a_cancellation_on_its_way_holds_the_checkpoint_back(
    hub: Hub, thief: Player, victim: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    overdraw(hub, thief, victim)
    hub.node.mine(4)
    hub.beat()
    (row,) = slashes()
    assert row.state == State.SENT
    monkeypatch.setattr(checkpoints, "LONGEST_WAIT", 10**6)  # it is late at once
    assert checkpoints.create_due_checkpoint() == 0
    settle(hub, 8)
    assert WithdrawalRequest.objects.get().slashed
    allotment = ExclusiveBalanceAllotment.objects.get(wallet=thief.wallet, eon_number=4)
    assert allotment.right - allotment.left == 40
    hub.node.mine_to_era(4, OPEN_ERA + 4)
    assert thief.challenge_state(3)
    settle(hub, 7)
    assert Challenge.objects.get().rebuted


def test_an_overdraft_that_got_covered_is_left_alone(hub: Hub, thief: Player, victim: Player) -> None:
    thief.pay(victim, 60, marker=40)
    request(thief, 70)
    hub.node.mine(3)
    later = timezone.now().replace(year=2100)
    hub.beat()
    slashing.slash_overdrawn()
    EthereumTransaction.objects.update(retry_at=later)
    (row,) = slashes()
    victim.pay(thief, 30)
    with pytest.raises(SupersededError):
        build(chain(), row)


@pytest.mark.alarm("overdraft")
def test_an_overdraft_without_marker_is_an_alarm_and_can_be_made_good(
    hub: Hub, thief: Player, victim: Player, operator: bytes, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    """The checkpoint then allots more than there is, so that the contract refuses every proof, until somebody
    sends it what is missing."""
    thief.pay(victim, 60, marker=40)
    MinimumAvailableBalance.objects.all().delete()
    request(thief, 70)
    settle(hub, 4)
    assert slashes() == []
    text = drill.raised("overdraft")
    assert "withdraws 30 of" in text
    assert "it signed no balance marker" in text
    hub.go_to(4, OPEN_ERA)
    beat(hub)
    assert "ALARM overdraft: checkpoint 4 allots 30 of" in caplog.text
    assert victim.challenge_state(3)
    hub.node.mine(3)
    beat(hub)
    (row,) = disputes.answers(Challenge.objects.get())
    assert (row.state, row.note) == (State.QUEUED, "the contract refuses the call: b")
    transfer: dict[str, Any] = {
        "from": hub.node.web3.eth.accounts[0],
        "to": hub.node.contract.address,
        "value": hex(30),
    }
    hub.node.ask("eth_sendTransaction", {**transfer, "gas": hex(50_000), "gasPrice": hex(10**9)})
    settle(hub, 5)
    assert Challenge.objects.get().rebuted
    victim.pay(thief, 25)  # whose debt is written off: the contract does not know of it
    hub.go_to(5, OPEN_ERA)
    assert thief.challenge_state(4)
    settle(hub, 7)
    assert list(Challenge.objects.values_list("rebuted", flat=True)) == [True, True]
    hub.go_to(6, OPEN_ERA)
    assert hub.available(thief.wallet) == 25
    assert not hub.status.halted
    drill.passes("overdraft", lambda: settle(hub, 1))


def test_money_spent_after_the_eon_of_a_late_request_is_saved(
    hub: Hub, thief: Player, victim: Player
) -> None:
    """Requested in an eon's last block and spent in the next one's first, before the request is confirmed: neither
    eon alone is overdrawn by what happened in it."""
    hub.node.mine_to_era(3, BLOCKS_PER_EON - 2)
    beat(hub)
    request(thief, 60)
    hub.node.mine()
    beat(hub)
    assert hub.status.eon == 4
    thief.pay(victim, 100)
    settle(hub, 10)
    assert WithdrawalRequest.objects.get().slashed
    assert hub.available(thief.wallet) == 0
    assert hub.available(victim.wallet) == 200
    hub.go_to(5, OPEN_ERA)
    assert thief.challenge_state(4)
    assert victim.challenge_state(4)
    settle(hub, 7)
    assert list(Challenge.objects.values_list("rebuted", flat=True)) == [True, True]
    assert not hub.status.halted


@pytest.mark.alarm("late cancellation")
@pytest.mark.django_db(transaction=True)
def test_no_cancellation_is_sent_while_a_checkpoint_is_made(
    hub: Hub, thief: Player, victim: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was queued after the checkpoint had given up those that wait."""
    overdraw(hub, thief, victim)
    hub.node.mine(4)
    follower.step()
    begun, end, make = Event(), Event(), create_checkpoint

    def slowly(eon: int, head: int) -> RootCommitment:
        begun.set()
        assert end.wait(30)
        return make(eon, head)

    monkeypatch.setattr(checkpoints, "_must_wait", lambda *_: False)
    monkeypatch.setattr(checkpoints, "create_checkpoint", slowly)
    making = Running(checkpoints.create_due_checkpoint)
    try:
        assert begun.wait(30)
        assert slashing.slash_overdrawn() == 1
        sender.step()
    finally:
        end.set()
    assert making.outcome() == 1
    (row,) = slashes()
    assert row.state == State.QUEUED
    hub.node.give(30)  # what the contract lacks now
    settle(hub, 6)
    row.refresh_from_db()
    assert row.state == State.FAILED
    assert chain().checkpoint(4) is not None
    hub.node.mine_to_era(4, OPEN_ERA + 5)
    assert thief.challenge_state(3)
    settle(hub, 8)
    assert Challenge.objects.get().rebuted
