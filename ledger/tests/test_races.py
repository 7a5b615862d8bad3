"""Races on one ledger, with real threads and connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from threading import Event as Flag

import pytest
from django.db import connection, transaction

from admission import services as admission
from admission.services import Admission, AdmissionError
from ledger import engine, store
from ledger.accounts_sql import lock_wallets
from ledger.engine import Refusal, Transfer
from ledger.group_commit import GroupCommitter
from ledger.models import Account, Deposit, Token, Wallet
from ledger.models import Transfer as TransferRow
from ledger.store import Outcome, StoredTransfer
from ledger.tests.checks import balance, check_checkpoint, check_ledger
from ledger.tests.racing import Running, race
from ledger.tests.test_store import funded
from operator_api.error_codes import ErrorCode
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet
from tos import services as tos
from tos.models import TOSConfig

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 50


@pytest.fixture
def play() -> Play:
    return Play()


def _alone(command: Transfer) -> Outcome:
    return store.execute([command])[0]


def _admit(admissions: Sequence[Admission], eon: int, config: TOSConfig) -> Sequence[Admission]:
    """As another server does, which shares no transaction with this one."""
    (outcome,) = admission.admit_all([admission.Request(admissions, eon, config)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def waiting_for_a_lock() -> bool:
    """Whether some session waits for another's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for the condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


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


# --- registrations ---------------------------------------------------------------------------------------------


def application(play: Play, player: SimulatedWallet, token: Token, eon: int) -> Admission:
    body = player.registration(eon, tos.digest(play.config))
    return Admission(
        token.pk,
        token.address,
        player.address,
        bytes.fromhex(body["authorization"]["value"]),
        bytes.fromhex(body["tos_signature"]["value"]),
    )


OVER = ErrorCode.INVALID_ADMISSION_SIGNATURE
"""Why a registration that was signed for an eon that is over is refused."""


def register(play: Play, player: SimulatedWallet, token: Token) -> None:
    """Register in the latest eon, again when the eon changed meanwhile."""
    while True:
        eon = store.chain_status().eon
        try:
            _admit([application(play, player, token, eon)], eon, play.config)
        except AdmissionError as error:
            if error.code is not OVER:
                raise
            continue
        return


def refusals(outcomes: Sequence[object]) -> list[ErrorCode]:
    return [outcome.code for outcome in outcomes if isinstance(outcome, AdmissionError)]


def check_trails(token: Token) -> None:
    """No gap in the trails, and nobody registered before somebody with a smaller one."""
    wallets = list(Wallet.objects.filter(token=token).order_by("trail_identifier"))
    assert [wallet.trail_identifier for wallet in wallets] == list(range(len(wallets)))
    eons = [wallet.registration_eon_number for wallet in wallets]
    assert eons == sorted(eons)
    token.refresh_from_db()
    assert token.wallet_count == len(wallets)


def test_registrations_racing_for_a_token_leave_no_gap(play: Play) -> None:
    token = play.tokens[0]
    players = [SimulatedWallet.create(play.contract, token.address) for _ in range(32)]

    def register_all(mine: list[SimulatedWallet]) -> None:
        for player in mine:
            register(play, player, token)

    running = [Running(partial(register_all, players[start::4])) for start in range(4)]
    for eon in (2, 3, 4):
        time.sleep(0.03)
        play.enter_next_eon()
        time.sleep(0.01)
        play.close_eon()
        check_checkpoint(eon)
    assert [call.outcome() for call in running] == [None] * 4
    check_trails(token)
    play.next_eon()
    assert check_checkpoint(5) == 33


def test_a_registration_that_waited_while_the_eon_changed_is_refused(play: Play) -> None:
    """Its trail would come after that of a wallet of the new eon, and the checkpoint would have a gap."""
    token = play.tokens[0]
    early, late = (SimulatedWallet.create(play.contract, token.address) for _ in range(2))
    locked, go = Flag(), Flag()

    def holding_the_token() -> None:
        with transaction.atomic():
            Token.objects.select_for_update(no_key=True).get(pk=token.pk)
            locked.set()
            assert go.wait(30)
            _admit([application(play, late, token, 2)], 2, play.config)

    holder = Running(holding_the_token)
    assert locked.wait(10)
    waiting = Running(partial(_admit, [application(play, early, token, 1)], 1, play.config))
    until(waiting_for_a_lock)
    play.enter_next_eon()
    go.set()
    assert holder.outcome() is None
    assert refusals([waiting.outcome()]) == [OVER]
    check_trails(token)
    play.close_eon()
    check_checkpoint(2)


def test_of_equal_registrations_racing_exactly_one_wins(play: Play) -> None:
    token = play.tokens[0]
    for _ in range(ROUNDS // 2):
        player = SimulatedWallet.create(play.contract, token.address)
        request = application(play, player, token, 1)
        outcomes = race([partial(_admit, [request], 1, play.config)] * 3)
        assert refusals(outcomes) == [ErrorCode.WALLET_ALREADY_ADMITTED] * 2, outcomes
        assert sum(isinstance(outcome, list) for outcome in outcomes) == 1
    check_trails(token)


def test_bulk_registrations_in_different_orders_do_not_block_each_other(play: Play) -> None:
    play.add_token(b"\x11" * 20, "Token", "TOK")
    for _ in range(10):
        players = [
            (SimulatedWallet.create(play.contract, token.address), token)
            for token in play.tokens
            for _ in range(3)
        ]
        requests = [application(play, player, token, 1) for player, token in players]
        outcomes = race(
            [
                partial(_admit, requests[:4], 1, play.config),
                partial(_admit, requests[:3:-1], 1, play.config),
            ]
        )
        assert all(isinstance(outcome, list) for outcome in outcomes), outcomes
    for token in play.tokens:
        check_trails(token)


def test_a_deposit_racing_with_its_registration_is_credited_once(play: Play) -> None:
    """Applied as the follower of the chain does."""
    from contractor import effects, events
    from contractor.models import ContractParameters

    token = play.tokens[0]
    parameters = ContractParameters()
    for number in range(ROUNDS // 2):
        player = SimulatedWallet.create(play.contract, token.address)
        place = events.Place(txid=number.to_bytes(32, "big"), log_index=0, block=1, time=1)
        deposit = events.Deposit(place, token.address, player.address, 9)

        def arrive(deposit: events.Deposit = deposit) -> None:
            with transaction.atomic():
                effects.apply_events([deposit], store.chain_status(), parameters)

        request = application(play, player, token, 1)
        outcomes = race([arrive, partial(_admit, [request], 1, play.config), arrive])
        assert refusals(outcomes) == []
        wallet = Wallet.objects.get(address=player.address)
        assert balance(wallet) == 9
        assert Deposit.objects.get(address=player.address).wallet_id == wallet.pk
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
