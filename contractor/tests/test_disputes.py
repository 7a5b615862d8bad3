"""The hub taken to the contract: every challenge that a user can open, answered by the hub alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command

from contractor import disputes, follower, sender
from contractor.chain import chain
from contractor.errors import ForkTooDeepError
from contractor.models import EthereumTransaction
from contractor.tests import proxy
from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub, signer
from contractor.tests.court import EPOCH, OPEN_ERA, beat, check_won, live, players, settle
from contractor.tests.proxy import Proxy
from heartbeat.tests.drill import Drill
from ledger.models import Challenge
from nocust.addresses import to_checksum

State = EthereumTransaction.State


def answer_as_somebody_else(hub: Hub, player: Player) -> None:
    """Put an answer from an account that is not the operator's into the next block."""
    stranger = signer(2500).address
    hub.node.fund(stranger)
    call = {
        "from": to_checksum(stranger),
        "to": hub.node.contract.address,
        "data": f"0x{chain().answer_state_update(player.proof(hub.status.eon)).hex()}",
        "gas": hex(10**6),
        "gasPrice": hex(10**9),
    }
    hub.node.ask("eth_sendTransaction", call)


def test_challenges_about_states_are_won(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """A wallet that paid, one that was paid, one that did neither, one that registered lately."""
    payer, payee, idle = players(hub, 3)
    transfers = [payer.pay(payee, amount) for amount in (10, 0, 5)]
    late = Player.register(hub, signer(2100))
    late.deposit(7)
    hub.go_to(4, OPEN_ERA)
    first_state = transfers[0].sender_active_state
    assert payer.challenge_state(3, first_state)  # an old state: the answer has gone further
    assert payee.challenge_state(3)
    assert idle.challenge_state(3)
    assert late.challenge_registration()
    assert live(hub, 4) == 4
    settle(hub, 7)
    check_won(hub, 4, 4)
    assert "ALARM challenge lost" not in caplog.text


def test_several_challenges_in_one_block_are_won(hub: Hub) -> None:
    made = players(hub, 4)
    hub.go_to(4, OPEN_ERA)
    for player in made:
        player.challenge_state(3, mine=False)
    hub.node.mine()
    assert live(hub, 4) == 4
    settle(hub, 7)
    check_won(hub, 4, 4)


def test_a_wallet_that_only_received_before_its_first_allotment_is_answered(hub: Hub) -> None:
    payer = players(hub, 1)[0]
    fresh = Player.register(hub, signer(2100))
    payer.pay(fresh, 30)
    fresh.pay(payer, 10)
    hub.go_to(4, OPEN_ERA)
    assert fresh.challenge_registration()
    settle(hub, 7)
    check_won(hub, 4, 1)


@pytest.mark.parametrize("by_sender", [False, True], ids=["the recipient", "the sender"])
@pytest.mark.parametrize("place", ["open", "final", "committed"])
def test_challenges_about_deliveries_are_won(hub: Hub, place: str, by_sender: bool) -> None:
    """A transfer open in the newest state, one made final by a later transfer, one in the checkpoint."""
    payer, payee, other = players(hub, 3)
    other.pay(payee, 3)
    first = payer.pay(payee, 10, nonce=1)
    payer.pay(other, 2)
    last = payer.pay(payee, 10, nonce=2)
    other.pay(payee, 4)
    hub.go_to(4, OPEN_ERA)
    issuer = payer if by_sender else payee
    if place == "open":
        assert issuer.challenge_delivery(payer, last)
    elif place == "final":
        assert issuer.challenge_delivery(payer, first, newest=last)
    else:
        assert issuer.challenge_committed_delivery(payer, 4)
    settle(hub, 7)
    assert Challenge.objects.get().by_sender is by_sender
    check_won(hub, 4, 1)


def test_a_transfer_challenged_while_it_was_open_in_an_old_state_is_answered(hub: Hub) -> None:
    payer, payee = players(hub, 2)
    old = payer.pay(payee, 10)
    payer.pay(payee, 10)
    hub.go_to(4, OPEN_ERA)
    assert payee.challenge_delivery(payer, old)
    settle(hub, 7)
    check_won(hub, 4, 1)


@pytest.mark.parametrize("same_block", [False, True])
@pytest.mark.parametrize("same_transfer", [False, True])
def test_both_parties_challenge(hub: Hub, same_block: bool, same_transfer: bool) -> None:
    """The contract's event does not say whose challenge was answered, and an answer that fits both closes the
    recipient's first."""
    payer, payee = players(hub, 2)
    first, second = payer.pay(payee, 10), payer.pay(payee, 20)
    hub.go_to(4, OPEN_ERA)
    mine = not same_block
    payer.challenge_delivery(payer, first, newest=second, mine=mine)
    payee.challenge_delivery(payer, first if same_transfer else second, newest=second, mine=mine)
    if same_block:
        hub.node.mine()
    assert live(hub, 4) == 2
    settle(hub, 9)
    assert {row.by_sender for row in Challenge.objects.all()} == {False, True}
    check_won(hub, 4, 2)


def test_challenges_wait_for_the_checkpoint_that_answers_them(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """Opened while no checkpoint is visible, as careful clients do."""
    payer, payee = players(hub, 2)
    transfer = payer.pay(payee, 10)
    hub.settle(4)
    hub.node.mine_to_era(4, OPEN_ERA)  # the hub was down
    assert payer.challenge_state(3, transfer.sender_active_state)
    assert payee.challenge_delivery(payer, transfer)
    settle(hub, 9)
    assert "ALARM challenge lost" not in caplog.text
    check_won(hub, 4, 2)


def test_a_challenge_across_the_border_of_eons_is_won(hub: Hub) -> None:
    payer, payee = players(hub, 2)
    payer.pay(payee, 10)
    hub.go_to(4, 12)
    hub.node.mine_to_era(4, BLOCKS_PER_EON - 3)
    assert payee.challenge_state(3)
    settle(hub, 8)
    assert hub.status.eon == 5
    assert Challenge.objects.get().rebuted
    check_won(hub, 5, 0)


def test_an_answer_that_is_mined_is_not_yet_won(hub: Hub) -> None:
    payer, _ = players(hub, 2)
    hub.go_to(4, OPEN_ERA)
    payer.challenge_state(3)
    settle(hub, 4)
    assert live(hub, 4) == 0
    assert not Challenge.objects.get().rebuted
    hub.node.reorganise(1)
    beat(hub)
    assert live(hub, 4) == 1  # the fork lost the answer; it is sent again
    settle(hub, 1)
    assert live(hub, 4) == 0
    settle(hub, 4)
    check_won(hub, 4, 1)


def test_an_answer_of_somebody_else_needs_no_second(hub: Hub) -> None:
    payer, _ = players(hub, 2)
    hub.go_to(4, OPEN_ERA)
    payer.challenge_state(3)
    hub.node.mine(3)
    answer_as_somebody_else(hub, payer)
    hub.node.mine()
    settle(hub, 5)
    assert not EthereumTransaction.objects.filter(kind="answerChallenge", state=State.CONFIRMED).exists()
    check_won(hub, 4, 1)


def test_one_that_cannot_be_answered_stops_no_other(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = players(hub, 3)
    hub.go_to(4, OPEN_ERA)
    for player in (first, second, third):
        player.challenge_state(3, mine=False)
    hub.node.mine()
    hub.node.mine(3)
    hub.beat()
    # the first is about a wallet that this ledger does not know
    Challenge.objects.filter(sender=first.address).update(sender=b"\1" * 20, recipient=b"\1" * 20)
    settle(hub, 8)
    assert live(hub, 4) == 1
    assert Challenge.objects.get(sender=second.address).rebuted
    assert Challenge.objects.get(sender=third.address).rebuted


def test_deadlines_are_the_contracts(hub: Hub) -> None:
    """The last block that the contract takes an answer in, and the one after."""
    first, second = players(hub, 2)
    hub.go_to(4, OPEN_ERA)
    first.challenge_state(3, mine=False)
    second.challenge_state(3, mine=False)
    hub.node.mine()
    hub.node.mine(3)
    hub.beat()
    deadline = Challenge.objects.values_list("deadline", flat=True)[0]
    hub.node.mine(deadline - 1 - hub.node.block)
    answer_as_somebody_else(hub, first)
    hub.node.mine()
    assert (hub.node.block, live(hub, 4)) == (deadline, 1)
    answer_as_somebody_else(hub, second)
    hub.node.mine()
    assert live(hub, 4) == 1


@pytest.mark.alarm("challenge lost")
def test_the_same_payment_challenged_in_two_eons_is_answered_twice(hub: Hub) -> None:
    payer, payee = players(hub, 2)
    first = payer.pay(payee, 1, nonce=1)
    hub.go_to(4, OPEN_ERA)
    assert payee.challenge_delivery(payer, first)
    settle(hub, 7)
    second = payer.pay(payee, 1, nonce=1)
    check_won(hub, 4, 1)
    assert payee.challenge_delivery(payer, second)
    settle(hub, 7)
    check_won(hub, 5, 1)


def test_a_challenge_at_risk_and_then_lost_is_an_alarm(
    hub: Hub, operator: bytes, caplog: pytest.LogCaptureFixture, drill: Drill
) -> None:
    (player,) = players(hub, 1)
    hub.go_to(4, OPEN_ERA)
    player.challenge_state(3)
    hub.node.mine(4)
    hub.node.fund(operator, 0)  # who cannot pay for gas then
    beat(hub)
    assert f"challenge {Challenge.objects.get().pk} " in drill.raised("challenge at risk")
    settle(hub, 2)
    drill.raised("challenge lost")
    assert not Challenge.objects.get().rebuted
    assert live(hub, 4) == 1
    drill.passes("challenge lost", lambda: settle(hub, 1))


def elsewhere(hub: Hub, liar: Proxy, block: int, other_side: bool) -> proxy.Fault:
    """A node on a branch from a block on in which nobody opened a challenge, or the transfer's other party did."""
    parties = [hub.node.contract.address] * 3
    selector = hub.node.contract.encode_abi("getChallengeOf", args=[*parties, False])[:10]
    departing = proxy.forked(block)

    def fault(method: str, parameters: list[Any], answer: Any) -> Any:
        if method != "eth_call" or not parameters[0]["data"].startswith(selector):
            return departing(method, parameters, answer)
        if not other_side:
            return "0x" + "0" * (len(answer) - 2)
        data = parameters[0]["data"]  # which ends with the side
        call = {**parameters[0], "data": data[:-1] + ("1" if data.endswith("0") else "0")}
        return liar.ask(method, call, *parameters[1:])

    return fault


@pytest.mark.parametrize("other_side", [False, True])
def test_a_challenge_outlives_a_deep_fork_that_passes(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture, other_side: bool
) -> None:
    """What the other branch has of it, which the node is on for a while, says neither that it is won nor who opened
    it."""
    payer, payee = players(hub, 2)
    transfer = payer.pay(payee, 10)
    hub.go_to(4, OPEN_ERA)
    assert payer.challenge_delivery(payer, transfer)
    block = hub.node.block
    hub.settle(3)
    liar.fault = elsewhere(hub, liar, block, other_side)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    assert disputes.step() == 0
    row = Challenge.objects.get()
    assert (row.rebuted, row.by_sender) == (False, None)
    liar.fault = None
    settle(hub, 6)
    row.refresh_from_db()
    assert row.by_sender
    check_won(hub, 4, 1)
    assert "ALARM challenge lost" not in caplog.text


def test_a_node_that_comes_back_while_it_is_asked_is_asked_again(hub: Hub, liar: Proxy) -> None:
    (player,) = players(hub, 1)
    hub.go_to(4, OPEN_ERA)
    assert player.challenge_state(3)
    block = hub.node.block
    hub.settle(3)
    gone = elsewhere(hub, liar, block, other_side=False)

    def fault(method: str, parameters: list[Any], answer: Any) -> Any:
        if method == "eth_call":
            liar.fault = None
        return gone(method, parameters, answer)

    liar.fault = fault
    assert disputes.step() == 0
    assert not Challenge.objects.get().rebuted
    settle(hub, 6)
    check_won(hub, 4, 1)


def test_a_win_in_blocks_that_are_not_applied_yet_is_noted_when_they_are(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an outage. It is no reason for an alarm meanwhile, though the deadline is over."""
    (player,) = players(hub, 1)
    hub.go_to(4, OPEN_ERA)
    assert player.challenge_state(3)
    hub.settle(3)
    answer_as_somebody_else(hub, player)
    hub.node.mine(EPOCH)
    assert live(hub, 4) == 0
    assert disputes.step() == 0
    assert not Challenge.objects.get().rebuted
    follower.step()
    disputes.step()
    check_won(hub, 4, 1)
    assert "ALARM challenge lost" not in caplog.text
    assert "ALARM challenge at risk" not in caplog.text


def test_the_operator_sees_challenges_and_deadlines(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    (player,) = players(hub, 1)
    call_command("challenges")
    assert capsys.readouterr().out.endswith("there are no open challenges\n")
    hub.go_to(4, OPEN_ERA)
    player.challenge_state(3)
    hub.node.mine(3)
    beat(hub)
    row = Challenge.objects.get()
    call_command("challenges")
    shown = capsys.readouterr().out
    assert (
        f"answer by block {row.deadline}, {row.deadline - hub.node.block} left; answer/{row.pk}/1 is sent"
        in shown
    )
    settle(hub, 6)
    call_command("challenges", all=True)
    assert (
        f"challenge {row.pk} (block {row.block}, {player.text} in {player.token}): won"
        in capsys.readouterr().out
    )


def test_more_challenges_than_answers_go_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "IN_FLIGHT", 8)
    made = [Player.register(hub, signer(2000 + number)) for number in range(12)]
    for player in made:
        player.send("deposit", player.token, player.text, 10, value=10, mine=False)
    hub.settle()
    hub.go_to(3, 7)
    hub.go_to(4, OPEN_ERA)
    for player in made:
        player.challenge_state(3, mine=False)
    hub.node.mine()
    assert live(hub, 4) == 12
    settle(hub, 8)
    check_won(hub, 4, 12)
