"""The call data of each kind of queued transaction, built from the chain's state at the time of sending."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings

from contractor.alarms import raise_alarm
from contractor.interface import Contract
from contractor.models import EthereumTransaction
from ledger.models import DelegatedWithdrawal, WithdrawalRequest

Arguments = dict[str, Any]


class NotYetError(Exception):
    """The call makes no sense yet; ask again in a moment."""


class SupersededError(Exception):
    """The call is not needed any more."""


class ImpossibleError(Exception):
    """The call can never succeed any more."""


def build(contract: Contract, row: EthereumTransaction) -> bytes:
    """The data to send to the contract. Raises NotYetError, SupersededError, ImpossibleError and ChainErrors."""
    return BUILDERS[row.kind](contract, row.arguments)


def _submit_checkpoint(contract: Contract, arguments: Arguments) -> bytes:
    """The basis is the accumulator of the eon before as it is now: a slash may have changed it since."""
    eon, root = arguments["eon"], bytes.fromhex(arguments["root"])
    current = contract.current_eon()
    if current < eon:
        raise NotYetError(f"the chain is in eon {current}")
    submitted = contract.checkpoint(eon)
    if submitted == root:
        raise SupersededError("it is on chain already")
    if submitted is not None:
        raise ImpossibleError(f"the contract holds another checkpoint {eon}: 0x{submitted.hex()}")
    if current > eon:
        raise ImpossibleError(f"eon {eon} is over, the chain is in eon {current}")
    return contract.submit_checkpoint(contract.accumulator(eon - 1), root)


def _register_erc20(contract: Contract, arguments: Arguments) -> bytes:
    token = bytes.fromhex(arguments["token"])
    if contract.token_trail(token) is not None:
        raise SupersededError("the contract knows the token")
    return contract.register_erc20(token)


def _confirm_withdrawal(contract: Contract, arguments: Arguments) -> bytes:
    token, holder = bytes.fromhex(arguments["token"]), bytes.fromhex(arguments["holder"])
    waiting = WithdrawalRequest.objects.filter(
        token__address=token,
        address=holder,
        id__lte=arguments["newest_request"],
        slashed=False,
        withdrawal__isnull=True,
    )
    if not waiting.exists():
        raise SupersededError("all requests are settled")
    if contract.payable_now(token, holder, settings.HUB_OWNER_ACCOUNT_ADDRESS) == 0:
        raise NotYetError("nothing is due, or its payment is not confirmed yet")
    return contract.confirm_withdrawal(token, holder)


def _request_delegated_withdrawal(contract: Contract, arguments: Arguments) -> bytes:
    withdrawal = DelegatedWithdrawal.objects.select_related("wallet__token").get(
        pk=arguments["delegated_withdrawal"]
    )
    if withdrawal.state != DelegatedWithdrawal.State.PENDING:
        raise SupersededError(f"the withdrawal is {withdrawal.state}")
    if contract.node.head().number >= withdrawal.expiry_block:
        raise ImpossibleError(f"the authorisation expired with block {withdrawal.expiry_block}")
    wallet = withdrawal.wallet
    return contract.request_delegated_withdrawal(
        wallet.token.address, wallet.address, withdrawal.amount, withdrawal.expiry_block, withdrawal.signature
    )


def _slash_withdrawal(contract: Contract, arguments: Arguments) -> bytes:
    eon, oldest = contract.current_eon(), arguments["oldest_eon"]
    if oldest < eon - 1 or (oldest == eon - 1 and contract.checkpoint(eon) is not None):
        raise ImpossibleError("it is too late to cancel the requests: a checkpoint counts on them")
    return contract.slash_withdrawal(
        bytes.fromhex(arguments["token"]),
        bytes.fromhex(arguments["holder"]),
        arguments["marker_eon"],
        int(arguments["amount"]),
        bytes.fromhex(arguments["signature"]),
    )


BUILDERS: dict[str, Callable[[Contract, Arguments], bytes]] = {
    "submitCheckpoint": _submit_checkpoint,
    "registerERC20": _register_erc20,
    "confirmWithdrawal": _confirm_withdrawal,
    "requestDelegatedWithdrawal": _request_delegated_withdrawal,
    "slashWithdrawal": _slash_withdrawal,
}

REBUILT = {"submitCheckpoint"}
"""Kinds that are built and sent again when the contract reverted them: a newer state may accept them."""


def give_up(row: EthereumTransaction) -> None:
    """What follows from a transaction that can't succeed any more, inside the caller's transaction."""
    if row.kind == "requestDelegatedWithdrawal":
        DelegatedWithdrawal.objects.filter(
            pk=row.arguments["delegated_withdrawal"], state=DelegatedWithdrawal.State.PENDING
        ).update(state=DelegatedWithdrawal.State.FAILED)
    raise_alarm("transaction failed", f"{row.tag}: {row.note}")
