"""What a deep fork took away and comes again, in the next eon or after the fork was resolved without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import CommandError
from django.db import transaction

from contractor import follower, resync
from contractor.errors import ForkTooDeepError
from contractor.models import Resync
from contractor.tests.challenger import Player
from contractor.tests.conftest import BLOCKS_PER_EON, Hub, signer
from contractor.tests.court import OPEN_ERA, challenger, check_won, live
from contractor.tests.court import settle as settle_disputes
from contractor.tests.test_forks import fork, resolve
from contractor.tests.test_withdrawals import deposited, request, settle
from ledger.models import Challenge, Deposit, RootCommitment, WithdrawalRequest
from ledger.tests.checks import check_ledger
from nocust.addresses import to_checksum
from nocust.signatures import Signer


def turned(hub: Hub, act: Callable[[Player], object]) -> list[Player]:
    """Two wallets with deposits, of which the second does something in an eon's last blocks that a deep fork takes
    away. The eon's ledger is not closed."""
    made = [Player.register(hub, signer(2000 + number)) for number in range(2)]
    for player in made:
        player.deposit(100)
    hub.settle()
    hub.go_to(3, BLOCKS_PER_EON - 6)
    act(made[1])
    hub.node.mine(3)
    hub.beat()
    fork(hub, 4)
    hub.node.mine_to_era(4, 0)
    return made


def check_defended(hub: Hub, made: list[Player], amounts: list[int]) -> None:
    """Every challenge of these wallets is won."""
    for eon in (4, 5):
        hub.go_to(eon, OPEN_ERA)
        assert [hub.available(player.wallet) for player in made] == amounts
        for player in made:
            assert player.challenge_state(eon - 1)
        settle_disputes(hub, 7)
        assert live(hub, eon) == 0
    assert not hub.status.halted


def test_a_deposit_that_comes_again_in_the_next_eon_is_another_one(hub: Hub) -> None:
    """The contract counts it there: a checkpoint that has it before allots more than there is."""
    made = turned(hub, lambda player: player.deposit(50))
    made[1].deposit(50)
    hub.node.mine(4)
    with pytest.raises(CommandError, match="not in the same eon of the new branch"):
        resolve("--apply")
    hub.node.give(50)
    hub.node.mine()
    with pytest.raises(CommandError, match="say --covered"):
        resolve("--apply")
    assert "stays credited" in resolve("--apply", "--covered")
    check_defended(hub, made, [100, 200])
    check_ledger()


def test_a_deposit_that_waits_for_a_wallet_moves_to_the_next_eon(hub: Hub) -> None:
    stranger = to_checksum(signer(2900).address)

    def deposit(player: Player) -> None:
        assert player.send("deposit", player.token, stranger, 50, value=50)

    made = turned(hub, deposit)
    deposit(made[1])
    hub.node.mine(4)
    assert "1 rows move" in resolve("--apply")
    assert Deposit.objects.get(wallet=None).eon_number == 4
    check_defended(hub, made, [100, 100])
    check_ledger()


def test_a_request_that_comes_again_in_the_next_eon_is_debited_there(hub: Hub) -> None:
    def withdraw(player: Player) -> None:
        request(hub.node, player.wallet, 30, eon=hub.node.eon)
        hub.node.mine()

    made = turned(hub, withdraw)
    withdraw(made[1])
    hub.node.mine(4)
    assert "is given back" in resolve("--apply")
    check_defended(hub, made, [100, 70])
    assert [row.slashed for row in WithdrawalRequest.objects.order_by("id")] == [True, False]


def test_a_request_that_is_mined_again_after_it_was_given_back_is_debited(hub: Hub, alice: Signer) -> None:
    """The same transaction, at the same place of another block."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, 8)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    known = WithdrawalRequest.objects.get()
    fork(hub, 5)
    hub.node.mine(4)
    resolve("--apply")
    settle(hub, 2)
    assert hub.available(wallet) == 100
    request(hub.node, wallet, 30, eon=3)
    settle(hub, 5)
    again = WithdrawalRequest.objects.get(slashed=False)
    assert (again.txid, again.log_index) == (known.txid, known.log_index)
    assert hub.available(wallet) == 70
    with transaction.atomic():
        resync.ask(known.block)
    resync.run()
    row = Resync.objects.get()
    assert (row.missing, row.invented) == (0, 0)


def test_what_a_fork_took_away_is_nothing_to_the_next_one(hub: Hub, alice: Signer) -> None:
    """A request that was given back is no cancelled one, and what it was cancelled by is not missing."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, OPEN_ERA)
    request(hub.node, wallet, 30, eon=3)
    settle(hub)
    fork(hub, 5)
    hub.node.mine(4)
    assert "is given back" in resolve("--apply")
    settle(hub, 4)
    hub.node.pay(alice.address)  # so that the branches differ
    settle(hub, 5)
    fork(hub, 5)
    hub.node.mine(4)
    assert "nothing that was applied changes" in resolve("--apply")
    settle(hub, 2)
    assert hub.available(wallet) == 100


def test_a_challenge_that_is_mined_again_after_it_was_none_is_won(hub: Hub) -> None:
    """The same transaction, at the same place of another block."""
    player = challenger(hub)
    hub.settle(3)
    known = Challenge.objects.get()
    fork(hub, 4)
    hub.node.mine(3)
    resolve("--apply")
    settle_disputes(hub, 2)
    assert player.challenge_state(3)
    settle_disputes(hub, 8)
    again = Challenge.objects.exclude(pk=known.pk).get()
    assert (again.txid, again.log_index) == (known.txid, known.log_index)
    check_won(hub, 4, 2)


def test_a_request_that_a_checkpoint_counts_on_and_that_is_none_is_told(
    hub: Hub, alice: Signer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its owner can challenge the checkpoint, and there is no answer."""
    wallet = deposited(hub, alice, 100)
    hub.go_to(3, BLOCKS_PER_EON - 4)
    request(hub.node, wallet, 30, eon=3)
    hub.node.mine()
    hub.node.mine_to_era(4, 2)
    settle(hub, 1)
    assert RootCommitment.objects.filter(eon_number=4).exists()
    fork(hub, 8)
    hub.node.mine(4)
    sentence = "is not in eon 3 of the new branch, and checkpoint 4 counts on it"
    assert sentence in resolve()
    assert "ALARM events differ" not in caplog.text
    resolve("--apply")
    assert "ALARM events differ" in caplog.text
    settle(hub, 4)
    assert hub.available(wallet) == 100
    assert not hub.status.halted


def test_a_branch_is_waited_for_until_the_closed_eons_are_deep(hub: Hub, alice: Signer) -> None:
    """What it has there yet could not be taken in, and the follower would stop at it."""
    wallet = hub.register(alice)
    hub.settle()
    hub.node.mine_to_era(1, BLOCKS_PER_EON - 4)
    hub.node.mine_to_era(2, 3)
    hub.beat()
    assert RootCommitment.objects.filter(eon_number=2).exists()
    hub.node.reorganise(6)
    hub.node.ask("anvil_rollback", 6)
    hub.node.ask("evm_increaseTime", hex(7))
    hub.node.mine()  # the last block of eon 1 is the next one
    hub.node.deposit(alice.address, 50)
    hub.node.mine(2)
    with pytest.raises(ForkTooDeepError):
        follower.step()
    with pytest.raises(CommandError, match="wait until that is as deep"):
        resolve("--apply")
    hub.node.mine(3)
    with pytest.raises(CommandError, match="belongs to an eon whose ledger is closed"):
        resolve("--apply")
    assert hub.available(wallet) == 0
