"""What tests of withdrawals do again and again."""

from __future__ import annotations

from typing import Any

from contracts.tests.bound import Receipt
from contracts.tests.game import Game
from contracts.tests.people import MALLORY, OPERATOR, Person
from nocust.messages import balance_marker_hash, withdrawal_authorization_hash

UNIT = 10**15


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
