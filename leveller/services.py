"""Buying a service level agreement with a transfer."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from ledger.accounts_sql import lock_wallets
from ledger.models import Transfer
from leveller.models import Agreement
from leveller.selectors import has_agreement
from operator_api.error_codes import ErrorCode


class AgreementError(Exception):
    """Why the transfer buys nothing; `code` is of the catalogue."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value)
        self.code = code


def subscribe(address: bytes, transfer_id: int) -> Agreement:
    """Give `address` an agreement for its transfer of the price to the service wallet. Raises AgreementError."""
    with transaction.atomic():
        transfer = (
            Transfer.objects.select_related("wallet", "recipient__token")
            .filter(pk=transfer_id, swap=False)
            .first()
        )
        if transfer is None:
            raise AgreementError(ErrorCode.TRANSFER_DOES_NOT_EXIST)
        if transfer.recipient.address != settings.SLA_RECIPIENT_ADDRESS:
            raise AgreementError(ErrorCode.TRANSFER_MADE_TO_WRONG_WALLET)
        if transfer.recipient.token.address != settings.SLA_TOKEN_ADDRESS:
            raise AgreementError(ErrorCode.TRANSFER_MADE_WITH_WRONG_TOKEN)
        if transfer.wallet.address != address:
            raise AgreementError(ErrorCode.TRANSFER_MADE_BY_OTHER_WALLET)
        if transfer.amount < settings.SLA_PRICE:
            raise AgreementError(ErrorCode.TRANSFER_AMOUNT_TOO_LOW)
        lock_wallets([transfer.wallet_id])
        if Agreement.objects.filter(transfer=transfer).exists():
            raise AgreementError(ErrorCode.SLA_ALREADY_EXISTS_FOR_TRANSFER)
        if has_agreement(address):
            raise AgreementError(ErrorCode.SLA_STILL_VALID_FOR_WALLET)
        now = timezone.now()
        return Agreement.objects.create(
            address=address,
            transfer=transfer,
            beginning=now,
            expiry=now + timedelta(days=settings.SLA_DURATION_DAYS),
        )
