"""What the contract holds for wallets when an eon ends, by the events that it told of."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, Q

from ledger.models import ChainStatus, Reorganisation, Token, TokenCommitment
from ledger.sql import fetch


class UnbalancedLedgerError(RuntimeError):
    """The wallets' balances do not add up to what the contract holds: no checkpoint is made of that."""


@dataclass(frozen=True, slots=True)
class Managed:
    """Amounts of a token as an eon begins, in smallest units. `total` is everything deposited and not requested
    back, debts that were written off included. `unclaimed` is the part of it whose addresses had not registered,
    less what was requested without a wallet."""

    total: int
    unclaimed: int

    def check(self, token: Token, eon: int, owned: int) -> None:
        """Raise UnbalancedLedgerError unless wallets own all that is claimed."""
        if self.unclaimed < 0 or owned + self.unclaimed != self.total:
            raise UnbalancedLedgerError(
                f"{token}: wallets own {owned}, {self.unclaimed} is unclaimed, but deposits less withdrawal"
                f" requests before eon {eon}, debts written off included, are {self.total}"
            )


def managed(token: Token, eon: int, status: ChainStatus) -> Managed:
    """What there is of a token as the eon begins: what there was in the newest checkpoint before it, and what came
    and went since. That reads the rows of the eons between, however long the history is."""
    before = (
        TokenCommitment.objects.filter(token=token, root_commitment__eon_number__lt=eon)
        .order_by("-root_commitment__eon_number")
        .values_list("root_commitment__eon_number", "upper_bound", "wallet_upper_bound")
        .first()
    )
    if before is None or _rewritten_since(before[0], status):
        return of_all_history(token, eon, status)
    since, bound, claimed = before[0], int(before[1]), int(before[2])
    first = {"since": status.first_block_of(since), "until": status.first_block_of(eon)}
    values = {"token": token.pk, "since_eon": since, "eon": eon, **first}
    came, waiting = _deposited(values)
    went, foreign = _requested(values)
    return Managed(bound + came - went, bound - claimed + waiting - foreign)


def _rewritten_since(eon: int, status: ChainStatus) -> bool:
    """Whether rows of any eon may have been changed since the eon's checkpoint was made: the chain forked below
    applied blocks. The blocks of a fork are those that were kept, so it counts two eons longer than they tell."""
    reaches = Q(first_block__gte=status.first_block_of(eon - 2) - F("blocks"))
    return Reorganisation.objects.filter(reaches, deep=True).exists()


def _deposited(values: dict[str, int]) -> tuple[int, int]:
    """All deposits since, and by how much those that wait for a wallet became more: some of them came, and earlier
    ones were claimed. A deposit is credited in the eon of its block or a later one."""
    ((came, waiting),) = fetch(
        "SELECT COALESCE(sum(amount) FILTER (WHERE block >= %(since)s), 0),"
        " COALESCE(sum(CASE WHEN wallet_id IS NULL OR eon_number >= %(eon)s"
        " THEN CASE WHEN block >= %(since)s THEN amount END"
        " ELSE CASE WHEN block < %(since)s THEN -amount END END), 0)"
        " FROM ledger_deposit WHERE token_id = %(token)s AND eon_number >= %(since_eon)s AND block < %(until)s",
        values,
    )
    return int(came), int(waiting)


def _requested(values: dict[str, int]) -> tuple[int, int]:
    """Requests since that stand, less earlier ones that were given back since; and those of them without a
    wallet."""
    ((went, foreign),) = fetch(
        "SELECT COALESCE(sum(amount), 0), COALESCE(sum(amount) FILTER (WHERE foreign_), 0) FROM ("
        " SELECT amount, wallet_id IS NULL AS foreign_ FROM ledger_withdrawalrequest"
        " WHERE token_id = %(token)s AND eon_number >= %(since_eon)s AND block >= %(since)s AND block < %(until)s"
        " AND (slashed_eon_number IS NULL OR slashed_eon_number >= %(eon)s)"
        " UNION ALL SELECT -amount, wallet_id IS NULL FROM ledger_withdrawalrequest"
        " WHERE token_id = %(token)s AND block < %(since)s"
        " AND slashed_eon_number >= %(since_eon)s AND slashed_eon_number < %(eon)s) r",
        values,
    )
    return int(went), int(foreign)


def of_all_history(token: Token, eon: int, status: ChainStatus) -> Managed:
    """What `managed` gives, from all rows there are."""
    first = status.first_block_of(eon)
    (deposits, waiting), (requests, foreign), (written_off,) = (
        fetch(
            "SELECT COALESCE(sum(amount), 0),"
            " COALESCE(sum(amount) FILTER (WHERE wallet_id IS NULL OR eon_number >= %s), 0)"
            " FROM ledger_deposit WHERE token_id = %s AND block < %s",
            [eon, token.pk, first],
        )[0],
        fetch(
            "SELECT COALESCE(sum(amount), 0), COALESCE(sum(amount) FILTER (WHERE wallet_id IS NULL), 0)"
            " FROM ledger_withdrawalrequest"
            " WHERE token_id = %s AND block < %s AND (slashed_eon_number IS NULL OR slashed_eon_number >= %s)",
            [token.pk, first, eon],
        )[0],
        fetch(
            "SELECT COALESCE(sum(t.shortfall), 0) FROM ledger_tokencommitment t"
            " JOIN ledger_rootcommitment r ON r.id = t.root_commitment_id"
            " WHERE t.token_id = %s AND r.eon_number < %s",
            [token.pk, eon],
        )[0],
    )
    return Managed(
        int(deposits) - int(requests) + int(written_off),
        int(waiting) - int(foreign),
    )
