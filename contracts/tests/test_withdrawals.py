"""Requests and confirmations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.tests.bound import Bound, refuses
from contracts.tests.game import FEE, GWEI, Game
from contracts.tests.people import ALICE, BOB, MALLORY, OPERATOR
from contracts.tests.withdrawing import UNIT, authorized, confirm, delegated, pending, slash, total_pending
from nocust.accumulator import accumulate

# ---- requests by proof ----


def test_request_and_confirmation(ready: Game) -> None:
    game, chain = ready, ready.chain
    previous = chain.read("getParentChainAccumulatorAtSlot", 3)
    done = game.withdraw(ALICE, 30 * UNIT)
    assert done.events == [("WithdrawalRequest", (chain.address.lower(), ALICE.address, 30 * UNIT))]
    assert chain.read("getParentChainAccumulatorAtSlot", 3) == accumulate(
        previous, 3, chain.raw, ALICE.raw, 1, 30 * UNIT
    )
    assert pending(game, ALICE) == [(3, 30 * UNIT)]
    assert chain.read("getWalletPendingWithdrawalAmountAtEon", chain.raw, ALICE.raw, 3) == 30 * UNIT
    assert chain.read("getPendingWithdrawalsAtSlot", chain.raw, 3) == (3, 30 * UNIT)
    assert confirm(game, ALICE) == 0
    game.pass_eons(5)
    game.goto(5, 19)
    assert confirm(game, ALICE) == 0
    game.goto(5, 20)
    assert confirm(game, ALICE) == 30 * UNIT
    assert confirm(game, ALICE) == 0
    assert pending(game, ALICE) == []
    assert [total_pending(game, eon) for eon in (2, 3, 4, 5)] == [0, 30 * UNIT, 30 * UNIT, 0]
    assert chain.read("getConfirmedWithdrawalsAtSlot", chain.raw, 0) == (5, 30 * UNIT)
    game.pass_eons(8)
    assert game.balance(chain.raw, ALICE, 7) == 70 * UNIT


def test_each_request_of_an_eon_is_listed(ready: Game) -> None:
    game = ready
    amounts = [3, 1, 4, 1, 5, 9, 2, 6]
    for count, amount in enumerate(amounts, start=1):
        game.withdraw(ALICE, amount)
        assert pending(game, ALICE) == [(3, listed) for listed in amounts[:count]]
    game.withdraw(ALICE, 5)
    assert pending(game, ALICE) == [
        (3, listed) for listed in [*amounts[:7], 11]
    ]  # the ninth joins the eighth
    game.pass_eons(4)
    game.withdraw(ALICE, 2)
    game.withdraw(ALICE, 7)
    assert pending(game, ALICE)[-3:] == [(3, 11), (4, 2), (4, 7)]
    game.pass_eons(6)
    assert confirm(game, ALICE) == sum(amounts) + 5
    assert pending(game, ALICE) == [(4, 2), (4, 7)]
    game.goto(6, 30)
    assert confirm(game, ALICE) == 9


def test_requests_that_nobody_collected_are_kept_when_the_ring_turns(ready: Game) -> None:
    game = ready
    expected = 0
    for eon in range(3, 12):
        game.withdraw(ALICE, eon)
        expected += eon
        game.pass_eons(eon + 1)
    assert pending(game, ALICE) == [(8, 3 + 4 + 5 + 6 + 7 + 8), (9, 9), (10, 10), (11, 11)]
    game.goto(12, 30)
    assert confirm(game, ALICE) == expected - 11
    game.pass_eons(14)
    assert confirm(game, ALICE) == 11
    assert total_pending(game, game.eon) == 0


def test_request_refusals(ready: Game) -> None:
    game = ready
    proof = game.proof(ALICE, 2)
    with refuses("r"):
        game.withdraw(ALICE, UNIT, value=FEE - 1)
    with refuses("r"):
        game.withdraw(ALICE, UNIT, value=FEE, gas_price=6 * GWEI)
    with refuses("b"):
        game.withdraw(ALICE, 100 * UNIT + 1)
    with refuses("b"):
        game.withdraw(ALICE, 2**256 - 1)
    with refuses("z"):
        game.withdraw(ALICE, 0)
    with refuses("m"):
        game.withdraw(BOB, UNIT, proof=proof)
    with refuses("m"):
        game.withdraw(ALICE, UNIT, proof=game.proof(ALICE, 1))
    game.withdraw(ALICE, 100 * UNIT, value=100_100 * 6 * GWEI, gas_price=6 * GWEI)
    with refuses("b"):
        game.withdraw(ALICE, 1)


def test_malformed_proofs(ready: Game) -> None:
    game, proof = ready, ready.proof(ALICE, 2)
    left, right = proof.lr
    cases = [
        ("p", replace(proof, values=proof.values[:-1])),
        ("p", replace(proof, trail=proof.trail | 1 << len(proof.chain))),
        ("s", replace(proof, lr=(right, left))),
        ("x", replace(proof, values=[2**255 if i == 0 else v for i, v in enumerate(proof.values)])),
        (
            "l",
            replace(
                proof,
                values=[v + 1 if i == 0 else v for i, v in enumerate(proof.values)],
                lr=(left + 1, right),
            ),
        ),
        ("m", replace(proof, membership=[bytes(32)])),
        ("m", replace(proof, lr=(left, right - 1))),
        ("m", replace(proof, pm=(1, 0))),
        ("m", replace(proof, chain=[*proof.chain[:-1], bytes(32)])),
    ]
    for reason, bad in cases:
        with refuses(reason):
            game.withdraw(ALICE, UNIT, proof=bad)
    with refuses("r"):
        game.goto(4, 3)
        game.chain.read(
            "verifyProofOfExclusiveAccountBalanceAllotment",
            game.chain.raw,
            ALICE.raw,
            proof.checksums,
            proof.trail,
            (4, *proof.pm),
            *proof.branches,
            proof.lr,
        )


def test_account_proof_view(ready: Game, token: Bound) -> None:
    game, proof = ready, ready.proof(BOB, 2)
    arguments = (BOB.raw, proof.checksums, proof.trail, (2, *proof.pm), *proof.branches, proof.lr)
    assert game.chain.read("verifyProofOfExclusiveAccountBalanceAllotment", game.chain.raw, *arguments)
    with refuses("t"):
        game.chain.read("verifyProofOfExclusiveAccountBalanceAllotment", token.raw, *arguments)


def test_a_checkpoint_that_allots_too_much_proves_nothing(funded: Game) -> None:
    game = funded

    def invent(leaves: Any) -> None:
        leaves[game.chain.raw, OPERATOR.raw].amount += 1

    game.goto(3, 8)
    game.checkpoint(invent)
    game.pass_eons(4)
    with refuses("b"):
        game.withdraw(ALICE, UNIT)


def test_requests_within_the_funds_but_beyond_what_is_left(ready: Game) -> None:
    game = ready
    delegated(game, MALLORY, 150 * UNIT)
    with refuses("b"):
        game.withdraw(ALICE, 11 * UNIT)


def test_double_withdrawal_across_eons(ready: Game) -> None:
    """W8: the checkpoint used in eon 4 does not know the request of eon 3; the contract does."""
    game = ready
    game.withdraw(ALICE, 100 * UNIT)
    game.pass_eons(4)
    assert game.proof(ALICE, 3).amount == 100 * UNIT
    with refuses("b"):
        game.withdraw(ALICE, 1)
    game.pass_eons(5)
    assert game.proof(ALICE, 4).amount == 0
    with refuses("b"):
        game.withdraw(ALICE, 1)
    game.goto(5, 30)
    assert confirm(game, ALICE) == 100 * UNIT


def test_partial_withdrawals_across_eons(ready: Game) -> None:
    game = ready
    game.withdraw(ALICE, 60 * UNIT)
    game.pass_eons(4)
    game.withdraw(ALICE, 40 * UNIT)
    game.pass_eons(6)
    game.goto(6, 30)
    assert confirm(game, ALICE) == 100 * UNIT


# ---- confirmations ----


def test_repeated_confirmation_pays_once(ready: Game) -> None:
    """W2."""
    game = ready
    game.withdraw(ALICE, 10 * UNIT)
    game.withdraw(BOB, 10 * UNIT)
    game.pass_eons(5)
    game.goto(5, 25)
    assert [confirm(game, ALICE) for _ in range(4)] == [10 * UNIT, 0, 0, 0]
    assert confirm(game, BOB) == 10 * UNIT


def test_later_requests_survive_a_confirmation(ready: Game) -> None:
    """W3: one matured, then two later ones."""
    game = ready
    game.withdraw(ALICE, 1 * UNIT)
    game.pass_eons(4)
    game.withdraw(ALICE, 2 * UNIT)
    game.withdraw(ALICE, 4 * UNIT)
    game.pass_eons(5)
    game.goto(5, 25)
    assert confirm(game, ALICE) == 1 * UNIT
    assert pending(game, ALICE) == [(4, 2 * UNIT), (4, 4 * UNIT)]
    game.pass_eons(6)
    game.goto(6, 25)
    assert confirm(game, ALICE) == 6 * UNIT


def test_confirming_nothing(ready: Game) -> None:
    assert confirm(ready, MALLORY) == 0
    unknown = ready.chain.send("confirmWithdrawal", MALLORY.raw, BOB.raw, sender=BOB.address)
    assert unknown.events == [("WithdrawalConfirmation", (MALLORY.address, BOB.address, 0))]


# ---- requests by signature ----


def test_delegated_withdrawal(ready: Game) -> None:
    game = ready
    assert delegated(game, ALICE, 5 * UNIT).events == [
        ("WithdrawalRequest", (game.chain.address.lower(), ALICE.address, 5 * UNIT))
    ]
    delegated(game, ALICE, 2 * UNIT, total=7 * UNIT)
    assert pending(game, ALICE) == [(3, 5 * UNIT), (3, 2 * UNIT)]


def test_delegated_withdrawal_refusals(ready: Game) -> None:
    game = ready
    with refuses("o"):
        delegated(game, ALICE, UNIT, sender=ALICE.address)
    with refuses("y"):
        delegated(game, ALICE, UNIT, expiry=game.node.block_number())
    with refuses("a"):
        delegated(game, ALICE, UNIT, signer=OPERATOR)
    with refuses("z"):
        delegated(game, ALICE, 0)
    with refuses("b"):
        delegated(game, ALICE, 160 * UNIT + 1)
    with refuses("t"):
        delegated(game, ALICE, UNIT, token=MALLORY.raw)
    delegated(game, ALICE, UNIT)
    with refuses("a"):  # the sum of the eon has to be signed
        delegated(game, ALICE, UNIT)


def test_nobody_signs_with_an_invalid_signature(ready: Game) -> None:
    """The zero address is what an invalid signature recovers to; it must not authorise anything."""
    game = ready
    arguments = (game.chain.raw, bytes(20), UNIT, 10**6, bytes(32), bytes(32), 27)
    with refuses("a"):
        game.chain.send("requestDelegatedWithdrawal", *arguments, sender=OPERATOR.address)


def test_theft_by_strangers(ready: Game) -> None:
    """W1: one's own signature does not authorise oneself."""
    with refuses("a"):
        authorized(ready, MALLORY, 90 * UNIT, signer=MALLORY)
    authorized(ready, MALLORY, UNIT)
    assert pending(ready, MALLORY) == [(3, UNIT)]


def test_replayed_authorization(ready: Game) -> None:
    """W12: neither in a later eon, nor after a cancellation, nor through the other function."""
    game = ready
    expiry = 10**6
    delegated(game, ALICE, UNIT, expiry=expiry)
    slash(game, ALICE, 3, 0)
    with refuses("a"):
        delegated(game, ALICE, UNIT, expiry=expiry)
    game.pass_eons(5)
    with refuses("a"):
        delegated(game, ALICE, UNIT, expiry=expiry)
    delegated(game, ALICE, UNIT, expiry=expiry + 1)
