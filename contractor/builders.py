"""The call data of each kind of queued transaction, built from the chain's state at the time of sending."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction

from contractor.alarms import raise_alarm
from contractor.answers import UnanswerableError, answer
from contractor.interface import ChallengeKind, Contract
from contractor.models import ContractParameters, EthereumTransaction
from contractor.payments import find_unseen
from contractor.slashing import overdraft
from contractor.transactions import URGENT
from ledger.models import Challenge, DelegatedWithdrawal, RootCommitment, Wallet, WithdrawalRequest
from nocust.errors import NocustError

logger = logging.getLogger(__name__)

Arguments = dict[str, Any]


class NotYetError(Exception):
    """The call makes no sense yet; ask again in a moment."""


class SupersededError(Exception):
    """The call is not needed any more."""


class RefusedError(Exception):
    """The call would be refused as things are; ask again later, and tell somebody if that lasts."""


class ImpossibleError(Exception):
    """The call can never succeed any more."""


def build(contract: Contract, row: EthereumTransaction) -> bytes:
    """The data to send to the contract. Raises NotYetError, SupersededError, RefusedError, ImpossibleError
    and ChainErrors."""
    return BUILDERS[row.kind](contract, row.arguments)


def _submit_checkpoint(contract: Contract, arguments: Arguments) -> bytes:
    """The basis is the accumulator of the eon before as it is now: a slash may have changed it since."""
    eon, root = arguments["eon"], bytes.fromhex(arguments["root"])
    current = contract.current_eon()
    if current < eon:
        raise NotYetError(f"the chain is in eon {current}")
    submitted = contract.checkpoint(eon)
    if submitted is not None and contract.checkpoint(eon, _deep_block(contract)) != submitted:
        raise NotYetError(f"0x{submitted.hex()} is on chain, but not deep enough to rely on")
    if submitted == root:
        raise SupersededError("it is on chain already")
    if submitted is not None:
        raise ImpossibleError(f"the contract holds another checkpoint {eon}: 0x{submitted.hex()}")
    if current > eon:
        raise ImpossibleError(f"eon {eon} is over, the chain is in eon {current}")
    return contract.submit_checkpoint(contract.accumulator(eon - 1), root)


def _deep_block(contract: Contract) -> int:
    """The newest block that counts."""
    deep = contract.node.head().number - settings.HUB_LQD_CONTRACT_CONFIRMATIONS
    return max(deep, ContractParameters.objects.get().genesis_block)


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
        paid=False,
    )
    if not waiting.exists():
        raise SupersededError("all requests are settled")
    unseen = find_unseen(contract, token, holder)
    if contract.payable_now(token, holder, settings.HUB_OWNER_ACCOUNT_ADDRESS) == 0:
        if unseen:
            raise RefusedError("the contract paid what is due, and the node gives no event of that")
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


def _answer_challenge(contract: Contract, arguments: Arguments) -> bytes:
    row = Challenge.objects.get(pk=arguments["challenge"])
    if row.rebuted and row.by_sender is None:
        raise SupersededError("the challenge is none any more")
    if row.by_sender is None:
        raise NotYetError("the contract's record was not read yet")
    entry = contract.challenge(row.token, row.sender, row.recipient, row.by_sender)
    if not row.rebuted and contract.node.head().number >= row.deadline:
        raise ImpossibleError(f"the last block for the answer, {row.deadline}, is over")
    if entry.kind == ChallengeKind.NONE or entry.open_block != row.block:
        raise SupersededError("it is answered already")
    eon = entry.initial_eon + 1
    made = RootCommitment.objects.filter(eon_number=eon).values_list("merkle_root", flat=True).first()
    submitted = contract.checkpoint(eon)
    if made is None or submitted is None:
        raise NotYetError(f"checkpoint {eon}, which answers it, is not on chain yet")
    if submitted != made:
        raise RefusedError(f"the contract holds another checkpoint {eon} than this ledger")
    try:
        with transaction.atomic():
            return answer(contract, row, entry)
    except UnanswerableError as error:
        raise RefusedError(f"there is no answer: {error}") from error
    except (NocustError, LookupError, ValueError, ArithmeticError) as error:
        logger.exception("%s could not be answered", row.pk)
        raise RefusedError(f"the answer fails: {type(error).__name__}: {error}") from error


def _slash_withdrawal(contract: Contract, arguments: Arguments) -> bytes:
    """With the marker that cancels most easily, while the requests can be cancelled without harm."""
    eon, oldest = contract.current_eon(), arguments["oldest_eon"]
    submitted = contract.checkpoint(eon) is not None
    if oldest < eon - 1:
        raise ImpossibleError("the checkpoints that count on the requests are on chain")
    if oldest == eon - 1 and (submitted or RootCommitment.objects.filter(eon_number=eon).exists()):
        raise ImpossibleError(f"checkpoint {eon} counts on the requests")
    if oldest == eon and not submitted:
        raise NotYetError(
            f"before checkpoint {eon} is on chain, requests that it counts on would be cancelled too"
        )
    wallet = Wallet.objects.select_related("token").get(pk=arguments["wallet"])
    case = overdraft(wallet, eon)
    if case is None:
        raise SupersededError("the wallet covers its requests by now")
    if case.marker is None:
        raise ImpossibleError(case.explanation)
    return contract.slash_withdrawal(
        wallet.token.address,
        wallet.address,
        case.marker.eon_number,
        case.marker.amount,
        case.marker.signature,
    )


def _claim_fees(contract: Contract, arguments: Arguments) -> bytes:
    """Only while nothing urgent is on its way: what is sent first is mined first."""
    State = EthereumTransaction.State
    urgent = EthereumTransaction.objects.filter(kind__in=URGENT, state__in=(State.QUEUED, State.SENT))
    if urgent.exclude(attempts__mined__isnull=False).exists():
        raise NotYetError("it waits for what is urgent")
    if contract.claimable_fees() <= settings.HUB_CLAIM_FEES_ABOVE:
        raise SupersededError("there is little to claim")
    return contract.claim_fees()


BUILDERS: dict[str, Callable[[Contract, Arguments], bytes]] = {
    "submitCheckpoint": _submit_checkpoint,
    "registerERC20": _register_erc20,
    "confirmWithdrawal": _confirm_withdrawal,
    "requestDelegatedWithdrawal": _request_delegated_withdrawal,
    "slashWithdrawal": _slash_withdrawal,
    "answerChallenge": _answer_challenge,
    "claimFees": _claim_fees,
}

REBUILT = {"submitCheckpoint", "answerChallenge"}
"""Kinds that are built and sent again when the contract reverted them: a newer state may accept them."""

REBUILT_WHEN_DEEP = {"slashWithdrawal"}
"""The same, but not before the block that reverted them is deep: whether they took effect decides what the
checkpoint counts. A payment that was reverted is queued again by what is due (`contractor.withdrawals`)."""

DISPENSABLE = {"registerERC20", "requestDelegatedWithdrawal", "claimFees"}
"""Kinds that the hub can do without. When the operator cancels another one, it is built anew."""


def give_up(row: EthereumTransaction) -> None:
    """What follows from a transaction that can't succeed any more, inside the caller's transaction."""
    release(row)
    raise_alarm("transaction failed", f"{row.tag}: {row.note}")


def release(row: EthereumTransaction) -> None:
    """Free what waits for a transaction that will not happen, inside the caller's transaction."""
    if row.kind == "requestDelegatedWithdrawal":
        DelegatedWithdrawal.objects.filter(
            pk=row.arguments["delegated_withdrawal"], state=DelegatedWithdrawal.State.PENDING
        ).update(state=DelegatedWithdrawal.State.FAILED)
