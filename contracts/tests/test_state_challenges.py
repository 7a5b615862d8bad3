"""Challenges about a wallet's balance: an honest operator answers, a cheating one cannot."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from contracts.tests.bound import Refused, refuses
from contracts.tests.game import GWEI, PLENTY, Game, Leaves
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR, Person
from nocust.encoding import ZERO_HASH

UNIT = 10**15
NO_CHALLENGE = (0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def busy(funded: Game) -> Game:
    """Eon 3 saw transfers among all, a deposit and a withdrawal; eon 4 begins."""
    game = funded
    game.pass_eons(3)
    game.transfer(ALICE, BOB, 20 * UNIT, nonce=1)
    game.transfer(BOB, ALICE, 5 * UNIT, nonce=2)
    game.transfer(ALICE, CAROL, 3 * UNIT, nonce=3)
    game.deposit(ALICE, 7 * UNIT)
    game.withdraw(ALICE, 10 * UNIT)
    game.goto(4, 8)
    return game


def key(game: Game, person: Person) -> tuple[bytes, bytes, bytes]:
    return game.chain.raw, person.raw, person.raw


def test_an_honest_operator_answers(busy: Game) -> None:
    game, chain = busy, busy.chain
    game.checkpoint()
    assert game.balance(chain.raw, ALICE, 3) == 79 * UNIT
    game.goto(4, 16)
    opened = game.challenge_state(ALICE)
    assert opened.events == [("ChallengeIssued", (chain.address.lower(), ALICE.address, ALICE.address))]
    expected = (1, opened.block, 3, 100 * UNIT, 23 * UNIT, 0, 0, 0, 1)
    assert chain.read("getChallenge", *key(game, ALICE)) == expected
    assert chain.read("getCurrentEonDepositsWithdrawals", chain.raw, ALICE.raw) == (7 * UNIT, 10 * UNIT)
    assert chain.read("getLiveChallenges", 4) == 1
    answered = game.answer_state(ALICE, 3, sender=MALLORY)
    (name, update), closed = answered.events
    p = game.proof(ALICE, 4)
    assert name == "StateUpdate"
    assert update[:4] == (chain.address.lower(), ALICE.address, 3, 1)
    assert [list(part) for part in update[4:7]] == [p.chain, p.membership, p.values]
    assert update[8:10] == (p.active, p.passive_root)
    assert closed == ("ChallengeAnswered", (chain.address.lower(), ALICE.address, ALICE.address))
    assert chain.read("getChallenge", *key(game, ALICE)) == (0, 0, 3, 0, 0, 0, 0, 0, 0)
    assert chain.read("getLiveChallenges", 4) == 0
    for person in (BOB, CAROL, OPERATOR):
        game.challenge_state(person)
        game.answer_state(person, 3)
    game.goto(5, 30)
    assert not chain.read("hasOutstandingChallenges")


def test_every_old_state_is_answered_with_the_newest(busy: Game) -> None:
    game = busy
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_state(ALICE, count=1)
    with refuses("B"):
        game.answer_state(ALICE, 3, count=1)
    game.answer_state(ALICE, 3)


def test_stolen_balance(busy: Game) -> None:
    """The operator moves one unit from Alice to himself; nobody has to believe him."""
    game, chain = busy, busy.chain

    def steal(leaves: Leaves) -> None:
        leaves[chain.raw, ALICE.raw].amount -= 1
        leaves[chain.raw, OPERATOR.raw].amount += 1

    game.checkpoint(steal)
    game.goto(4, 40)
    game.challenge_state(ALICE)
    with refuses("B"):
        game.answer_state(ALICE, 3)
    game.goto(5, 15)
    assert not chain.read("hasOutstandingChallenges")
    game.goto(5, 16)
    assert chain.read("hasOutstandingChallenges")
    with refuses("p"):
        game.checkpoint()
    before = game.node.balance(ALICE.address)
    game.recover(ALICE, 3)
    assert game.node.balance(ALICE.address) - before == 107 * UNIT  # allotment before, and the deposit since


def test_forgotten_deposit(busy: Game) -> None:
    """W5: deposits are looked up for the challenger, not for who answers."""
    game, chain = busy, busy.chain

    def forget(leaves: Leaves) -> None:
        leaves[chain.raw, ALICE.raw].amount -= 7 * UNIT

    game.checkpoint(forget)
    game.goto(4, 16)
    game.challenge_state(ALICE)
    for sender in (OPERATOR, ALICE):
        with refuses("B"):
            game.answer_state(ALICE, 3, sender=sender)


def test_forged_deltas(busy: Game) -> None:
    """The operator pretends that Bob spent what he did not."""
    game, chain = busy, busy.chain
    book = game.book(BOB, 3)

    def forge(leaves: Leaves) -> None:
        book.spent += 9 * UNIT
        leaves[chain.raw, BOB.raw].active = game.state(BOB, 3)[0]
        leaves[chain.raw, BOB.raw].amount -= 9 * UNIT
        book.spent -= 9 * UNIT

    game.checkpoint(forge)
    game.goto(4, 16)
    game.challenge_state(BOB)
    with refuses("B"):  # the state that Bob signed does not cover the new balance
        game.answer_state(BOB, 3)
    book.spent += 9 * UNIT
    hashed, root, deltas = game.state(BOB, 3)
    p = game.proof(BOB, 4)
    r, s, v = OPERATOR.sign(hashed)
    with refuses("A"):  # and he did not sign the other one
        chain.send(
            "answerStateUpdateChallenge",
            chain.raw,
            BOB.raw,
            *p.branches,
            [p.lr, deltas, p.pm],
            [r, s, r, s, root, p.passive_root],
            [v, v],
            sender=OPERATOR.address,
        )


def test_withheld_state(busy: Game) -> None:
    """The operator commits to an old state of Bob's wallet, in which he had spent nothing yet and gained less."""
    game, chain = busy, busy.chain

    def withhold(leaves: Leaves) -> None:
        leaves[chain.raw, ALICE.raw].active = game.state(ALICE, 3, count=1)[0]

    game.checkpoint(withhold)
    game.goto(4, 16)
    game.challenge_state(ALICE)
    with refuses("x"):
        game.answer_state(ALICE, 3, count=1)


def test_silent_operator(busy: Game) -> None:
    game, chain = busy, busy.chain
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_state(CAROL)
    before = game.node.balance(CAROL.address)
    with refuses("f"):
        chain.send("reclaimChallengeFee", *key(game, CAROL), False, sender=MALLORY.address)
    held = chain.read("getFees")[0]
    game.goto(4, 31)
    with refuses("w"):  # a late answer does not help
        game.answer_state(CAROL, 3)
    game.goto(5, 3)
    with refuses("c"):
        game.checkpoint()
    game.goto(5, 16)
    with refuses("p"):
        game.challenge_state(BOB)
    chain.send("reclaimChallengeFee", *key(game, CAROL), False, sender=MALLORY.address)
    assert game.node.balance(CAROL.address) - before == held
    with refuses("k"):
        chain.send("reclaimChallengeFee", *key(game, CAROL), False, sender=MALLORY.address)
    assert chain.read("getFees")[0] == 0
    assert chain.read("hasOutstandingChallenges")
    game.goto(6, 1)
    assert chain.read("hasMissedCheckpointSubmission")


def test_no_checkpoint_at_all(busy: Game) -> None:
    """Before a checkpoint is there the challenge can be opened, and not be answered."""
    game = busy
    game.goto(4, 16)
    game.challenge_state(ALICE)
    game.goto(4, 28)
    game.checkpoint()
    game.answer_state(ALICE, 3)


def test_windows(busy: Game) -> None:
    game, chain = busy, busy.chain
    game.checkpoint()
    with refuses("w"):
        game.challenge_state(ALICE)
    game.goto(4, 15)
    with refuses("w"):
        game.challenge_state(ALICE)
    game.goto(4, 16)
    game.challenge_state(ALICE)
    game.goto(4, 30)
    game.answer_state(ALICE, 3)
    game.goto(4, 59)
    game.challenge_state(BOB)
    game.goto(5, 13)
    game.answer_state(BOB, 3)
    assert chain.read("getLiveChallenges", 4) == 0


def test_the_answer_comes_too_late_across_the_border(busy: Game) -> None:
    game = busy
    game.checkpoint()
    game.goto(4, 59)
    game.challenge_state(BOB)
    game.goto(5, 14)
    with refuses("w"):
        game.answer_state(BOB, 3)


def test_one_challenge_an_eon(busy: Game) -> None:
    game = busy
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_state(ALICE)
    with refuses("k"):
        game.challenge_state(ALICE)
    game.answer_state(ALICE, 3)
    with refuses("k"):
        game.challenge_state(ALICE)
    with refuses("k"):
        game.answer_state(ALICE, 3)
    game.goto(5, 8)
    game.checkpoint()
    game.goto(5, 16)
    game.challenge_state(ALICE)
    game.answer_state(ALICE, 4)


def test_challenge_refusals(busy: Game) -> None:
    game = busy
    game.checkpoint()
    game.goto(4, 16)
    with refuses("A"):  # nobody agreed to these
        game.challenge_state(ALICE, deltas=(1, 2))
    with refuses("r"):
        game.challenge_state(ALICE, value=10**11)
    game.proofs[game.chain.raw, ALICE.raw, 3] = replace(game.proof(ALICE, 3), lr=(0, 101 * UNIT))
    with refuses("m"):
        game.challenge_state(ALICE)


def test_no_challenge_in_the_first_eon(game: Game) -> None:
    game.goto(1, 30)
    game.checkpoint()
    with refuses("A"):
        game.challenge_empty(ALICE, signer=MALLORY)
    with refuses("k"):
        game.challenge_empty(ALICE)


def test_a_new_wallet_challenges_with_its_admission(funded: Game) -> None:
    """Mallory registers and deposits in eon 2 and is left out of the checkpoint of eon 3."""
    game, chain = funded, funded.chain
    game.admit(MALLORY)
    game.deposit(MALLORY, 9 * UNIT)

    def leave_out(leaves: Leaves) -> None:
        leaves[chain.raw, MALLORY.raw].amount = 0
        leaves[chain.raw, OPERATOR.raw].amount = 9 * UNIT

    game.goto(3, 8)
    game.checkpoint(leave_out)
    game.goto(3, 16)
    with refuses("A"):
        game.challenge_empty(MALLORY, signer=MALLORY)
    opened = game.challenge_empty(MALLORY)
    assert chain.read("getChallenge", *key(game, MALLORY)) == (1, opened.block, 2, 0, 0, 0, 0, 0, 4)
    with refuses("B"):
        game.answer_state(MALLORY, 2)


def test_a_new_wallet_is_answered(funded: Game) -> None:
    game = funded
    game.admit(MALLORY)
    game.deposit(MALLORY, 9 * UNIT)
    game.transfer(MALLORY, ALICE, 4 * UNIT)
    game.pass_eons(3)
    game.goto(3, 16)
    game.challenge_empty(MALLORY)
    game.answer_state(MALLORY, 2)


def test_state_without_deltas_but_with_a_set(busy: Game) -> None:
    """A transfer of nothing leaves zero deltas and a set: the wallet's entry holds a state, and it can be shown."""
    game = busy
    game.transfer(CAROL, ALICE, 0, nonce=9)
    game.goto(4, 8)
    game.pass_eons(4)
    game.transfer(CAROL, ALICE, 0, nonce=9)
    game.pass_eons(5)
    game.goto(5, 16)
    assert game.proof(CAROL, 5).active != ZERO_HASH
    game.challenge_state(CAROL)
    game.answer_state(CAROL, 4)


def test_fees(busy: Game) -> None:
    """W18: the surplus comes back at once, the fee goes to the operator when he has answered."""
    game, chain = busy, busy.chain
    game.checkpoint()
    game.goto(4, 16)
    before = game.node.balance(ALICE.address)
    done = game.challenge_state(ALICE, value=PLENTY)
    cost = before - game.node.balance(ALICE.address)
    held, earned = chain.read("getFees")
    assert held == cost
    assert (done.gas - 21_000) * 5 * GWEI * 6 // 10 < cost < done.gas * 5 * GWEI
    game.answer_state(ALICE, 3)
    assert chain.read("getFees") == (0, earned + cost)


def test_fee_at_a_high_gas_price(busy: Game) -> None:
    """The minimum price always suffices; more is kept at higher prices as far as it was sent."""
    game, chain = busy, busy.chain
    game.checkpoint()
    game.goto(4, 16)
    minimum = 130_000 * 5 * GWEI
    game.challenge_state(ALICE, value=minimum, gas_price=50 * GWEI)
    held = chain.read("getFees")[0]
    assert minimum - 2**45 < held <= minimum
    game.challenge_state(BOB, value=PLENTY * 10, gas_price=50 * GWEI)
    assert chain.read("getFees")[0] - held > 60_000 * 50 * GWEI


def test_exact_gas_within_the_client_limit(busy: Game) -> None:
    game = busy
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_state(ALICE, value=400_000 * 5 * GWEI, gas=400_000)


def test_many_challenges_are_counted(busy: Game) -> None:
    game, chain = busy, busy.chain
    game.checkpoint()
    game.goto(4, 50)
    people = (ALICE, BOB, CAROL, OPERATOR)
    for count, person in enumerate(people, start=1):
        game.challenge_state(person)
        assert chain.read("getLiveChallenges", 4) == count
        assert chain.read("getCheckpointAtSlot", 4) == (4, game.roots[4], count)
    for person in people[:-1]:
        game.answer_state(person, 3)
    assert chain.read("getServerContractStateVariables")[5] == 1
    game.goto(5, 2)
    with refuses("c"):
        game.checkpoint()
    game.answer_state(OPERATOR, 3)
    game.checkpoint()


def test_answers_in_one_transaction(busy: Game) -> None:
    """W19: a batch goes on where one of its answers has been given already."""
    game, chain = busy, busy.chain
    game.checkpoint()
    game.goto(4, 16)
    people = (ALICE, BOB, CAROL)
    for person in people:
        game.challenge_state(person)
    alone = game.answer_state(BOB, 3).gas
    calls = []
    for person in people:
        snapshot = game.node.rpc("evm_snapshot")
        with suppress(Refused):
            game.answer_state(person, 3)
        block = game.node.rpc("eth_getBlockByNumber", "latest", True)
        calls.append(bytes.fromhex(block["transactions"][0]["input"][2:]))
        game.node.rpc("evm_revert", snapshot)
    assert chain.read("batch", calls, sender=OPERATOR.address) == (True, False, True)
    done = chain.send("batch", calls, sender=OPERATOR.address)
    assert chain.read("getLiveChallenges", 4) == 0
    assert done.gas < 3 * alone
