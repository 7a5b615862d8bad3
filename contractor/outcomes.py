"""What became of the transactions on their way, asked for all of them at once: one question each would be hundreds
a block where many wait."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.conf import settings

from contractor.chain import is_known_branch
from contractor.errors import NodeError, NodeRefusedError
from contractor.interface import Contract
from contractor.models import ContractState, EthereumTransaction, EthereumTransactionAttempt
from contractor.node import Receipt

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The attempts made with the rows' nonces, by row id, oldest first, and what the node says of them. `used`: the
    operator's nonces below it are used up; `confirmed`: the newest applied block when the rows were read. What
    could not be asked for together is not in `receipts` and `known`."""

    contract: Contract
    made: dict[int, list[EthereumTransactionAttempt]]
    confirmed: int
    used: int
    receipts: dict[bytes, Receipt | None]
    known: dict[bytes, bool]

    def receipt(self, attempt: EthereumTransactionAttempt) -> Receipt | None:
        """The receipt if it is mined. Raises NodeError."""
        if attempt.hash in self.receipts:
            return self.receipts[attempt.hash]
        return self.contract.node.receipt(attempt.hash)

    def is_used_up(self, row: EthereumTransaction) -> bool:
        """Whether the row's nonce is used up in blocks whose events are applied. False too where the node has no
        state of the newest of them, or is on another branch, as it may be between two questions. Raises NodeError.
        """
        return self._counts(row) and is_known_branch(self.contract, self.confirmed) and self._counts(row)

    def _counts(self, row: EthereumTransaction) -> bool:
        assert row.nonce is not None
        owner = settings.HUB_OWNER_ACCOUNT_ADDRESS
        try:
            return self.contract.node.transaction_count(owner, block=self.confirmed) > row.nonce
        except NodeRefusedError:
            return False


def is_deep(receipt: Receipt, confirmed: int) -> bool:
    """Whether the receipt's block is applied, where `confirmed` is the newest that is, and is the one it means."""
    if receipt.block > confirmed:
        return False
    known = ContractState.objects.filter(block=receipt.block).values_list("block_hash", flat=True).first()
    return known is None or known == receipt.block_hash


def look_up(contract: Contract, rows: Sequence[EthereumTransaction], confirmed: int, used: int) -> Outcomes:
    """Ask about all rows, which are on their way and were read after `confirmed` was."""
    made: dict[int, list[EthereumTransactionAttempt]] = defaultdict(list)
    nonces = {row.pk: row.nonce for row in rows}
    for attempt in EthereumTransactionAttempt.objects.filter(transaction__in=list(nonces)):
        if attempt.nonce == nonces[attempt.transaction_id]:
            made[attempt.transaction_id].append(attempt)
    receipts = _ask(contract.node.receipts, [one.hash for some in made.values() for one in some])
    waiting = [
        some[-1].hash
        for some in made.values()
        if some[-1].nonce >= used and not any(receipts.get(one.hash) for one in some)
    ]
    return Outcomes(contract, made, confirmed, used, receipts, _ask(contract.node.know, waiting))


def _ask(ask: Callable[[Sequence[bytes]], list[T]], hashes: Sequence[bytes]) -> dict[bytes, T]:
    """Nothing where the node fails at one of them: then each is asked for alone, and has its own trouble."""
    if len(hashes) < 2:
        return {}
    try:
        return dict(zip(hashes, ask(hashes), strict=True))
    except NodeError as error:
        logger.info("%s transactions can't be asked for together: %s", len(hashes), error)
        return {}
