"""Challenges about transfers: the rule under which an honest operator always answers and a cheating one never."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from contracts.tests.bound import refuses
from contracts.tests.game import Game, Leaves, Transfer
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR, Person
from nocust.encoding import ZERO_HASH

UNIT = 10**15


@dataclass
class Payments:
    """Eon 3 saw five transfers; eon 4 begins. Alice's are `first`, `second` and the still open `last`."""

    game: Game
    first: Transfer
    second: Transfer
    last: Transfer
    bobs: Transfer
    other: Transfer


@pytest.fixture
def payments(funded: Game) -> Payments:
    game = funded
    game.pass_eons(3)
    first = game.transfer(ALICE, BOB, 20 * UNIT, nonce=11)
    bobs = game.transfer(BOB, CAROL, 1 * UNIT, nonce=12)
    second = game.transfer(ALICE, CAROL, 2 * UNIT, nonce=13)
    other = game.transfer(CAROL, BOB, 4 * UNIT, nonce=14)
    last = game.transfer(ALICE, BOB, 3 * UNIT, nonce=15)
    game.goto(4, 8)
    return Payments(game, first, second, last, bobs, other)


def drop(game: Game, transfer: Transfer) -> None:
    """The operator does not deliver: the recipient's other transfers close the gap in what he received."""
    book = game.book(transfer.recipient, 3)
    kept, book.received = [t for t in book.received if t is not transfer], []
    for other in kept:
        book.received.append(replace(other, position=book.total_received))


@pytest.mark.parametrize("by", ["sender", "recipient"])
def test_delivered_transfers_are_answered(payments: Payments, by: str) -> None:
    """Each transfer in each state of its sender, so also in those in which it was still open."""
    game = payments.game
    game.checkpoint()
    cases = [
        (payments.first, 1),  # open in the first state
        (payments.second, None),  # final in the newest
        (payments.bobs, None),  # open in the newest
        (payments.other, 1),
    ]
    game.goto(4, 16)
    for transfer, count in cases:
        opened = game.challenge_delivery(transfer, getattr(transfer, by), count)
        assert opened.events[0][0] == "ChallengeIssued"
        assert opened.events[0][1][1:] == (transfer.recipient.address, transfer.sender.address)
        game.answer_delivery(transfer, 3)
    assert game.chain.read("getLiveChallenges", 4) == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_same_transfer_in_all_states(payments: Payments, count: int) -> None:
    game = payments.game
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(payments.first, BOB, count)
    game.answer_delivery(payments.first, 3)


def test_the_newest_transfer_in_the_committed_state(payments: Payments) -> None:
    """The sender's mark makes the open transfer's position certain."""
    game = payments.game
    game.checkpoint()
    game.goto(4, 16)
    for transfer in (payments.last, payments.bobs, payments.other):
        game.challenge_committed(transfer, transfer.recipient)
        found = game.chain.read("getChallenge", game.chain.raw, transfer.sender.raw, transfer.recipient.raw)
        assert (found[0], found[6], found[7]) == (2, transfer.amount, transfer.tag(open_=False))
        game.answer_delivery(transfer, 3)
    with refuses("e"):
        game.challenge_committed(payments.second, CAROL)
    with refuses("e"):
        game.challenge_committed(payments.last, ALICE, nonce=1)


@pytest.mark.parametrize("which", ["first", "second", "last", "bobs", "other"])
@pytest.mark.parametrize("by", ["sender", "recipient"])
def test_undelivered_transfer(payments: Payments, which: str, by: str) -> None:
    """Nothing else that the recipient received stands in for it, at any position or nonce."""
    game = payments.game
    transfer: Transfer = getattr(payments, which)
    recipient = game.book(transfer.recipient, 3)
    drop(game, transfer)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(transfer, getattr(transfer, by))
    for place in recipient.received:
        with refuses("k"):
            game.answer_delivery(transfer, 3, at=place)
        with refuses("n", "x", "l"):
            game.answer_delivery(transfer, 3, at=place, position=transfer.position, nonce=transfer.nonce)
    game.goto(5, 16)
    assert game.chain.read("hasOutstandingChallenges")


def test_undelivered_newest_transfer_in_the_committed_state(payments: Payments) -> None:
    game = payments.game
    drop(game, payments.last)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_committed(payments.last, BOB)
    for place in game.book(BOB, 3).received:
        with refuses("k"):
            game.answer_delivery(payments.last, 3, at=place)


def test_delivery_of_less(payments: Payments) -> None:
    game = payments.game
    delivered = game.book(BOB, 3).received[0]
    assert delivered is payments.first
    challenged = replace(delivered)
    delivered.amount -= 1
    game.book(ALICE, 3).items[0] = challenged
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(challenged, BOB)
    with refuses("n"):  # the place in the tree is one unit short
        game.answer_delivery(challenged, 3, at=delivered)


def test_delivery_beyond_what_is_credited(payments: Payments) -> None:
    """The tree contains the transfer, but the recipient's entry does not count it."""
    game, chain = payments.game, payments.game.chain

    def count_less(leaves: Leaves) -> None:
        leaves[chain.raw, BOB.raw].passive_amount -= 1

    game.checkpoint(count_less)
    game.goto(4, 16)
    game.challenge_delivery(payments.last, BOB)
    with refuses("B"):
        game.answer_delivery(payments.last, 3)


def test_final_tag_needs_its_very_position(payments: Payments) -> None:
    game = payments.game
    bob = game.book(BOB, 3)
    game.checkpoint()
    game.goto(4, 16)
    assert bob.received[0] is payments.first
    game.challenge_delivery(payments.first, BOB, 2)
    with refuses("k"):
        game.answer_delivery(payments.first, 3, position=1)
    game.answer_delivery(payments.first, 3)


def test_open_tag_is_not_answered_by_the_open_position(payments: Payments) -> None:
    game = payments.game
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(payments.last, BOB)
    with refuses("+"):
        game.answer_delivery(payments.last, 3, position=2**256 - 1)
    game.answer_delivery(payments.last, 3)


def test_dust_does_not_block_the_recipient(payments: Payments) -> None:
    """W11: the sender uses up his own record only."""
    game, chain = payments.game, payments.game.chain
    drop(game, payments.first)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(payments.last, ALICE)
    key = (chain.raw, ALICE.raw, BOB.raw)
    assert chain.read("getChallenge", *key)[6] == payments.last.amount
    game.challenge_delivery(payments.first, BOB)
    delivered = game.book(BOB, 3).received[-1]
    assert chain.read("getChallenge", *key)[6] == payments.first.amount
    assert chain.read("getChallengeOf", *key, True)[6] == payments.last.amount
    assert chain.read("getLiveChallenges", 4) == 2
    game.answer_delivery(payments.last, 3, at=delivered)
    assert chain.read("getLiveChallenges", 4) == 1
    assert chain.read("getChallengeOf", *key, True) == (0, 0, 3, 0, 0, 0, 0, 0, 0)
    with refuses("n", "x"):
        game.answer_delivery(payments.first, 3, at=delivered, position=0, nonce=11)


def test_both_parties_challenge_the_same_transfer(payments: Payments) -> None:
    game = payments.game
    game.checkpoint()
    game.goto(4, 16)
    for by in (ALICE, BOB):
        game.challenge_delivery(payments.last, by)
        with refuses("k"):
            game.challenge_delivery(payments.first, by)
    game.answer_delivery(payments.last, 3)
    game.answer_delivery(payments.last, 3)
    assert game.chain.read("getLiveChallenges", 4) == 0


def test_challenge_refusals(payments: Payments) -> None:
    game = payments.game
    game.checkpoint()
    with refuses("w"):
        game.challenge_delivery(payments.last, BOB)
    game.goto(4, 16)
    for outsider in (CAROL, OPERATOR, MALLORY):
        with refuses("d"):
            game.challenge_delivery(payments.last, outsider)
        with refuses("d"):
            game.challenge_committed(payments.last, outsider)
    with refuses("r"):
        game.challenge_delivery(payments.last, BOB, value=1)
    book = game.book(ALICE, 3)
    book.spent += 1
    with refuses("m"):  # not the committed state
        game.challenge_committed(payments.last, BOB)
    book.spent -= 1
    payments.last.index = 1
    with refuses("e"):
        game.challenge_delivery(payments.last, BOB)


def test_a_state_that_the_operator_did_not_sign(payments: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    game = payments.game
    game.checkpoint()
    game.goto(4, 16)
    monkeypatch.setattr("contracts.tests.game.OPERATOR", ALICE)
    with refuses("A"):
        game.challenge_delivery(payments.last, BOB)


def test_state_of_an_older_eon(payments: Payments) -> None:
    game = payments.game
    game.checkpoint()
    game.goto(5, 8)
    game.checkpoint()
    game.goto(5, 16)
    game.books[game.chain.raw, ALICE.raw, 4] = game.book(ALICE, 3)
    game.book(BOB, 4).received = game.book(BOB, 3).received
    game.challenge_delivery(payments.last, BOB)  # signed for eon 4, so the operator would have to answer
    with refuses("n"):
        game.answer_delivery(payments.last, 4)


def test_answer_through_the_recipients_own_state(funded: Game) -> None:
    """The older kind of transfer: in the recipient's countersigned set, counted as gained."""
    game, chain = funded, funded.chain
    game.pass_eons(3)
    transfer = game.transfer(ALICE, BOB, 6 * UNIT, nonce=5)
    received = replace(transfer, recipient=ALICE, index=0)
    bob = game.book(BOB, 3)
    bob.received.clear()
    bob.items.append(received)  # the leaf's counterparty is the sender
    bob.gained = 6 * UNIT
    game.goto(4, 8)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_delivery(transfer, ALICE)
    p = game.proof(BOB, 4)
    _, root, deltas = game.state(BOB, 3)
    arguments = (*p.branches, [p.lr, deltas, p.pm], [root, p.passive_root], bob.tree().proof(0))
    name = "answerTransferDeliveryChallengeWithProofOfActiveStateUpdateAgreement"
    with refuses("k"):
        chain.send(name, chain.raw, [BOB.raw, ALICE.raw], 0, *arguments, sender=OPERATOR.address)
    with refuses("k"):
        chain.send(name, chain.raw, [ALICE.raw, BOB.raw], 1, *arguments, sender=OPERATOR.address)
    chain.send(name, chain.raw, [ALICE.raw, BOB.raw], 0, *arguments, sender=OPERATOR.address)
    assert chain.read("getLiveChallenges", 4) == 0


def test_random_eons(funded: Game) -> None:
    """Random transfers, challenged in random states; all are answered, and none with another's place."""
    game = funded
    chance = random.Random(7)
    people: list[Person] = [ALICE, BOB, CAROL]
    game.pass_eons(3)
    made: list[Transfer] = []
    for nonce in range(24):
        sender, recipient = chance.sample(people, 2)
        made.append(game.transfer(sender, recipient, chance.randrange(3) * UNIT // 10, nonce=nonce))
    game.goto(4, 8)
    game.checkpoint()
    game.goto(4, 16)
    for sender in people:
        for recipient in people:
            candidates = [t for t in made if (t.sender, t.recipient) == (sender, recipient)]
            if not candidates:
                continue
            transfer = chance.choice(candidates)
            length = len(game.book(sender, 3).items)
            by = chance.choice([sender, recipient])
            game.challenge_delivery(transfer, by, chance.randrange(transfer.index + 1, length + 1))
            wrong = [t for t in game.book(recipient, 3).received if t is not transfer]
            if wrong:
                with refuses("k"):
                    game.answer_delivery(transfer, 3, at=chance.choice(wrong))
            game.answer_delivery(transfer, 3)
    assert game.chain.read("getLiveChallenges", 4) == 0
    assert game.proof(ALICE, 4).active != ZERO_HASH
