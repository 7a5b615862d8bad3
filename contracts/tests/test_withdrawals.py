"""Requests, confirmations, slashing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.tests.bound import Bound, Receipt, refuses
from contracts.tests.game import FEE, GWEI, Game
from contracts.tests.people import ALICE, BOB, CAROL, MALLORY, OPERATOR, Person
from nocust.accumulator import accumulate
from nocust.messages import balance_marker_hash, withdrawal_authorization_hash

UNIT = 10**15


@pytest.fixture
def ready(funded: Game) -> Game:
    """Early in eon 3: Alice's 100, Bob's 50 and Carol's 10 finney can be withdrawn by proof."""
    funded.pass_eons(3)
    return funded


def delegated(
    game: Game,
    holder: Person,
    amount: int,
    total: int | None = None,
    signer: Person | None = None,
    **options: Any,
) -> Receipt:
    """Delegated request; the holder signs the sum of his requests of this eon, `total`."""
    expiry = options.pop("expiry", game.node.block_number() + 1)
    token = options.pop("token", game.chain.raw)
    signed_total = amount if total is None else total
    message = withdrawal_authorization_hash(game.chain.raw, token, holder.raw, expiry, signed_total)
    signature = (signer or holder).sign(message)
    options.setdefault("sender", OPERATOR.address)
    return game.chain.send(
        "requestDelegatedWithdrawal", token, holder.raw, amount, expiry, *signature, **options
    )


def authorized(game: Game, holder: Person, amount: int, signer: Person = OPERATOR) -> Receipt:
    expiry = game.node.block_number() + 5
    message = withdrawal_authorization_hash(game.chain.raw, game.chain.raw, holder.raw, expiry, amount)
    return game.chain.send(
        "requestAuthorizedWithdrawal",
        game.chain.raw,
        amount,
        expiry,
        *signer.sign(message),
        sender=holder.address,
    )


def slash(
    game: Game,
    holder: Person,
    eon: int,
    available: int,
    signer: Person | None = None,
    sender: Person = OPERATOR,
) -> Receipt:
    message = balance_marker_hash(game.chain.raw, game.chain.raw, holder.raw, eon, available)
    r, s, v = (signer or holder).sign(message)
    return game.chain.send(
        "slashWithdrawalWithProofOfMinimumAvailableBalance",
        game.chain.raw,
        holder.raw,
        [eon, available],
        [r, s],
        v,
        sender=sender.address,
    )


def confirm(game: Game, holder: Person) -> int:
    """Confirms for a holder and returns what arrived in his account."""
    before = game.node.balance(holder.address)
    promised = game.chain.read("confirmWithdrawal", game.chain.raw, holder.raw)
    done = game.chain.send("confirmWithdrawal", game.chain.raw, holder.raw, sender=MALLORY.address)
    paid = game.node.balance(holder.address) - before
    assert promised == paid
    assert done.events == [("WithdrawalConfirmation", (game.chain.address.lower(), holder.address, paid))]
    return paid


def pending(game: Game, holder: Person) -> list[tuple[int, int]]:
    found = game.chain.read("getClientContractStateVariables", game.chain.raw, holder.raw)[6]
    return [(eon, amount) for eon, amount in found]


def total_pending(game: Game, eon: int) -> int:
    found: int = game.chain.read("getPendingWithdrawalsAtEon", game.chain.raw, eon)
    return found


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


# ---- slashing ----


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
