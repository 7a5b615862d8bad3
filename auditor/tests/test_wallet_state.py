"""The wallet state that clients poll: one statement and a remembered tree give what all rows together give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.test import Client

from auditor import render, selectors, views
from auditor.tests.test_proofs import verify
from benchmarks.population import make_checkpoint, populate
from ledger import engine, positions, store, trees
from ledger.archive import archive, restore
from ledger.directory import owner_of
from ledger.models import (
    ChainStatus,
    Deposit,
    RootCommitment,
    StreamPosition,
    TokenCommitment,
    TreeChunk,
    Wallet,
    Withdrawal,
)
from ledger.proofs import proofs
from ledger.sql import execute, fetch
from ledger.trees import LOWER_LEVELS, Tree, TreeKey, Trees
from operator_api.simulation.play import Play

pytestmark = pytest.mark.django_db
LARGE = 2500
"""Wallets whose tree has two chunks of leaves, and levels that are remembered and levels that are not."""


def read(wallet: Wallet, eon: int, query: str = "") -> Any:
    token, address = wallet.token.address.hex(), wallet.address.hex()
    return Client().get(f"/audit/{eon}/{token}/{address}/{query}")


def wallets(*trails: int) -> list[Wallet]:
    return list(Wallet.objects.filter(trail_identifier__in=trails).select_related("token"))


def test_archived_proofs_are_gone_until_they_are_brought_back(tmp_path: Path) -> None:
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 100)
    play.pay(alice, bob, 7)
    play.next_eon()
    play.register(1)
    play.next_eon()
    old, late = wallets(1)[0], wallets(3)[0]
    before = read(old, 2).json()
    names = [{"eon_number": eon, **_names(wallet)} for eon in "23" for wallet in (old, late)]
    together = views.find_wallet_states(names)
    archive(2, tmp_path)
    for query in ("", "?transfer_id=0"):
        answer = read(old, 2, query)
        assert answer.status_code == 410
        assert answer.json() == {
            "detail": "The proofs of eon 2 are archived: the operator can bring them back."
        }
    late_before = read(late, 2)
    assert (late_before.status_code, late_before.json()["merkle_proof"]) == (200, None)  # it never had one
    assert read(old, 1).json()["transactions"]
    assert_proven([old, late], 3)
    assert views.find_wallet_states(names) == [None, None, *together[2:]]  # read by itself, each is told why
    restore(2, tmp_path)
    assert read(old, 2).json() == before
    assert views.find_wallet_states(names) == together


@pytest.mark.parametrize("query", ["", "?transfer_id=0"])
def test_proofs_that_are_archived_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """Its wallets have been read, and its tree has not."""
    play = Play()
    play.register(1)
    play.next_eon()
    play.next_eon()
    found, read_tree = wallets(1)[0], trees._read

    def read_late(key: TreeKey) -> Tree:
        archive(2, tmp_path)
        return read_tree(key)

    trees.remembered.clear()
    monkeypatch.setattr(trees, "_read", read_late)
    assert views.find_wallet_states([{"eon_number": "2", **_names(found)}]) == [None]
    restore(2, tmp_path)
    assert read(found, 2, query).status_code == 410


def _names(wallet: Wallet) -> dict[str, str]:
    return {"token": wallet.token.address.hex(), "wallet": wallet.address.hex()}


def assert_proven(found: list[Wallet], eon: int) -> None:
    root = RootCommitment.objects.get(eon_number=eon).merkle_root
    assert found
    for wallet in found:
        verify(wallet, read(wallet, eon).json()["merkle_proof"], root)


def test_the_answer_is_what_the_rows_give() -> None:
    """Byte for byte, whatever happened to the wallet, in every eon and from every transaction on."""
    play = Play()
    alice, bob, carol = play.register(3)
    play.deposit(alice, 10**30)
    for sender, recipient in ((alice, bob), (bob, alice), (alice, carol)):
        play.pay(sender, recipient, 7)
    play.next_eon()
    play.pay(carol, bob, 3)
    request = play.request_withdrawal(alice, 7)
    Withdrawal.objects.create(**play._event(2), wallet_id=alice.wallet_id, request=request, amount=7)
    StreamPosition.objects.update_or_create(id=1, defaults={"last": 77})
    play.register(1)
    play.next_eon()
    for wallet in Wallet.objects.select_related("token"):
        for eon in range(5):
            for first in (0, 2, 10**30):
                response = read(wallet, eon, f"?transfer_id={first}")
                state = render.wallet_state(selectors.wallet_history(wallet, eon, first))
                assert first or read(wallet, eon).content == response.content
                assert response.content == orjson.dumps(state)
                assert response["Stream-Position"] == str(positions.told_until()) == "77"


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", "application/json, text/plain, */*", "text/html"]
)
def test_reads_without_the_framework_answer_as_it_does(accept: str | None) -> None:
    """A parameter that nobody knows sends a request through the framework."""
    play = Play()
    alice, bob = play.register(2)
    play.deposit(alice, 10)
    play.pay(alice, bob, 1)
    play.next_eon()
    pair = f"{alice.token.hex()}/0x{alice.address.hex()}"
    nobody = f"{alice.token.hex()}/{bytes(20).hex()}"
    paths = ["/audit", "/audit/", "/audit/tokens", f"/audit/{pair}/whois", f"/audit/{nobody}/whois"]
    paths += [f"/audit/{eon}/{place}/" for eon in (0, 1, 2, 10**90) for place in (pair, nobody)]
    headers = {} if accept is None else {"Accept": accept}
    seen = set()
    for method in (Client().get, Client().head, Client().options, Client().delete):
        for path in paths:
            found, expected = (method(path + query, headers=headers) for query in ("", "?unknown=1"))
            assert found.status_code == expected.status_code
            assert found.content == expected.content
            one, other = (
                [item for item in answer.items() if item[0] != "X-Request-ID"] for answer in (found, expected)
            )
            assert one == other
            seen.add(found.status_code)
    assert seen == ({406} if accept == "text/html" else {200, 404, 405})
    ChainStatus.objects.all().delete()
    assert Client().get("/audit/").status_code == 503


def test_a_wallet_that_nothing_happened_to_is_one_query(django_assert_num_queries: Any) -> None:
    play = Play()
    play.register(2)
    play.next_eon()
    first, second = wallets(1, 2)
    assert read(first, 2).json()["merkle_proof"] is not None
    with django_assert_num_queries(1):
        assert read(second, 2).json()["merkle_proof"] is not None


def test_a_large_tree_has_proofs() -> None:
    populate(LARGE)
    make_checkpoint()
    leaves = TreeChunk.objects.filter(commitment__root_commitment__eon_number=3, level=0).order_by("chunk")
    assert [len(chunk.hashes) // 32 for chunk in leaves] == [2048, LARGE + 1 - 2048]
    for eon in (2, 3):
        assert_proven(wallets(0, 1, 2, 510, 511, 512, 513, 1023, 1024, 2047, 2048, LARGE - 1, LARGE), eon)


def _deposit(play: Play, wallet: Wallet, eon: int) -> None:
    Deposit.objects.create(
        **play._event(eon), token=wallet.token, address=wallet.address, wallet=wallet, amount=5
    )
    store.run([engine.Deposit(owner_of(wallet), eon, 5)])


@pytest.mark.parametrize("count", [3, LARGE])
def test_nothing_remembered_outlives_a_checkpoint_that_is_replaced(count: int) -> None:
    """A tree is known by its root: not by its eon, nor by the numbers of its rows, which may be given again."""
    play = populate(count)
    found = wallets(0, 1, 2, count - 1, count)
    ((number,),) = fetch("SELECT last_value FROM ledger_tokencommitment_id_seq")
    point = transaction.savepoint()
    make_checkpoint()
    assert_proven(found, 3)
    replaced = TokenCommitment.objects.get(root_commitment__eon_number=3)
    transaction.savepoint_rollback(point)
    assert read(found[0], 3).json()["merkle_proof"] is None
    _deposit(play, wallets(1)[0], 2)  # so everybody behind it owns another interval
    fetch("SELECT setval('ledger_tokencommitment_id_seq', %s)", [number])
    make_checkpoint()
    made = TokenCommitment.objects.get(root_commitment__eon_number=3)
    assert made.pk == replaced.pk
    assert made.merkle_root != replaced.merkle_root
    assert_proven(found, 3)


def test_a_tree_that_is_not_whole_proves_nothing() -> None:
    populate(3)
    make_checkpoint()
    wallet = wallets(1)[0]
    commitment = TokenCommitment.objects.get(root_commitment__eon_number=3)
    key = TreeKey(commitment.pk, bytes(32), bytes(32))
    with pytest.raises(LookupError):
        Trees(room=0).get(key)
    execute("DELETE FROM ledger_treechunk WHERE level = 1 AND commitment_id = %s", [commitment.pk])
    with pytest.raises(LookupError):
        proofs([(wallet.pk, 3)])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trees last used stay, and one that is larger than the room, alone."""
    upper = [bytes(32 * 4), bytes(32 * 2), bytes(32)]

    def make(key: TreeKey) -> Tree:
        return Tree(key, 4 << LOWER_LEVELS, 4 << LOWER_LEVELS, 0, 0, [], upper * key.commitment, b"")

    monkeypatch.setattr("ledger.trees._read", make)
    one, two, three, large = (TreeKey(number, bytes(32), bytes(32)) for number in (1, 2, 3, 1000))
    held = Trees(room=2 * make(two).size)
    first = held.get(one)
    second = held.get(two)
    assert held.get(one) is first
    held.get(three)
    assert held.get(one) is first
    assert held.get(two) is not second
    alone = held.get(large)
    assert held.get(large) is alone
    assert held.get(one) is not first


def test_a_connection_that_the_server_closed_is_replaced(transactional_db: None) -> None:
    Play().register(1)
    wallet = wallets(1)[0]
    before = read(wallet, 1).content
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", row)
    other.close()
    assert read(wallet, 1).content == before
