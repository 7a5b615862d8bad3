"""Decisions at the edges, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.engine import HIGHEST_COUNTER, Deposit, Refusal, Transfer, Transferred
from ledger.engine.tests.world import CONTRACT, SLA_THRESHOLD, TOKENS, World, players


@pytest.fixture
def world() -> World:
    """Three owners, each with 1,000 in both tokens."""
    world = World(players(3))
    for wallet in world.wallets:
        world.submit(Deposit(wallet.owner, 1, 1000))
    return world


def test_a_closed_ledger_takes_no_transfer_even_in_the_latest_eon(world: World) -> None:
    """After the head of the chain fell back behind a checkpoint that was made already."""
    world.closed.add(1)
    sender, recipient = world.wallets[1], world.wallets[2]
    outcome = world.submit(sender.transfer(recipient.owner, 1))
    assert isinstance(outcome, Refusal)
    assert outcome.code == "EON_NUMBER_OUT_OF_SYNC"


def test_everything_may_be_spent_and_nothing_more(world: World) -> None:
    sender, recipient = world.wallets[1], world.wallets[2]
    command = sender.transfer(recipient.owner, 1000)
    outcome = world.submit(command)
    assert isinstance(outcome, Transferred)
    sender.accepted(command, outcome.position)
    assert isinstance(world.submit(sender.transfer(recipient.owner, 0)), Transferred)
    refused = world.submit(sender.transfer(recipient.owner, 1))
    assert refused == Refusal("DEBIT_WALLET_OVERSPENDING", "1 of 0")


def _send(world: World, sender: int, recipient: int, **flags: Any) -> Transferred | Refusal:
    wallet = world.wallets[sender]
    command = replace(wallet.transfer(world.wallets[recipient].owner, 0), **flags)
    outcome = world.submit(command)
    if isinstance(outcome, Transferred):
        wallet.accepted(command, outcome.position)
    assert isinstance(outcome, Transferred | Refusal)
    return outcome


def test_the_free_transfers_of_an_eon_are_counted_for_each_side(world: World) -> None:
    for _ in range(SLA_THRESHOLD):
        assert isinstance(_send(world, 1, 2), Transferred)
    refused = _send(world, 1, 2)
    assert isinstance(refused, Refusal)
    assert refused.code == "DEBIT_WALLET_EXCEEDED_SLA"
    # A recipient's own entries count, and it may have as many as are free.
    assert isinstance(_send(world, 2, 1), Transferred)
    assert isinstance(_send(world, 1, 2, sender_subscribed=True), Transferred)
    refused = _send(world, 2, 1)
    assert isinstance(refused, Refusal)
    assert refused.code == "CREDIT_WALLET_EXCEEDED_SLA"
    assert isinstance(_send(world, 2, 1, recipient_subscribed=True), Transferred)


def test_exempt_addresses_send_and_receive_without_limit(world: World) -> None:
    for _ in range(2 * SLA_THRESHOLD):
        assert isinstance(_send(world, 0, 1), Transferred)
        assert isinstance(_send(world, 1, 0), Transferred)


def test_payments_of_an_eon_end_where_the_contract_takes_no_challenge() -> None:
    world = World(players(3))
    sender, recipient = world.wallets[0], world.wallets[1]
    world.submit(Deposit(sender.owner, 1, HIGHEST_COUNTER))
    for giver, taker in ((sender, recipient), (recipient, sender)):
        command = giver.transfer(taker.owner, HIGHEST_COUNTER)
        outcome = world.submit(command)
        assert isinstance(outcome, Transferred)
        giver.accepted(command, outcome.position)
    command = Transfer(sender.owner, recipient.owner, 1, 1, 99, 0, b"", b"")
    assert world.submit(command) == Refusal(
        "DEBIT_WALLET_OVERSPENDING", "the contract cannot judge counters beyond 2**128 - 1"
    )


def test_the_same_owner_in_two_tokens_cannot_pay_across(world: World) -> None:
    ether, other = world.wallets[1], world.wallets[4]
    assert ether.address == other.address
    assert (ether.token, other.token) == TOKENS
    assert TOKENS[0] == CONTRACT
    outcome = world.submit(ether.transfer(other.owner, 1))
    assert isinstance(outcome, Refusal)
    assert outcome.code == "DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH"
