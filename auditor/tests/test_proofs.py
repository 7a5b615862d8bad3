"""Proofs derived from the stored trees convince the contract's own verification."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from auditor import render, selectors
from ledger import store
from ledger.deliveries import Trees, deliveries, remembered
from ledger.models import Deposit, RootCommitment, Transfer, Wallet
from nocust.addresses import parse_address
from nocust.balances import verify_account_allotment
from nocust.encoding import hex_to_bytes
from nocust.leaves import transfer_leaf
from nocust.passive import verify_passive_delivery
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db
STRANGER = bytes.fromhex("57" * 20)
LQD: bytes = settings.SLA_TOKEN_ADDRESS


def _hashes(texts: list[str]) -> list[bytes]:
    assert all(text.startswith("0x") for text in texts)
    return [hex_to_bytes(text, 32) for text in texts]


def verify(wallet: Wallet, proof: dict[str, Any], root: bytes) -> int:
    """Check a rendered proof as the contract would; gives the token's total."""
    return verify_account_allotment(
        settings.HUB_LQD_CONTRACT_ADDRESS,
        wallet.token.address,
        wallet.address,
        _hashes([proof["passive_checksum"]])[0],
        int(proof["passive_amount"]),
        int(proof["passive_marker"]),
        _hashes([proof["active_state_checksum"]])[0],
        trail=proof["trail"],
        token_trail=wallet.token.trail,
        root=root,
        chain=_hashes(proof["allotment_chain"]),
        membership_chain=_hashes(proof["membership_chain"]),
        values=[int(value) for value in proof["values"]],
        left=int(proof["left"]),
        right=int(proof["right"]),
    )


def _verify_all(eon: int) -> int:
    root = RootCommitment.objects.get(eon_number=eon).merkle_root
    wallets = list(Wallet.objects.filter(registration_eon_number__lt=eon).select_related("token"))
    histories = selectors.wallet_histories(wallets, eon)
    for wallet in wallets:
        state = render.wallet_state(histories[wallet.pk])
        verify(wallet, state["merkle_proof"], root)
    return len(wallets)


@pytest.mark.parametrize("others", [0, 1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("unclaimed", [False, True])
def test_every_wallet_of_small_trees_is_proven(others: int, unclaimed: bool) -> None:
    play = Play()
    players = play.register(others)
    for number, player in enumerate(players):
        play.deposit(player, 10**21 + number)
    if unclaimed:
        _deposit_of_stranger(play)
    if others > 1:
        play.pay(players[0], players[1], 7)
        play.pay(players[1], players[0], 3)
    play.next_eon()
    assert _verify_all(2) == others + 1


def _deposit_of_stranger(play: Play) -> None:
    Deposit.objects.create(**play._event(1), token=play.tokens[0], address=STRANGER, amount=5)


def test_trees_of_several_tokens_and_more_than_one_chunk_of_leaves() -> None:
    play = Play()
    lqd = play.add_token(LQD, "Liquidity", "LQD")
    players = play.register(2100)
    (rich,) = play.register(1, lqd)
    play.deposit(rich, 2**200)
    for player in players[::700]:
        play.deposit(player, 1000)
    play.pay(players[0], players[2099], 400)
    play.next_eon()
    root = RootCommitment.objects.get(eon_number=2).merkle_root
    chosen = [players[i].wallet_id for i in (0, 1, 2045, 2046, 2047, 2048, 2099)] + [rich.wallet_id]
    wallets = list(Wallet.objects.filter(pk__in=chosen).select_related("token"))
    histories = selectors.wallet_histories(wallets, 2)
    for wallet in wallets:
        verify(wallet, render.wallet_state(histories[wallet.pk])["merkle_proof"], root)


def test_there_is_no_proof_in_the_eon_of_registration_or_before_the_checkpoint() -> None:
    play = Play()
    (alice,) = play.register(1)
    wallet = selectors.find_wallet(alice.token, alice.address)
    assert wallet is not None
    assert selectors.wallet_history(wallet, 1).proof is None
    play.enter_next_eon()
    assert selectors.wallet_history(wallet, 2).proof is None
    (late,) = play.register(1)
    play.close_eon()
    assert selectors.wallet_history(wallet, 2).proof is not None
    late_wallet = selectors.find_wallet(late.token, late.address)
    assert late_wallet is not None
    assert selectors.wallet_history(late_wallet, 2).proof is None
    assert selectors.wallet_history(wallet, 10**40).proof is None


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_deliveries_are_proven_once_the_next_checkpoint_exists(count: int) -> None:
    play = Play()
    alice, bob, carol = play.register(3)
    play.deposit(alice, 1000)
    play.deposit(carol, 1000)
    for number in range(count):
        play.pay(carol if number % 3 else alice, bob, number)  # one of them moves nothing
    rows = list(selectors.full_transfers().filter(recipient=bob.wallet_id))
    assert deliveries(rows) == {}
    play.next_eon()
    found = deliveries(rows)
    assert len(found) == count
    for row in rows:
        proof = render.delivery_proof(found[row.pk])
        _verify_delivery(row, proof, bob.trail)
        assert render.delivery_proof(found[row.pk], viewer=row.wallet_id) == proof
        assert render.delivery_proof(found[row.pk], viewer=row.recipient_id) == {
            **proof,
            "merkle_proof": None,
        }


def test_trees_are_remembered_within_bounds(django_assert_num_queries: Any) -> None:
    play = Play()
    alice, bob, carol = play.register(3)
    play.deposit(alice, 1000)
    for recipient in (bob, bob, carol):
        play.pay(alice, recipient, 1)
    play.next_eon()
    rows = list(selectors.full_transfers())
    first = deliveries(rows)
    with django_assert_num_queries(1):  # that of the recipients' proofs
        again = deliveries(rows)
    assert [again[row.pk].path for row in rows] == [first[row.pk].path for row in rows]
    trees = Trees(leaves=3)
    allotments = [first[row.pk].recipient.allotment for row in rows[1:]]
    two, one = (
        remembered.get((row.wallet_id, row.eon_number, row.passive_checksum or b"")) for row in allotments
    )
    assert two is not None
    assert one is not None
    for number, tree in enumerate([two, one, two]):
        trees.add((number, 1, b""), tree)
    assert [trees.get((number, 1, b"")) for number in range(3)] == [None, one, two]


@pytest.mark.parametrize("together", [True, False])
def test_the_same_payment_in_two_eons_is_proven_in_both(together: bool) -> None:
    """What its recipient received has the same tree in both, since its leaves do not tell the eon."""
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    for _ in range(2):
        (paid,) = store.execute([alice.transfer(bob.owner, 10, nonce=1)])
        assert isinstance(paid, store.StoredTransfer)
        play.next_eon()
        alice.enter(play.eon)
    rows = list(selectors.full_transfers().order_by("id"))
    found = deliveries(rows) if together else {row.pk: deliveries([row])[row.pk] for row in rows}
    assert [found[row.pk].recipient.allotment.eon_number for row in rows] == [2, 3]


def test_a_tree_larger_than_the_room_is_remembered_alone() -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    for _ in range(3):
        play.pay(alice, bob, 1)
    play.next_eon()
    row = selectors.full_transfers()[0]
    recipient = deliveries([row])[row.pk].recipient.allotment
    key = recipient.wallet_id, recipient.eon_number, recipient.passive_checksum or b""
    tree = remembered.get(key)
    assert tree is not None
    trees = Trees(leaves=2)
    for number in range(2):
        trees.add((number, 1, b""), tree)
    assert [trees.get((number, 1, b"")) for number in range(2)] == [None, tree]


def test_a_ledger_that_contradicts_its_checkpoint_proves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 1000)
    play.pay(alice, bob, 1)
    play.next_eon()
    Transfer.objects.update(nonce=5)
    assert deliveries(selectors.full_transfers()) == {}
    assert "ALARM" in caplog.text


def _verify_delivery(row: Transfer, proof: dict[str, Any], trail: int) -> None:
    assert row.position is not None
    leaf = transfer_leaf(row.wallet.address, row.amount, trail, row.nonce, row.position)
    words = _hashes(proof["transfer_membership_chain"])
    words += [int(value).to_bytes(32, "big") for value in proof["transfer_membership_values"]]
    total = verify_passive_delivery(
        proof["transfer_membership_trail"],
        leaf,
        row.position,
        row.position + row.amount,
        words,
        *_hashes([proof["merkle_proof"]["passive_checksum"]]),
    )
    assert str(total) == proof["merkle_proof"]["passive_amount"]
    root = RootCommitment.objects.get(eon_number=row.eon_number + 1).merkle_root
    verify(row.recipient, proof["merkle_proof"], root)


def test_the_proof_names_the_last_state_of_the_eon_before() -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    play.pay(alice, bob, 10)
    play.pay(alice, bob, 20)
    play.next_eon()
    wallet = Wallet.objects.select_related("token").get(pk=alice.wallet_id)
    proof = render.wallet_state(selectors.wallet_history(wallet, 2))["merkle_proof"]
    assert proof["active_state"]["updated_spendings"] == "30"
    assert proof["active_state"]["tx_set_hash"].startswith("0x")
    assert proof["passive_marker"] == "10"
    assert (proof["left"], proof["right"]) == ("0", "70")


def test_the_number_of_queries_does_not_grow() -> None:
    play = Play()
    players = play.register(6)
    for player in players:
        play.deposit(player, 1000)
    play.pay(players[0], players[1], 1)
    play.next_eon()
    wallets = list(Wallet.objects.filter(pk__in=[p.wallet_id for p in players]).select_related("token"))

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            for eon in (1, 2):
                for history in selectors.wallet_histories(wallets, eon).values():
                    render.wallet_state(history)
        return len(queries)

    play.pay(players[0], players[1], 1)
    few = count()
    for number in range(30):
        play.pay(players[number % 6], players[(number + 1) % 6], 1)
        play.deposit(players[number % 6], 1)
    play.request_withdrawal(players[0], 5)
    assert count() <= few
    assert few <= 30


def test_addresses_are_written_with_their_checksum() -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 5)
    play.pay(alice, bob, 5)
    row = render.transaction(selectors.full_transfers().get())
    for side, player in (("wallet", alice), ("recipient", bob)):
        assert parse_address(row[side]["address"]) == player.address
        assert row[side]["address"] != row[side]["address"].lower()
    assert row["wallet"]["token"] == "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7"
