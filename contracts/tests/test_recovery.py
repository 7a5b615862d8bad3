"""Leaving a halted chain: everybody once, with all that is his."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.tests.bound import Bound, refuses
from contracts.tests.game import Game
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR, Person
from contracts.tests.withdrawing import confirm, delegated

UNIT = 10**15
RESERVE = 300_000


def recovered(game: Game, person: Person, eon: int, **options: Any) -> int:
    """What a complete recovery brings, sent by a stranger."""
    before = game.node.balance(person.address)
    done = game.recover(person, eon, sender=MALLORY.address, **options)
    paid = game.node.balance(person.address) - before
    expected = ("FundsRecovered", (game.chain.address.lower(), person.address, paid, True))
    assert done.events == ([expected] if paid else [])
    return paid


def parent_chain(game: Game, person: Person) -> int:
    before = game.node.balance(person.address)
    promised = game.chain.read("recoverOnlyParentChainFunds", game.chain.raw, person.raw)
    game.chain.send("recoverOnlyParentChainFunds", game.chain.raw, person.raw, sender=MALLORY.address)
    paid = game.node.balance(person.address) - before
    assert paid == promised
    return paid


def left(game: Game) -> int:
    """What the contract still holds for wallets."""
    found: int = game.chain.read("getServerContractLedgerStateVariables", game.eon, game.chain.raw)[3]
    return found


def test_not_before_the_chain_halts(funded: Game) -> None:
    with refuses("f"):
        funded.recover(ALICE, 1)
    with refuses("f"):
        funded.chain.send("recoverOnlyParentChainFunds", funded.chain.raw, ALICE.raw, sender=ALICE.address)


def test_everybody_gets_all(funded: Game) -> None:
    """Checkpoint 5 is the last, so 4 is final: transfers of eon 3 count, those of eons 4 and 5 do not."""
    game, chain = funded, funded.chain
    game.pass_eons(3)
    game.transfer(ALICE, BOB, 10 * UNIT, nonce=1)
    game.withdraw(ALICE, 20 * UNIT)
    game.pass_eons(4)
    game.deposit(CAROL, 1 * UNIT)
    game.transfer(BOB, CAROL, 50 * UNIT, nonce=2)
    game.withdraw(BOB, 5 * UNIT)
    game.pass_eons(5)
    game.deposit(CAROL, 2 * UNIT)
    game.goto(6, 5)
    game.deposit(CAROL, 4 * UNIT)
    game.goto(7, 0)
    assert recovered(game, ALICE, 4) == (100 - 10 - 20 + 20) * UNIT
    assert recovered(game, BOB, 4) == (50 + 10) * UNIT
    assert recovered(game, CAROL, 4) == (10 + 1 + 2 + 4) * UNIT
    assert recovered(game, OPERATOR, 4) == 0
    assert left(game) == 0
    for person in (ALICE, BOB, CAROL, OPERATOR):
        assert chain.read("getIsWalletRecovered", chain.raw, person.raw)
        with refuses("a"):
            game.recover(person, 4)
        assert parent_chain(game, person) == 0


def test_in_two_steps_and_any_order(funded: Game) -> None:
    game = funded
    game.pass_eons(3)
    game.withdraw(ALICE, 20 * UNIT)
    game.withdraw(BOB, 7 * UNIT)
    game.pass_eons(5)
    game.deposit(BOB, 3 * UNIT)
    game.goto(7, 30)
    assert parent_chain(game, ALICE) == 20 * UNIT
    assert parent_chain(game, ALICE) == 0
    assert recovered(game, BOB, 4) == 53 * UNIT
    assert parent_chain(game, BOB) == 0
    assert recovered(game, ALICE, 4) == 80 * UNIT
    assert recovered(game, CAROL, 4) == 10 * UNIT
    assert left(game) == 0


def test_long_after_the_halt(funded: Game) -> None:
    game = funded
    game.pass_eons(4)
    game.goto(31, 3)
    assert [recovered(game, person, 3) for person in (ALICE, BOB, CAROL)] == [
        100 * UNIT,
        50 * UNIT,
        10 * UNIT,
    ]
    assert left(game) == 0


def test_no_payment_outruns_the_final_checkpoint(funded: Game) -> None:
    """Alice's request of eon 4 is in checkpoint 5 but not in checkpoint 4. In eon 6, in which no checkpoint is
    submitted, it is not paid: recovery by checkpoint 4 pays everybody whole."""
    game = funded
    game.pass_eons(4)
    game.withdraw(ALICE, 60 * UNIT)
    game.withdraw(BOB, 20 * UNIT)
    game.pass_eons(5)
    game.goto(6, 20)
    assert confirm(game, ALICE) == 0
    game.goto(7, 0)
    assert recovered(game, ALICE, 4) == 100 * UNIT
    assert recovered(game, BOB, 4) == 50 * UNIT
    assert recovered(game, CAROL, 4) == 10 * UNIT
    assert left(game) == 0


def test_uncollected_requests(funded: Game) -> None:
    game = funded
    for eon in (3, 4, 5, 6, 7):
        game.pass_eons(eon)
        game.withdraw(ALICE, UNIT)
    game.pass_eons(8)
    game.goto(10, 0)
    assert recovered(game, ALICE, 7) == 100 * UNIT
    assert recovered(game, BOB, 7) == 50 * UNIT
    assert recovered(game, CAROL, 7) == 10 * UNIT
    assert left(game) == 0


def test_early_halts(game: Game) -> None:
    """Without a final checkpoint only deposits come back; a withdrawal that the operator invented does not."""
    game.goto(1, 8)
    game.deposit(ALICE, 5 * UNIT)
    delegated(game, MALLORY, 4 * UNIT)
    game.checkpoint()
    game.goto(2, 3)
    game.deposit(BOB, 6 * UNIT)
    game.goto(3, 0)
    with refuses("r"):
        game.recover(ALICE, 1)
    assert parent_chain(game, MALLORY) == 0
    assert parent_chain(game, ALICE) == 5 * UNIT
    assert parent_chain(game, BOB) == 6 * UNIT
    assert left(game) == 0


def test_no_checkpoint_ever(game: Game) -> None:
    game.deposit(ALICE, 5 * UNIT)
    game.goto(2, 0)
    game.proofs[game.chain.raw, ALICE.raw, 0] = game.proofs.get((game.chain.raw, ALICE.raw, 0), empty_proof())
    with refuses("-"):
        game.recover(ALICE, 0)
    assert parent_chain(game, ALICE) == 5 * UNIT


def empty_proof() -> Any:
    from contracts.tests.game import Proof

    return Proof(0, [], [], [], (0, 0), (0, 0), bytes(32), bytes(32))


def test_wrong_checkpoints_and_claims(funded: Game) -> None:
    game = funded
    game.pass_eons(3)
    game.transfer(ALICE, BOB, 10 * UNIT)
    game.pass_eons(5)
    game.goto(7, 0)
    for stale in (3, 2):
        with refuses("m"):
            game.recover(ALICE, stale)
    game.proofs[game.chain.raw, BOB.raw, 4] = game.proof(ALICE, 4)
    with refuses("m"):
        game.recover(BOB, 4)
    with refuses("t"):
        game.chain.send("recoverOnlyParentChainFunds", MALLORY.raw, ALICE.raw, sender=ALICE.address)


def test_tokens(funded: Game, token: Bound) -> None:
    game, chain = funded, funded.chain
    game.add_token(token.raw)
    game.admit(OPERATOR, ALICE, token=token.raw)
    token.send("transfer", ALICE.raw, 100, sender=OPERATOR.address)
    token.send("approve", chain.raw, 100, sender=ALICE.address)
    game.deposit(ALICE, 70, token=token.raw)
    game.pass_eons(4)
    game.deposit(ALICE, 30, token=token.raw)
    game.goto(6, 0)
    done = game.recover(ALICE, 3, token=token.raw, gas=RESERVE)
    assert done.events == [("FundsRecovered", (token.address.lower(), ALICE.address, 100, True))]
    assert token.read("balanceOf", ALICE.raw) == 100
    assert recovered(game, ALICE, 3, gas=RESERVE) == 100 * UNIT


def test_a_checkpoint_that_allots_too_much_pays_nobody(funded: Game) -> None:
    """The solvency test stands before any payment; what the parent chain knows is still paid."""
    game = funded

    def invent(leaves: Any) -> None:
        leaves[game.chain.raw, OPERATOR.raw].amount += 1

    game.goto(3, 8)
    game.checkpoint(invent)
    game.deposit(BOB, UNIT)
    game.pass_eons(4)
    game.goto(6, 0)
    with refuses("b"):
        game.recover(OPERATOR, 3)
    assert parent_chain(game, BOB) == UNIT


@pytest.mark.parametrize("paid_first", [ALICE, BOB, CAROL])
def test_order_of_recovery_does_not_matter(funded: Game, paid_first: Person) -> None:
    game = funded
    game.pass_eons(3)
    game.withdraw(ALICE, 30 * UNIT)
    game.withdraw(BOB, 1 * UNIT)
    game.pass_eons(4)
    game.withdraw(ALICE, 10 * UNIT)
    game.withdraw(CAROL, 10 * UNIT)
    game.pass_eons(5)
    game.goto(5, 30)
    confirm(game, ALICE)
    game.goto(7, 30)
    total = recovered(game, paid_first, 4)
    total += sum(recovered(game, p, 4) for p in (ALICE, BOB, CAROL) if p is not paid_first)
    assert total == 130 * UNIT
    assert left(game) == 0
