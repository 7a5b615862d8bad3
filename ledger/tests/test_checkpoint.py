"""Checkpoints: exact, repeatable, and made only of a ledger that adds up."""

from __future__ import annotations

import secrets

import pytest
from django.db import transaction
from django.utils import timezone

from ledger import allotments, checkpoint, engine, store
from ledger.checkpoint import create_checkpoint
from ledger.managed import UnbalancedLedgerError
from ledger.models import (
    Account,
    Deposit,
    Event,
    ExclusiveBalanceAllotment,
    Outbox,
    Reorganisation,
    RootCommitment,
    TokenCommitment,
    TreeChunk,
    Wallet,
    WithdrawalRequest,
)
from ledger.store import StoredTransfer
from ledger.tests.checks import account_rows, check_checkpoint, row_counts
from ledger.tests.test_flow import slash
from ledger.tests.test_store import funded
from nocust.merkle import MerkleTree
from operator_api.simulation.play import Play
from operator_api.simulation.wallets import SimulatedWallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def play() -> Play:
    return Play()


def sizes(eon: int) -> list[int]:
    rows = ExclusiveBalanceAllotment.objects.filter(eon_number=eon).order_by("wallet__trail_identifier")
    return [row.right - row.left for row in rows]


def test_balances_move_into_the_next_checkpoint(play: Play) -> None:
    alice, bob, carol = play.register(3)
    play.deposit(alice, 100)
    play.pay(alice, bob, 30)
    play.pay(alice, carol, 5)
    play.pay(bob, carol, 10)
    play.next_eon()
    assert sizes(2) == [0, 65, 20, 15]
    play.next_eon()
    assert sizes(3) == [0, 65, 20, 15]
    assert (check_checkpoint(2), check_checkpoint(3)) == (4, 4)


def test_the_first_checkpoint_is_empty(play: Play) -> None:
    commitment = RootCommitment.objects.get(eon_number=1)
    assert [token.wallet_count for token in commitment.tokens.all()] == [0]
    assert check_checkpoint(1) == 0


@pytest.mark.parametrize("wallets", [0, 1, 2, 3, 6, 7, 8])
def test_every_size_of_tree_has_proofs(play: Play, wallets: int) -> None:
    players = play.register(wallets)
    for number, player in enumerate(players):
        play.deposit(player, number)
    play.next_eon()
    assert check_checkpoint(2) == wallets + 1


def test_an_eon_in_which_nothing_happens_writes_the_tree_alone(play: Play) -> None:
    """Accounts are carried over when their wallets do something."""
    funded(play, 3)
    play.next_eon()
    before = row_counts()
    play.next_eon()
    after = row_counts()
    grown = {table: after[table] - before[table] for table in after if after[table] != before[table]}
    one_tree = {
        "RootCommitment": 1,
        "TokenCommitment": 1,
        "TreeChunk": 3,
        "ExclusiveBalanceAllotment": 4,
        "Outbox": 1,
    }
    assert grown == one_tree


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_wallets_that_are_read_in_batches_are_in_one_tree(
    play: Play, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    funded(play, 21)
    play.next_eon()
    whole = {chunk.level: bytes(chunk.hashes) for chunk in chunks(2)}
    monkeypatch.setattr(allotments, "BATCH", batch)
    play.next_eon()
    assert {chunk.level: bytes(chunk.hashes) for chunk in chunks(3)} == whole
    check_checkpoint(3)
    monkeypatch.setattr(allotments, "CHUNK_HASHES", 4)
    play.next_eon()
    small = [chunk for chunk in chunks(4) if chunk.level == 0]
    assert [len(chunk.hashes) // 32 for chunk in small] == [4, 4, 4, 4, 4, 2]
    for level, hashes in whole.items():
        assert b"".join(chunk.hashes for chunk in chunks(4) if chunk.level == level) == hashes


def chunks(eon: int) -> list[TreeChunk]:
    found = TreeChunk.objects.filter(commitment__root_commitment__eon_number=eon)
    return list(found.order_by("level", "chunk"))


def test_wallets_that_register_later_are_in_the_next_checkpoint(play: Play) -> None:
    funded(play, 2)
    play.enter_next_eon()
    funded(play, 2)
    play.close_eon()
    assert check_checkpoint(2) == 3
    play.next_eon()
    assert check_checkpoint(3) == 5


def test_several_tokens_share_a_root(play: Play) -> None:
    tokens = [play.add_token(bytes([number]) * 20, f"Token {number}", f"T{number}") for number in (1, 2)]
    for token in tokens:
        for player in play.register(2, token):
            play.deposit(player, 10**20)
    play.next_eon()
    assert check_checkpoint(2) == 7
    commitment = RootCommitment.objects.get(eon_number=2)
    assert commitment.tokens.count() == 3
    chains = [token.membership_hashes for token in commitment.tokens.order_by("token__trail")]
    assert [len(chain) for chain in chains] == [2, 2, 2]
    assert MerkleTree([]).root != commitment.merkle_root


def test_deposits_that_nobody_claimed_are_the_operators_last_leaf(play: Play) -> None:
    funded(play, 2)
    nobody = SimulatedWallet.create(play.contract, play.tokens[0].address)
    play.deposit(nobody, 33)
    play.next_eon()
    row = TokenCommitment.objects.get(root_commitment__eon_number=2)
    assert (row.wallet_count, row.leaf_count) == (3, 4)
    assert (row.wallet_upper_bound, row.upper_bound) == (200, 233)
    check_checkpoint(2)
    play.admit([nobody], play.tokens[0])
    play.next_eon()
    row = TokenCommitment.objects.get(root_commitment__eon_number=3)
    assert (row.wallet_count, row.leaf_count, row.upper_bound) == (4, 4, 233)
    check_checkpoint(3)


def test_a_deposit_claimed_before_the_checkpoint_of_its_eon_stays_unclaimed_in_it(play: Play) -> None:
    """Its wallet registered too late to be in that tree."""
    nobody = SimulatedWallet.create(play.contract, play.tokens[0].address)
    play.deposit(nobody, 33)
    play.enter_next_eon()
    play.admit([nobody], play.tokens[0])
    play.close_eon()
    row = TokenCommitment.objects.get(root_commitment__eon_number=2)
    assert (row.wallet_upper_bound, row.upper_bound) == (0, 33)
    check_checkpoint(2)
    play.next_eon()
    assert sizes(3) == [0, 33]
    check_checkpoint(3)


def test_effects_of_the_eon_itself_do_not_count_yet(play: Play) -> None:
    (alice,) = funded(play, 1)
    play.enter_next_eon()
    play.deposit(alice, 7)
    play.request_withdrawal(alice, 50)
    play.close_eon()
    assert sizes(2) == [0, 100]
    play.next_eon()
    assert sizes(3) == [0, 57]


def test_twice_is_once(play: Play) -> None:
    funded(play, 3)
    first = play.next_eon()
    before = row_counts(), account_rows()
    with transaction.atomic():
        again = create_checkpoint(2, first.block + 5)
    assert (again.pk, again.merkle_root, again.block) == (first.pk, first.merkle_root, first.block)
    assert (row_counts(), account_rows()) == before


@pytest.mark.parametrize(
    ("module", "victim"),
    [
        (allotments, "copy_allotments"),
        (allotments, "balance_leaves"),
        (allotments.Chunks, "finish"),
        (checkpoint, "managed"),
        (checkpoint, "_commit"),
        (checkpoint, "notify_outbox"),
        (checkpoint, "end_orders"),
    ],
)
def test_killed_half_way_it_begins_again_with_the_same_result(
    play: Play, monkeypatch: pytest.MonkeyPatch, module: object, victim: str
) -> None:
    alice, bob, *_ = funded(play, 3)
    play.pay(alice, bob, 30)
    play.enter_next_eon()
    before = row_counts(), account_rows()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, victim, killed)
        with pytest.raises(KeyboardInterrupt):
            play.close_eon()
    assert (row_counts(), account_rows()) == before
    play.close_eon()
    assert check_checkpoint(2) == 4
    assert sizes(2) == [0, 70, 130, 100]


def test_the_outbox_tells_of_it_once(play: Play) -> None:
    Outbox.objects.all().delete()
    play.next_eon()
    with transaction.atomic():
        create_checkpoint(2, 0)
    assert [(row.event, row.object_id) for row in Outbox.objects.all()] == [(Event.CHECKPOINT_CREATED, 2)]


def refuses(play: Play) -> None:
    """No checkpoint is made, and nothing of one is left."""
    before = row_counts(), account_rows()
    with pytest.raises(UnbalancedLedgerError):
        play.close_eon()
    assert (row_counts(), account_rows()) == before


def test_money_from_nowhere_makes_no_checkpoint(play: Play) -> None:
    (alice,) = funded(play, 1)
    Account.objects.filter(wallet=alice.wallet_id).update(deposited=101)
    play.enter_next_eon()
    refuses(play)


def test_money_that_vanished_makes_no_checkpoint(play: Play) -> None:
    (alice,) = funded(play, 1)
    Deposit.objects.create(
        txid=secrets.token_bytes(32),
        log_index=0,
        block=1,
        eon_number=1,
        amount=5,
        time=timezone.now(),
        token=play.tokens[0],
        address=alice.address,
        wallet_id=alice.wallet_id,
    )
    play.enter_next_eon()
    refuses(play)


def test_a_request_that_was_not_debited_makes_no_checkpoint(play: Play) -> None:
    (alice,) = funded(play, 1)
    WithdrawalRequest.objects.create(
        txid=secrets.token_bytes(32),
        log_index=0,
        block=1,
        eon_number=1,
        amount=5,
        time=timezone.now(),
        token=play.tokens[0],
        address=alice.address,
        wallet_id=alice.wallet_id,
    )
    play.enter_next_eon()
    refuses(play)


def test_what_is_changed_below_a_deep_fork_is_summed_anew(play: Play) -> None:
    """A request was given back, the checkpoint counts that, and on the chain that won it stands."""
    (alice,) = funded(play, 1)
    play.next_eon()
    request = play.request_withdrawal(alice, 40)
    slash(request, 2)
    play.next_eon()
    with transaction.atomic():
        WithdrawalRequest.objects.update(slashed=False, slashed_eon_number=None)
        store.run([engine.RequestWithdrawal(alice.owner, 3, 40)])
    play.enter_next_eon()
    refuses(play)
    known = play.status.first_block_of(3)
    Reorganisation.objects.create(
        first_block=known - 20, blocks=20, abandoned_hash=bytes(32), head_hash=bytes(32), deep=True
    )
    play.close_eon()
    assert sizes(4) == [0, 60]
    check_checkpoint(4)


def test_a_gap_in_the_trails_makes_no_checkpoint(play: Play) -> None:
    players = play.register(2)
    Wallet.objects.filter(pk=players[1].wallet_id).update(trail_identifier=7)
    play.enter_next_eon()
    refuses(play)


def test_a_long_history_of_an_eon(play: Play) -> None:
    alice, bob, carol = funded(play, 3, 10**24)
    for number in range(40):
        for sender, recipient in ((alice, bob), (bob, carol), (carol, alice)):
            assert isinstance(play.pay(sender, recipient, number), StoredTransfer)
    play.next_eon()
    check_checkpoint(2)
