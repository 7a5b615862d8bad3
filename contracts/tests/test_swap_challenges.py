"""Challenges about orders: the limit price or better is answered, anything worse is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from contracts.tests.bound import Bound, refuses
from contracts.tests.game import Game, Leaves, Order
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR
from nocust.encoding import ZERO_HASH
from nocust.messages import conduit

UNIT = 10**15


@dataclass
class Market:
    """Alice owns 100 finney and no LQD in eon 3, Bob 500 LQD units; eon 3 is under way."""

    game: Game
    lqd: bytes

    @property
    def tokens(self) -> tuple[bytes, bytes]:
        return self.game.chain.raw, self.lqd

    def settle(self, order: Order, taken: int, given: int) -> None:
        """The operator matches Alice's order: what she gives and gets goes to and comes from himself."""
        order.taken, order.given = taken, given
        eth, lqd = self.tokens
        eon = self.game.eon
        self.game.book(OPERATOR, eon, eth).gained += taken
        self.game.book(OPERATOR, eon, lqd).spent += given


@pytest.fixture
def market(funded: Game, token: Bound) -> Market:
    game = funded
    game.add_token(token.raw)
    game.admit(OPERATOR, ALICE, BOB, token=token.raw)
    token.send("approve", game.chain.raw, 10**27, sender=OPERATOR.address)
    game.deposit(OPERATOR, 500 * UNIT, token=token.raw)
    game.pass_eons(3)
    return Market(game, token.raw)


def play(market: Market, taken: int, given: int, done: bool = False) -> Order:
    """An order to sell 100 finney for 300 LQD, matched so far, challenged in the next eon."""
    game = market.game
    order = game.order(ALICE, market.tokens, 100 * UNIT, 300 * UNIT)
    market.settle(order, taken, given)
    if done:
        order.done = True
        game.book(ALICE, token=market.lqd).gained += given
    game.goto(4, 8)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_swap(order)
    return order


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        (0, 0),
        (40 * UNIT, 120 * UNIT),
        (40 * UNIT, 200 * UNIT),
        (1, 3),
        (1, 500 * UNIT),
        (0, 7),
        (100 * UNIT, 300 * UNIT),
    ],
    ids=["untouched", "at the limit", "better", "a unit", "a gift", "all gift", "whole"],
)
def test_fair_execution_is_answered(market: Market, taken: int, given: int) -> None:
    """W4: also at a better price than the limit."""
    order = play(market, taken, given)
    market.game.answer_swap(order, 3)
    assert market.game.chain.read("getLiveChallenges", 4) == 0


@pytest.mark.parametrize(
    ("taken", "given"),
    [(2 * UNIT, 0), (40 * UNIT, 120 * UNIT - 100), (100 * UNIT, 299 * UNIT), (40 * UNIT, 13 * UNIT)],
    ids=["for nothing", "a hundred short", "nearly", "at the inverse price"],
)
def test_unfair_execution_is_not(market: Market, taken: int, given: int) -> None:
    """W4."""
    order = play(market, taken, given)
    with refuses("v"):
        market.game.answer_swap(order, 3)
    market.game.goto(5, 16)
    assert market.game.chain.read("hasOutstandingChallenges")


def test_complete_order(market: Market) -> None:
    order = play(market, 100 * UNIT, 300 * UNIT, done=True)
    with refuses("M"):
        market.game.answer_swap(order, 3, start=0)
    market.game.answer_swap(order, 3)


def test_an_open_order_does_not_pass_for_complete(market: Market) -> None:
    order = play(market, 100 * UNIT, 0)
    with refuses("M"):
        market.game.answer_swap(order, 3, start=2**256 - 1)


def test_record_and_answer_by_anybody(market: Market) -> None:
    game, chain = market.game, market.game.chain
    order = play(market, 40 * UNIT, 120 * UNIT)
    found = chain.read("getChallenge", conduit(*order.tokens), ALICE.raw, ALICE.raw)
    block = game.node.block_number()
    assert found == (3, block, 3, 0, 100 * UNIT, 300 * UNIT, 60 * UNIT, 3, order.credit_trail)
    assert chain.read("getChallenge", chain.raw, ALICE.raw, ALICE.raw)[0] == 0
    with refuses("k"):
        game.challenge_swap(order)
    game.challenge_state(ALICE)
    game.answer_state(ALICE, 3)
    game.answer_swap(order, 3)
    assert chain.read("getChallenge", conduit(*order.tokens), ALICE.raw, ALICE.raw) == (
        0,
        0,
        3,
        0,
        0,
        0,
        0,
        0,
        0,
    )
    with refuses("k"):
        game.answer_swap(order, 3)


@pytest.mark.parametrize("withheld", [0, 1])
def test_deposits_and_withdrawals_are_those_of_the_challenged_eon(market: Market, withheld: int) -> None:
    """W5: Alice deposits and withdraws on both sides while the order is open."""
    game = market.game
    order = game.order(ALICE, market.tokens, 100 * UNIT, 300 * UNIT)
    game.deposit(ALICE, 5 * UNIT)
    game.withdraw(ALICE, 2 * UNIT)
    token = Bound(game.node, "TestToken", "0x" + market.lqd.hex())
    token.send("transfer", ALICE.raw, 9 * UNIT, sender=OPERATOR.address)
    token.send("approve", game.chain.raw, 9 * UNIT, sender=ALICE.address)
    game.deposit(ALICE, 9 * UNIT, token=market.lqd)
    market.settle(order, 20 * UNIT, 60 * UNIT - withheld * UNIT)
    game.goto(4, 8)
    game.checkpoint()
    game.goto(4, 16)
    game.challenge_swap(order)
    if withheld:
        with refuses("v"):
            game.answer_swap(order, 3)
    else:
        game.answer_swap(order, 3)


def test_challenge_refusals(market: Market) -> None:
    game = market.game
    order = game.order(ALICE, market.tokens, 100 * UNIT, 300 * UNIT)
    game.goto(4, 16)
    game.proofs[market.tokens[0], ALICE.raw, 4] = game.proof(ALICE, 3)
    with refuses("r"):  # there is nothing to challenge before the checkpoint
        game.challenge_swap(order)
    game.checkpoint()
    change: list[Callable[[], None]] = [
        lambda: setattr(order, "buy", order.buy + 1),
        lambda: setattr(order, "nonce", 4),
        lambda: setattr(order, "owner", BOB),
    ]
    original = dict(vars(order))
    tree = game.book(ALICE, 3).tree()
    for apply in change:
        apply()
        owner = order.owner
        p = game.proof(ALICE, 4)
        with refuses("e", "m"):
            game.chain.send(
                "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
                order.tokens,
                [p.trail, 0, order.credit_trail],
                p.chain,
                p.membership,
                tree.proof(0),
                p.values,
                [p.lr, (100 * UNIT, 0), p.pm],
                [order.sell, order.buy, order.starts[0], order.nonce],
                [tree.root, p.passive_root, ZERO_HASH],
                sender=owner.address,
                value=10**16,
            )
        vars(order).update(original)
    game.challenge_swap(order)


def test_balance_below_what_the_order_leaves(market: Market) -> None:
    """Then a challenge about the state is the right one."""
    game = market.game
    order = game.order(ALICE, market.tokens, 100 * UNIT, 300 * UNIT)
    game.transfer(BOB, ALICE, 8 * UNIT)

    def steal(leaves: Leaves) -> None:
        leaves[game.chain.raw, ALICE.raw].amount = 7 * UNIT

    game.goto(4, 8)
    game.checkpoint(steal)
    game.goto(4, 16)
    with refuses("d"):
        game.challenge_swap(order)
    game.challenge_state(ALICE)
    with refuses("B"):
        game.answer_state(ALICE, 3)


def test_others_orders(market: Market) -> None:
    order = play(market, 0, 0)
    with refuses("e"):
        market.game.chain.send(
            "challengeSwapEnactmentWithProofOfActiveStateUpdateAgreement",
            order.tokens,
            [0, 0, 0],
            [],
            [],
            [],
            [],
            [(0, 0), (0, 0), (0, 0)],
            [1, 1, 1, 1],
            [ZERO_HASH] * 3,
            sender=MALLORY.address,
            value=10**16,
        )
    with refuses("k"):
        market.game.chain.send(
            "answerSwapChallengeWithProofOfExclusiveBalanceAllotment",
            order.tokens[::-1],
            ALICE.raw,
            0,
            [],
            [],
            [],
            [],
            [(0, 0), (0, 0), (0, 0)],
            0,
            [ZERO_HASH] * 3,
            sender=CAROL.address,
        )
