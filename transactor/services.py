"""Transfers and delegated withdrawals."""

from __future__ import annotations

from dataclasses import replace

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from contractor.transactions import queue
from ledger import store
from ledger.accounts_sql import load_accounts, lock_wallets
from ledger.engine import Owner, Refusal, Transfer
from ledger.group_commit import committer
from ledger.models import ChainStatus, DelegatedWithdrawal, WithdrawalRequest
from ledger.orders import ordered_wallets
from ledger.store import StoredTransfer
from leveller.selectors import has_agreement
from nocust.messages import withdrawal_authorization_hash
from nocust.signatures import SIGNATURE_LENGTH, is_valid
from operator_api.error_codes import ErrorCode

EXCEEDED_SLA = {ErrorCode.DEBIT_WALLET_EXCEEDED_SLA.code, ErrorCode.CREDIT_WALLET_EXCEEDED_SLA.code}


def transfer(command: Transfer) -> StoredTransfer | Refusal:
    """Accept and countersign a transfer, durably, or say why not."""
    outcome = committer.submit(command)
    if isinstance(outcome, Refusal) and outcome.code in EXCEEDED_SLA:
        # Few wallets get here, so only they pay for looking up their agreements.
        subscribed = replace(
            command,
            sender_subscribed=has_agreement(command.sender.address),
            recipient_subscribed=has_agreement(command.recipient.address),
        )
        if subscribed != command:
            outcome = committer.submit(subscribed)
    assert isinstance(outcome, StoredTransfer | Refusal)
    return outcome


def delegate_withdrawal(
    owner: Owner, amount: int, expiry_block: int, signature: bytes
) -> DelegatedWithdrawal | Refusal:
    """Request a withdrawal on chain in the owner's name (`spec/crypto.md` §5).

    The amount is set aside at once, so that it can't be spent before the contract's event debits it.
    """
    if len(signature) != SIGNATURE_LENGTH:
        return _refusal(ErrorCode.INVALID_WITHDRAWAL_SIGNATURE)
    try:
        with transaction.atomic():
            return _delegate(owner, amount, expiry_block, signature)
    except IntegrityError as error:
        if "delegated_withdrawal_once" in str(error):
            return _refusal(ErrorCode.WITHDRAWAL_ALREADY_REQUESTED)
        raise


def _delegate(
    owner: Owner, amount: int, expiry_block: int, signature: bytes
) -> DelegatedWithdrawal | Refusal:
    lock_wallets([owner.wallet])
    status = store.chain_status()  # under the lock, since the wallet's account is that of the latest eon
    refusal = _out_of_place(owner, expiry_block, status)
    if refusal is not None:
        return refusal
    pending = DelegatedWithdrawal.objects.filter(
        wallet_id=owner.wallet, state=DelegatedWithdrawal.State.PENDING
    )
    if pending.filter(signature=signature).exists():
        return _refusal(ErrorCode.WITHDRAWAL_ALREADY_REQUESTED)
    reserved = pending.aggregate(total=Sum("amount"))["total"] or 0
    requested = (
        WithdrawalRequest.objects.filter(
            wallet_id=owner.wallet, eon_number=status.eon, slashed=False
        ).aggregate(total=Sum("amount"))["total"]
        or 0
    )
    account = load_accounts({owner.wallet: owner}, [status.eon])[owner.wallet, status.eon]
    if amount == 0 or amount > account.available - reserved:
        spendable = max(account.available - int(reserved), 0)
        return Refusal(ErrorCode.DEBIT_WALLET_OVERSPENDING.code, f"{amount} of {spendable}")
    message = withdrawal_authorization_hash(
        settings.HUB_LQD_CONTRACT_ADDRESS,
        owner.token,
        owner.address,
        expiry_block,
        amount + int(requested) + int(reserved),
    )
    if not is_valid(message, signature, owner.address):
        return _refusal(ErrorCode.INVALID_WITHDRAWAL_SIGNATURE)
    withdrawal = DelegatedWithdrawal.objects.create(
        wallet_id=owner.wallet,
        amount=amount,
        expiry_block=expiry_block,
        signature=signature,
        time=timezone.now(),
    )
    queue(
        "requestDelegatedWithdrawal",
        {"delegated_withdrawal": withdrawal.pk},
        tag=f"delegated-withdrawal/{withdrawal.pk}",
    )
    return withdrawal


def _out_of_place(owner: Owner, expiry_block: int, status: ChainStatus) -> Refusal | None:
    """Why nothing can be requested of the wallet now, whatever it holds."""
    if reason := store.stopped(status):
        return _refusal(reason)
    # What the owner signs counts its requests of one eon. In the next one the contract would take it beside
    # requests of the owner's own that nobody counted; and those of the eon before have to be debited already.
    first_block, latest_expiry = status.first_block_of(status.eon), status.first_block_of(status.eon + 1) - 1
    if status.confirmed_block < first_block - 1:
        return Refusal(
            ErrorCode.EON_NUMBER_OUT_OF_SYNC.code, f"the blocks before {first_block} are not all applied yet"
        )
    if not status.head_block + status.confirmations < expiry_block <= latest_expiry:
        return Refusal(
            ErrorCode.INVALID_EXPIRY.code,
            f"the expiry must lie after block {status.head_block + status.confirmations}"
            f" and not after block {latest_expiry}, the eon's last one",
        )
    if ordered_wallets([owner.wallet], status.eon):
        # An order takes all of its wallet, and its owner promised to withdraw nothing meanwhile.
        return Refusal(ErrorCode.DEBIT_WALLET_CANNOT_ADD_TRANSACTION.code, "an order holds the wallet")
    return None


def _refusal(code: ErrorCode) -> Refusal:
    return Refusal(code.code, code.value)
