"""Nonces of the operator that are free below those on their way. Nothing beyond them is mined."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from contractor import attempts
from contractor.alarms import raise_alarm
from contractor.fees import offer
from contractor.headers import Header
from contractor.interface import Contract
from contractor.models import EthereumTransaction, EthereumTransactionAttempt


def fill(contract: Contract, rows: Sequence[EthereumTransaction], used: int, head: Header) -> None:
    """Fill what is free, from nonce `used` on, below those of the rows, which come in the order of their nonces.
    Raises NodeError."""
    free = used
    for row in rows:
        assert row.nonce is not None
        for nonce in range(free, row.nonce):
            _fill(contract, row, nonce, head)
        free = max(free, row.nonce + 1)


def _fill(contract: Contract, row: EthereumTransaction, nonce: int, head: Header) -> None:
    """A fork dropped a transaction that is not watched any more, or one of another program was: the same is sent
    again, or a payment of nothing, and offered more for as what waits behind it (`row`) is."""
    known = EthereumTransactionAttempt.objects.filter(nonce=nonce).select_related("transaction").last()
    if known is None:
        raise_alarm(
            "nonce gap", f"nonce {nonce} of the operator is free below those on their way; filling it"
        )
        with transaction.atomic():
            fee = offer(attempts.market(contract), attempts.limits())
            known = attempts.sign_cancellation(row, nonce, fee, head)
    elif head.number - known.block >= settings.HUB_BUMP_BLOCKS:
        more = attempts.more(contract, row, known)
        if more is not None:
            with transaction.atomic():
                known = attempts.sign_again(known.transaction, known, more, head)
        attempts.send_everywhere(contract, row, known)
        return
    attempts.send_unless_known(contract, row, known)
