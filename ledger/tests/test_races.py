"""Races on one ledger, with real threads and connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from random import Random
from threading import Event as Flag

import pytest
from django.db import transaction

from ledger import engine, store
from ledger.accounts_sql import lock_wallets
from ledger.engine import Refusal, Transfer
from ledger.group_commit import GroupCommitter
from ledger.models import Account
from ledger.models import Transfer as TransferRow
from ledger.store import Outcome, StoredTransfer
from ledger.tests.checks import check_checkpoint, check_ledger
from ledger.tests.racing import Running, race, until, waiting_for_a_lock
from ledger.tests.test_store import funded
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50


@pytest.fixture
def play() -> Play:
    return Play()


def _alone(command: Transfer) -> Outcome:
    return store.execute([command])[0]


@pytest.mark.parametrize("way", ["own transactions", "one committer", "two committers"])
def test_of_two_clients_racing_for_one_balance_exactly_one_wins(play: Play, way: str) -> None:
    """Two devices of one owner, each of which spends all there is."""
    alice, bob, carol = play.register(3)
    play.deposit(alice, 100)
    one, other = GroupCommitter(), GroupCommitter()
    submits = {
        "own transactions": (_alone, _alone),
        "one committer": (one.submit, one.submit),
        "two committers": (one.submit, other.submit),
    }[way]
    for _ in range(ROUNDS):
        commands = [alice.transfer(bob.owner, 100), alice.transfer(carol.owner, 100)]
        outcomes = race([partial(submits[0], commands[0]), partial(submits[1], commands[1])])
        winners = [outcome for outcome in outcomes if isinstance(outcome, StoredTransfer)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert (len(winners), len(losers)) == (1, 1), outcomes
        assert losers[0].code == "DEBIT_WALLET_OVERSPENDING"
        won = outcomes.index(winners[0])
        alice.accepted(commands[won], winners[0].event.position)
        assert isinstance(play.pay((bob, carol)[won], alice, 100), StoredTransfer)
    assert TransferRow.objects.count() == 2 * ROUNDS
    check_ledger()


def test_the_same_request_sent_twice_at_once_is_taken_once(play: Play) -> None:
    alice, bob = funded(play, 2, 1000)
    for _ in range(ROUNDS // 2):
        command = alice.transfer(bob.owner, 1)
        outcomes = race([partial(_alone, command)] * 3)
        winners = [outcome for outcome in outcomes if isinstance(outcome, StoredTransfer)]
        assert [outcome.code for outcome in outcomes if isinstance(outcome, Refusal)] == ["unique"] * 2
        alice.accepted(command, winners[0].event.position)
    check_ledger()


def pay_many(sender: SimulatedWallet, recipients: list[SimulatedWallet], count: int, seed: int) -> int:
    """Pay 1 to random recipients, from a thread; how many were accepted."""
    random = Random(seed)
    for _ in range(count):
        command = sender.transfer(random.choice(recipients).owner, 1)
        outcome = _alone(command)
        assert isinstance(outcome, StoredTransfer), outcome
        sender.accepted(command, outcome.event.position)
    return count


def test_many_senders_to_one_recipient_leave_no_gap_and_no_overlap(play: Play) -> None:
    recipient, *senders = funded(play, 9)
    paid = race([partial(pay_many, sender, [recipient], 15, 0) for sender in senders])
    assert paid == [15] * 8
    received = TransferRow.objects.filter(recipient=recipient.wallet_id).order_by("position")
    assert [row.position for row in received] == list(range(120))
    check_ledger()


def test_everybody_pays_everybody_without_deadlock(play: Play) -> None:
    players = funded(play, 6)
    paid = race(
        [
            partial(pay_many, sender, [other for other in players if other is not sender], 25, seed)
            for seed, sender in enumerate(players)
        ]
    )
    assert paid == [25] * 6
    check_ledger()


# --- the eon changes -------------------------------------------------------------------------------------------


def keep_paying(sender: SimulatedWallet, recipient: SimulatedWallet, stop: Flag) -> list[tuple[int, int]]:
    """Pay until told to stop, in whatever eon it is; what was accepted as (eon, row id)."""
    accepted = []
    while not stop.is_set():
        eon = store.chain_status().eon
        if sender.eon != eon:
            sender.enter(eon)
        command = sender.transfer(recipient.owner, 1)
        outcome = _alone(command)
        if isinstance(outcome, StoredTransfer):
            sender.accepted(command, outcome.event.position)
            accepted.append((eon, outcome.id))
        else:
            assert isinstance(outcome, Refusal)
            assert outcome.code == "EON_NUMBER_OUT_OF_SYNC"
    return accepted


def test_transfers_race_with_the_change_of_eons_and_checkpoints(play: Play) -> None:
    """Each accepted one is in its eon's checkpoint; effects of the chain arrive meanwhile."""
    players = funded(play, 4, 10**6)
    stop = Flag()
    pairs = zip(players, players[1:] + players[:1], strict=True)
    running = [Running(partial(keep_paying, sender, to, stop)) for sender, to in pairs]
    late = SimulatedWallet.create(play.contract, play.tokens[0].address)
    for eon in range(2, 7):
        time.sleep(0.15)
        play.enter_next_eon()
        time.sleep(0.05)
        play.deposit(players[eon % 4], 1000, eon=eon - 1)
        play.deposit(players[eon % 4], 10, eon=eon)
        play.deposit(late, 5)
        time.sleep(0.05)
        play.close_eon()
    stop.set()
    accepted = [entry for call in running for entry in call.outcome()]
    assert {eon for eon, _ in accepted} >= {1, 2, 3, 4, 5}
    assert sorted(row for _, row in accepted) == sorted(TransferRow.objects.values_list("id", flat=True))
    play.next_eon()
    check_ledger()
    for eon in range(2, play.eon + 1):
        check_checkpoint(eon)


def held(work: Callable[[], object], wallet: SimulatedWallet, locked: Flag, go: Flag) -> None:
    """Lock the wallet, wait for the word, do the work, commit."""
    with transaction.atomic():
        lock_wallets([wallet.wallet_id])
        locked.set()
        assert go.wait(30)
        work()


def test_a_transfer_that_waited_while_the_eon_changed_is_refused(play: Play) -> None:
    """The wallet spends in the new eon what a waiting transfer of the old one would spend, too."""
    alice, bob = funded(play, 2)
    old = alice.transfer(bob.owner, 100)
    locked, go = Flag(), Flag()

    def spend_in_the_new_eon() -> None:
        alice.enter(2)
        (outcome,) = store.run([alice.transfer(bob.owner, 100)])
        assert isinstance(outcome, StoredTransfer)

    holder = Running(partial(held, spend_in_the_new_eon, alice, locked, go))
    assert locked.wait(10)
    waiting = Running(partial(_alone, old))
    until(waiting_for_a_lock)
    play.enter_next_eon()
    go.set()
    assert holder.outcome() is None
    outcome = waiting.outcome()
    assert isinstance(outcome, Refusal), "100 were spent twice"
    assert outcome.code == "EON_NUMBER_OUT_OF_SYNC"
    check_ledger()
    play.close_eon()
    check_checkpoint(2)


def test_a_transfer_that_waited_for_the_new_eons_first_deposit_is_refused(play: Play) -> None:
    """The deposit opened the account of the new eon, in the transaction that moved the head."""
    alice, bob = funded(play, 2)
    old = alice.transfer(bob.owner, 100)
    locked, go = Flag(), Flag()

    def next_eon_with_a_late_deposit() -> None:
        play.enter_next_eon()
        play.deposit(alice, 7, eon=1)

    holder = Running(partial(held, next_eon_with_a_late_deposit, alice, locked, go))
    assert locked.wait(10)
    waiting = Running(partial(_alone, old))
    until(waiting_for_a_lock)
    go.set()
    assert holder.outcome() is None
    outcome = waiting.outcome()
    assert isinstance(outcome, Refusal), "the new eon opened with money that is spent"
    check_ledger()
    play.close_eon()
    check_checkpoint(2)


def test_a_transfer_that_waited_for_the_recipients_first_account_finds_it(play: Play) -> None:
    alice, bob = funded(play, 2)
    play.next_eon()
    alice.enter(2)
    locked, go = Flag(), Flag()
    holder = Running(partial(held, partial(play.deposit, bob, 7), bob, locked, go))
    assert locked.wait(10)
    waiting = Running(partial(_alone, alice.transfer(bob.owner, 100)))
    until(waiting_for_a_lock)
    go.set()
    assert holder.outcome() is None
    assert isinstance(waiting.outcome(), StoredTransfer)
    account = Account.objects.get(wallet=bob.wallet_id, eon_number=2)
    assert (account.opening, account.deposited, account.received) == (100, 7, 100)
    check_ledger()


# --- group commit ----------------------------------------------------------------------------------------------


def test_one_committer_under_load_with_failing_batches(play: Play) -> None:
    """Whoever submits nonsense gets an error, everybody else is served."""
    players = funded(play, 12)
    committer = GroupCommitter()
    play.next_eon()
    for player in players:
        player.enter(2)
    recipient = players[-1]

    def pay(sender: SimulatedWallet) -> int:
        for _ in range(12):
            command = sender.transfer(recipient.owner, 1)
            outcome = committer.submit(command)
            assert isinstance(outcome, StoredTransfer), outcome
            sender.accepted(command, outcome.event.position)
        return 12

    def overspend(sender: SimulatedWallet) -> int:
        for _ in range(12):
            outcome = committer.submit(sender.transfer(recipient.owner, 101))
            assert isinstance(outcome, Refusal)
        return 0

    def fail(player: SimulatedWallet) -> int:
        for _ in range(12):
            with pytest.raises(ValueError, match="closed"):
                committer.submit(engine.Deposit(player.owner, 1, 1))
        return 0

    roles = [*[pay] * 7, *[overspend] * 2, *[fail] * 2]
    outcomes = race([partial(role, player) for role, player in zip(roles, players, strict=False)])
    assert outcomes == [*[12] * 7, *[0] * 4]
    assert Account.objects.get(wallet=recipient.wallet_id, eon_number=2).received == 84
    check_ledger()
    play.next_eon()
    check_checkpoint(3)


def test_callers_that_arrive_together_share_a_transaction(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    players = funded(play, 8)
    committer = GroupCommitter()
    batches: list[int] = []
    first_runs, rest_waits = Flag(), Flag()

    def slow(commands: list[engine.Command]) -> list[Outcome]:
        batches.append(len(commands))
        if len(batches) == 1:
            first_runs.set()
            assert rest_waits.wait(10)
        return store.execute(commands)

    monkeypatch.setattr("ledger.group_commit.execute", slow)
    to = players[-1].owner
    running = [Running(partial(committer.submit, players[0].transfer(to, 1)))]
    assert first_runs.wait(10)
    running += [Running(partial(committer.submit, player.transfer(to, 1))) for player in players[1:7]]
    until(lambda: len(committer._waiting) == 6)
    rest_waits.set()
    assert all(isinstance(call.outcome(), StoredTransfer) for call in running)
    assert batches == [1, 6]
    check_ledger()
