"""Cancelling requests that exceed what their owner declared to leave himself."""

from __future__ import annotations

from contracts.tests.bound import refuses
from contracts.tests.game import Game
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR
from contracts.tests.withdrawing import UNIT, confirm, delegated, pending, slash, total_pending
from nocust.accumulator import accumulate


def test_slashing_over_two_eons(ready: Game) -> None:
    game, chain = ready, ready.chain
    game.withdraw(ALICE, 3 * UNIT)
    game.withdraw(BOB, 2 * UNIT)
    game.goto(4, 1)
    game.withdraw(ALICE, 4 * UNIT)
    previous = [chain.read("getParentChainAccumulatorAtSlot", slot) for slot in (3, 4)]
    done = slash(game, ALICE, 3, 7 * UNIT - 1)
    assert done.events == [("WithdrawalSlashed", (chain.address.lower(), ALICE.address, 3 * UNIT, 4 * UNIT))]
    expected = [
        accumulate(previous[0], 3, chain.raw, ALICE.raw, 2, 3 * UNIT),
        accumulate(previous[1], 4, chain.raw, ALICE.raw, 2, 4 * UNIT),
    ]
    assert [chain.read("getParentChainAccumulatorAtSlot", slot) for slot in (3, 4)] == expected
    assert [total_pending(game, eon) for eon in (2, 3, 4)] == [0, 2 * UNIT, 2 * UNIT]
    assert pending(game, ALICE) == []
    game.book(ALICE, 3).withdrawals = game.book(ALICE, 4).withdrawals = 0
    game.withdraw(ALICE, UNIT)
    assert pending(game, ALICE) == [(4, UNIT)]
    game.pass_eons(6)
    game.goto(6, 30)
    assert game.balance(chain.raw, ALICE, 5) == 99 * UNIT
    assert confirm(game, ALICE) == UNIT
    assert confirm(game, BOB) == 2 * UNIT


def test_slashing_only_the_previous_eon(ready: Game) -> None:
    game = ready
    game.withdraw(ALICE, 3 * UNIT)
    game.goto(4, 2)
    slash(game, ALICE, 4, 0)
    assert [total_pending(game, eon) for eon in (3, 4)] == [0, 0]
    game.book(ALICE, 3).withdrawals = 0
    game.checkpoint()
    game.withdraw(BOB, UNIT)
    assert [total_pending(game, eon) for eon in (3, 4)] == [0, UNIT]


def test_slashing_spares_what_the_checkpoint_honours(ready: Game) -> None:
    """After the checkpoint of eon 4 the requests of eon 3 still count, but only those of eon 4 are cancelled, and
    the operator can still justify the checkpoint."""
    game = ready
    game.withdraw(ALICE, 3 * UNIT)
    game.pass_eons(4)
    with refuses("d"):
        slash(game, ALICE, 3, 0)
    game.withdraw(ALICE, 4 * UNIT)
    done = slash(game, ALICE, 3, 6 * UNIT)
    assert done.events == [("WithdrawalSlashed", (game.chain.address.lower(), ALICE.address, 0, 4 * UNIT))]
    assert pending(game, ALICE) == [(3, 3 * UNIT)]
    assert [total_pending(game, eon) for eon in (3, 4)] == [3 * UNIT, 3 * UNIT]
    game.goto(4, 16)
    game.challenge_state(ALICE)
    game.answer_state(ALICE, 3)


def test_slashing_counts_the_requests_of_a_marker_two_eons_old(ready: Game) -> None:
    """Alice declares in eon 3 to leave herself 40, requests 40 and, in time for nobody to cancel it before eon 5,
    another 40. Only together with the request of the marker's own eon do they exceed what she declared."""
    game, chain = ready, ready.chain
    game.withdraw(ALICE, 40 * UNIT)
    game.pass_eons(4)
    game.goto(4, 30)
    game.withdraw(ALICE, 40 * UNIT)
    game.goto(5, 1)
    with refuses("b"):
        slash(game, ALICE, 3, 80 * UNIT)
    with refuses("b"):  # a younger marker knows nothing of the older request
        slash(game, ALICE, 4, 40 * UNIT)
    done = slash(game, ALICE, 3, 40 * UNIT)
    assert done.events == [("WithdrawalSlashed", (chain.address.lower(), ALICE.address, 40 * UNIT, 0))]
    assert pending(game, ALICE) == [(3, 40 * UNIT)]
    game.book(ALICE, 4).withdrawals = 0
    game.pass_eons(7)
    game.goto(7, 30)
    assert confirm(game, ALICE) == 40 * UNIT


def test_slashing_refusals(ready: Game) -> None:
    game = ready
    game.withdraw(ALICE, 5 * UNIT)
    for other in (ALICE, MALLORY):
        with refuses("o"):
            slash(game, ALICE, 3, 0, sender=other)
    with refuses("b"):
        slash(game, ALICE, 3, 5 * UNIT)
    with refuses("m"):
        slash(game, ALICE, 0, 0)
    with refuses("m"):
        slash(game, ALICE, 4, 0)
    with refuses("a"):
        slash(game, ALICE, 3, 0, signer=OPERATOR)
    game.pass_eons(5)
    with refuses("b"):  # requests older than the previous eon are out of reach
        slash(game, ALICE, 4, 0)


def test_an_authorization_is_no_marker(game: Game) -> None:
    """W6: a stranger reuses a delegation whose expiry block is a plausible eon number."""
    game.deposit(ALICE, 100 * UNIT)
    late = game.node.block_number() + 1
    delegated(game, ALICE, UNIT, expiry=late)
    game.book(ALICE).withdrawals += UNIT
    game.pass_eons(4)
    game.withdraw(ALICE, 50 * UNIT)
    with refuses("m"):  # its block number is no eon that has begun
        slash(game, ALICE, late, UNIT)
    game.pass_eons(late)
    game.withdraw(ALICE, 5 * UNIT)
    with refuses("a"):  # even once it is
        slash(game, ALICE, late, UNIT)
    assert game.eon == late


def test_slashing_works_on_a_halted_chain(ready: Game) -> None:
    game = ready
    game.withdraw(ALICE, 5 * UNIT)
    game.goto(4, 30)
    game.withdraw(CAROL, UNIT, proof=game.proof(CAROL, 3))
    game.goto(5, 1)
    assert game.chain.read("hasMissedCheckpointSubmission")
    slash(game, CAROL, 4, 0)
    assert pending(game, CAROL) == []
