"""Tokens and payees that misbehave (W10, W16)."""

from __future__ import annotations

import pytest

from contracts.tests.bound import Bound, refuses
from contracts.tests.game import FEE, PLENTY, Game
from contracts.tests.people import ALICE, BOB, MALLORY, OPERATOR
from contracts.tests.rpc import Node
from nocust.messages import withdrawal_authorization_hash

UNIT = 10**15


def make(game: Game, name: str) -> Bound:
    """A token whose supply is Alice's, registered, with Alice and Bob admitted."""
    token = Bound.create(game.node, name, (), ALICE.address)
    game.add_token(token.raw)
    game.admit(ALICE, BOB, token=token.raw)
    return token


def authorize(game: Game, token: bytes, holder: bytes, amount: int) -> None:
    """A request on the operator's word, as the shortest way to a payment."""
    message = withdrawal_authorization_hash(game.chain.raw, token, holder, 10**9, amount)
    signature = OPERATOR.sign(message)
    game.node.rpc("anvil_impersonateAccount", "0x" + holder.hex())
    game.chain.send(
        "requestAuthorizedWithdrawal", token, amount, 10**9, *signature, sender="0x" + holder.hex()
    )
    game.node.rpc("anvil_stopImpersonatingAccount", "0x" + holder.hex())


def test_pulling_from_the_beneficiary(funded: Game, token: Bound) -> None:
    """W10: an unlimited allowance lets nobody push the owner's tokens into the contract."""
    game, chain = funded, funded.chain
    game.add_token(token.raw)
    token.send("transfer", ALICE.raw, 1000, sender=OPERATOR.address)
    token.send("approve", chain.raw, 2**256 - 1, sender=ALICE.address)
    with refuses("f"):
        chain.send("deposit", token.raw, ALICE.raw, 1000, sender=MALLORY.address)
    assert token.read("balanceOf", ALICE.raw) == 1000


def test_fee_on_transfer_is_credited_as_received(funded: Game) -> None:
    game, chain = funded, funded.chain
    token = make(game, "FeeToken")
    done = chain.send("deposit", token.raw, BOB.raw, 1000, sender=ALICE.address)
    assert done.events == [("Deposit", (token.address.lower(), BOB.address, 990))]
    assert chain.read("getDepositsAtEon", token.raw, BOB.raw, 2) == 990
    assert chain.read("getServerContractLedgerStateVariables", 2, token.raw)[2:] == (990, 990)


def test_token_without_return_values(funded: Game) -> None:
    game, chain = funded, funded.chain
    token = make(game, "SilentToken")
    chain.send("deposit", token.raw, BOB.raw, 1000, sender=ALICE.address)
    authorize(game, token.raw, BOB.raw, 1000)
    game.book(BOB, token=token.raw).deposits = 1000
    game.book(BOB, token=token.raw).withdrawals = 1000
    game.pass_eons(4)
    game.goto(4, 20)
    assert chain.read("confirmWithdrawal", token.raw, BOB.raw) == 1000
    chain.send("confirmWithdrawal", token.raw, BOB.raw, sender=MALLORY.address)
    assert token.read("balanceOf", BOB.raw) == 1000


def test_token_that_returns_false(funded: Game) -> None:
    game, chain = funded, funded.chain
    token = make(game, "FalseToken")
    chain.send("deposit", token.raw, BOB.raw, 1000, sender=ALICE.address)
    game.book(BOB, token=token.raw).deposits = 1000
    authorize(game, token.raw, BOB.raw, 600)
    game.book(BOB, token=token.raw).withdrawals = 600
    token.send("refuse", True, sender=ALICE.address)
    with refuses("f"):
        chain.send("deposit", token.raw, BOB.raw, 1, sender=ALICE.address)
    game.pass_eons(4)
    game.goto(4, 20)
    with refuses("f"):
        chain.send("confirmWithdrawal", token.raw, BOB.raw, sender=MALLORY.address)
    token.send("refuse", False, sender=ALICE.address)
    chain.send("confirmWithdrawal", token.raw, BOB.raw, sender=MALLORY.address)
    assert token.read("balanceOf", BOB.raw) == 600


@pytest.mark.parametrize(
    "inner", ["deposit", "confirmWithdrawal", "recoverOnlyParentChainFunds", "claimFees"]
)
def test_reentrance_during_a_deposit(funded: Game, inner: str) -> None:
    game, chain = funded, funded.chain
    token = make(game, "ReentrantToken")
    arguments: tuple[object, ...] = {
        "deposit": (token.raw, BOB.raw, 7),
        "confirmWithdrawal": (token.raw, BOB.raw),
        "recoverOnlyParentChainFunds": (token.raw, BOB.raw),
        "claimFees": (),
    }[inner]
    data = bytes.fromhex(chain.data(inner, *arguments)[2:])
    token.send("aim", chain.raw, data, sender=ALICE.address)
    chain.send("deposit", token.raw, BOB.raw, 1000, sender=ALICE.address)
    assert not token.read("succeeded")
    assert token.read("answer")[-32:] == b"i" + bytes(31)
    assert chain.read("getDepositsAtEon", token.raw, BOB.raw, 2) == 1000


def test_reentrance_during_a_payment(funded: Game) -> None:
    game, chain = funded, funded.chain
    token = make(game, "ReentrantToken")
    chain.send("deposit", token.raw, BOB.raw, 1000, sender=ALICE.address)
    game.book(BOB, token=token.raw).deposits = 1000
    authorize(game, token.raw, BOB.raw, 400)
    game.book(BOB, token=token.raw).withdrawals = 400
    game.pass_eons(4)
    game.goto(4, 20)
    again = bytes.fromhex(chain.data("confirmWithdrawal", token.raw, BOB.raw)[2:])
    token.send("aim", chain.raw, again, sender=ALICE.address)
    chain.send("confirmWithdrawal", token.raw, BOB.raw, sender=MALLORY.address)
    assert not token.read("succeeded")
    assert token.read("balanceOf", BOB.raw) == 400


@pytest.fixture
def puppet(node: Node) -> Bound:
    return Bound.create(node, "Puppet", (), MALLORY.address)


ACCEPT, REFUSE, BURN, STRIKE = range(4)


def behave(puppet: Bound, manner: int, target: bytes = bytes(20), data: bytes = b"") -> None:
    puppet.send("behave", manner, target, data, sender=MALLORY.address)


def owe(game: Game, puppet: Bound, amount: int) -> None:
    """Lets the puppet's request for ether mature."""
    authorize(game, game.chain.raw, puppet.raw, amount)
    game.book(ALICE).withdrawals += amount  # as if the operator had charged Alice
    game.pass_eons(4)
    game.goto(4, 20)


def test_smart_wallets_are_paid(funded: Game, puppet: Bound) -> None:
    """More gas than the 2300 of a plain transfer: this payee writes storage and calls back, in vain."""
    game, chain = funded, funded.chain
    behave(
        puppet, STRIKE, chain.raw, bytes.fromhex(chain.data("confirmWithdrawal", chain.raw, puppet.raw)[2:])
    )
    owe(game, puppet, UNIT)
    chain.send("confirmWithdrawal", chain.raw, puppet.raw, sender=BOB.address)
    assert game.node.balance(puppet.address) == UNIT
    assert not puppet.read("succeeded")


@pytest.mark.parametrize("manner", [REFUSE, BURN])
def test_payees_that_refuse_keep_their_claim(funded: Game, puppet: Bound, manner: int) -> None:
    game, chain = funded, funded.chain
    owe(game, puppet, UNIT)
    behave(puppet, manner)
    with refuses("f"):
        chain.send("confirmWithdrawal", chain.raw, puppet.raw, sender=BOB.address, gas=400_000)
    behave(puppet, ACCEPT)
    chain.send("confirmWithdrawal", chain.raw, puppet.raw, sender=BOB.address)
    assert game.node.balance(puppet.address) == UNIT


def test_callers_that_cannot_take_their_change(funded: Game, puppet: Bound) -> None:
    """A contract that refuses ether can still request a withdrawal; the surplus is the operator's then."""
    from contracts.tests.people import Person

    game, chain = funded, funded.chain
    person = Person(puppet.address, puppet.raw, MALLORY.signer)
    game.admit(person)
    game.pass_eons(3)
    chain.send("deposit", chain.raw, puppet.raw, 0, sender=ALICE.address, value=UNIT)
    game.book(person).deposits += UNIT
    game.pass_eons(5)
    behave(puppet, REFUSE)
    p = game.proof(person, 4)
    call = bytes.fromhex(
        chain.data("requestWithdrawal", chain.raw, p.checksums, p.trail, *p.branches, [p.lr, p.pm], UNIT)[2:]
    )
    value = FEE + 3
    puppet.send("act", chain.raw, value, call, sender=ALICE.address, value=value)
    assert chain.read("getFees") == (0, value)
    assert value < PLENTY
