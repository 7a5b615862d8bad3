"""Deep forks about cancellations: what was cancelled on the new branch is given back once, and nothing else is."""

from __future__ import annotations

import pytest

from contractor import follower
from contractor.errors import ForkTooDeepError
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.court import settle
from contractor.tests.test_forks import fork, resolve
from contractor.tests.test_slashing import request, slashes
from ledger.models import WithdrawalRequest
from ledger.tests.checks import check_ledger


@pytest.fixture
def thief(hub: Hub) -> Player:
    """It spent 60 of 100, requested 60 after the checkpoint of the next eon, and that is cancelled."""
    made = [Player.register(hub, signer(2000 + number)) for number in range(2)]
    for player in made:
        player.deposit(100)
    hub.settle()
    hub.go_to(3, 7)
    made[0].pay(made[1], 60, marker=40)
    hub.node.mine_to_era(4, 0)
    settle(hub, 5)
    request(made[0], 60)
    settle(hub, 4)
    hub.node.mine(3)
    settle(hub, 1)
    assert standing() == {60: False}
    assert hub.available(made[0].wallet) == 40
    return made[0]


def standing() -> dict[int, bool]:
    """Whether requests stand, by their amounts."""
    return {int(row.amount): not row.slashed for row in WithdrawalRequest.objects.all()}


def test_what_was_requested_after_a_cancellation_stands_when_blocks_are_read_again(
    hub: Hub, thief: Player, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is the cancellation taken for another one."""
    (attempt,) = slashes()[0].attempts.all()
    assert attempt.mined is not None
    request(thief, 20)
    settle(hub, 4)
    assert standing() == {60: False, 20: True}
    depth = hub.node.block - attempt.mined + 1
    hub.node.ask("anvil_rollback", depth)
    hub.node.ask("anvil_dropAllTransactions")
    hub.node.ask("evm_increaseTime", hex(7))
    hub.node.ask("eth_sendRawTransaction", "0x" + bytes(attempt.signed_attempt).hex())
    hub.node.mine()
    request(thief, 20)
    hub.node.mine(depth)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    assert "1 rows move" in resolve("--apply")
    settle(hub, 3)
    assert standing() == {60: False, 20: True}
    assert hub.available(thief.wallet) == 20
    assert "ALARM slash differs" not in caplog.text
    check_ledger()


def test_of_two_cancellations_the_one_that_is_missing_is_undone(hub: Hub, thief: Player) -> None:
    request(thief, 50)
    settle(hub, 4)
    hub.node.mine(3)
    settle(hub, 1)
    assert standing() == {60: False, 50: False}
    fork(hub, 6)
    assert "the request of 50" in resolve("--apply")
    assert standing() == {60: False, 50: True}
    assert hub.available(thief.wallet) == -10
    settle(hub, 5)
    assert standing() == {60: False, 50: False}
    assert hub.available(thief.wallet) == 40
    check_ledger()
