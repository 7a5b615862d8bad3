"""Going on after a fork below blocks whose events were applied (`manage.py resolve_fork`).

The ledger's effects of the abandoned blocks are compared with the events of the new branch. Mostly the same
transactions are mined again and nothing but their places changed. What is missing on the new branch is undone where
that can be done: requests are given back, cancelled ones count again, payments are due again, challenges are none.
A deposit that was credited can't be taken back, since its owner may have passed it on: somebody has to make it
again first. Events that fall into an eon whose ledger is closed can't be taken in either.

The contract counts deposits and requests by eons, and checkpoints have to agree. One that is in another eon on the
new branch is another one: the request is given back and debited anew where its own eon is not closed; a deposit is
missing, however late it comes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from contractor import events
from contractor.errors import ChainError, NodeError
from contractor.events import ContractEvent, Place
from contractor.headers import Header
from contractor.interface import Contract
from contractor.logs import kept_headers, read_events
from contractor.models import ContractState
from ledger.models import ChainStatus, Challenge, Deposit, RootCommitment, Withdrawal, WithdrawalRequest
from nocust.addresses import to_checksum

Row = Deposit | WithdrawalRequest | Withdrawal | Challenge
Key = tuple[Any, ...]


class UnresolvableError(ChainError):
    """The new branch contradicts the ledger in a way that can't be undone, or not yet."""


@dataclass(slots=True)
class Comparison:
    """The new branch, up to block `last`, beside the ledger. `ancestor` is the newest common block. `moved` are
    rows with the place that their event has on the new branch, all others are what the new branch does not have;
    `slashes` are requests whose cancellation is missing, `counted` are those of `requests` that a checkpoint counts
    on for good. `closed` are events in eons whose ledger is closed."""

    ancestor: Header
    last: int
    moved: list[tuple[list[Row], Place]] = field(default_factory=list)
    deposits: list[Deposit] = field(default_factory=list)
    requests: list[WithdrawalRequest] = field(default_factory=list)
    payments: list[Withdrawal] = field(default_factory=list)
    challenges: list[Challenge] = field(default_factory=list)
    slashes: list[WithdrawalRequest] = field(default_factory=list)
    counted: list[WithdrawalRequest] = field(default_factory=list)
    closed: list[ContractEvent] = field(default_factory=list)

    def problems(self, covered: bool = False) -> list[str]:
        """Why it can't be resolved yet, a sentence each. `covered`: the contract was sent what the missing deposits
        were."""
        missing = [
            f"a deposit of {row.amount} of {row.token} for {to_checksum(row.address)} was credited (block"
            f" {row.block}, transaction 0x{row.txid.hex()}) and is not in the same eon of the new branch: have the"
            " transaction mined again, or deposit the same amount for the same address, before the eon ends; after"
            " it send the amount to the contract without a deposit, and say --covered"
            for row in self.deposits
            if not covered
        ]
        late = [
            f"{type(event).__name__} in block {event.place.block} of the new branch belongs to an eon whose ledger"
            " is closed"
            for event in self.closed
        ]
        return missing + late

    def effects(self) -> list[str]:
        """What resolving it does to the ledger, a sentence each."""
        told = [f"{len(rows)} rows move to block {place.block}" for rows, place in self.moved]
        told += [
            f"the deposit of {row.amount} for {to_checksum(row.address)} stays credited, beside those on chain"
            for row in self.deposits
        ]
        told += [
            f"the request of {row.amount} by {to_checksum(row.address)} is given back"
            for row in self.requests
        ]
        told += [undefended(row) for row in self.counted]
        told += [
            f"the request of {row.amount} by {to_checksum(row.address)} counts again" for row in self.slashes
        ]
        told += [f"the payment of {row.amount} (block {row.block}) is due again" for row in self.payments]
        told += [f"challenge {row.pk} is none any more" for row in self.challenges]
        return told


def undefended(row: WithdrawalRequest) -> str:
    """What a request means that is missing in an eon whose checkpoint counts on it."""
    return (
        f"the request of {row.amount} by {to_checksum(row.address)} is not in eon {row.eon_number} of the new"
        f" branch, and checkpoint {row.eon_number + 1} counts on it: if its owner challenges that, there is no"
        " answer"
    )


def compare(contract: Contract, status: ChainStatus) -> Comparison:
    """Read the new branch. Raises UnresolvableError when it has no known block, or does not reach beyond the eons
    whose ledgers are closed: what it may have there yet could not be taken in. NodeError."""
    ancestor = _ancestor(contract)
    last = max(contract.node.head().number - settings.HUB_LQD_CONTRACT_CONFIRMATIONS, ancestor.number)
    closed = {number - 1 for number in RootCommitment.objects.values_list("eon_number", flat=True)}
    end = status.first_block_of(max(closed, default=0) + 1) - 1
    if last < end:
        raise UnresolvableError(
            f"the new branch is as deep as the confirmations up to block {last} only, and the ledger is closed up"
            f" to block {end}: wait until that is as deep, too"
        )
    result = Comparison(ancestor, last)
    eon = status.eon_of(ancestor.number)
    found = _events(contract, status.first_block_of(max(eon - 1, 1)), ancestor, last)
    fresh = [event for event in found if event.place.block > ancestor.number]
    left = _match(result, fresh, _Eons(status, closed))
    result.closed = [event for event in left if status.eon_of(event.place.block) in closed]
    result.counted = [row for row in result.requests if row.eon_number in closed and not _is_given_back(row)]
    result.slashes = _missing_slashes(result, status, found, eon - 1)
    return result


def _ancestor(contract: Contract) -> Header:
    for row in ContractState.objects.filter(confirmed=True).order_by("-block"):
        (found,) = contract.node.headers(row.block, row.block)
        if found.hash == row.block_hash:
            return found
    raise UnresolvableError("no block that the hub still knows is on the node's chain")


def _events(contract: Contract, first: int, ancestor: Header, last: int) -> list[ContractEvent]:
    fresh = contract.node.headers(ancestor.number, last)
    if fresh[0].hash != ancestor.hash:
        raise NodeError(f"the node changed its block {ancestor.number} meanwhile")
    known = kept_headers(first, ancestor.number) | {header.number: header for header in fresh}
    return read_events(contract, known, first, last)


@dataclass(frozen=True, slots=True)
class _Eons:
    """Which eon a block is in, and which ones' ledgers are closed."""

    status: ChainStatus
    closed: Set[int]

    def agree(self, row: Row, event: ContractEvent) -> bool:
        """Whether a row may stand for an event of the new branch, as for the eon that the contract counts it in. A
        request of a closed eon does: its checkpoint allots too little, not too much. Deposits that wait for a
        wallet count by their blocks, and move."""
        before, after = self.status.eon_of(row.block), self.status.eon_of(event.place.block)
        if before == after or not isinstance(row, Deposit | WithdrawalRequest):
            return True
        if after in self.closed:
            return False
        if isinstance(row, Deposit):
            return row.wallet_id is None and before not in self.closed
        return before in self.closed


def _match(result: Comparison, fresh: Sequence[ContractEvent], eons: _Eons) -> list[ContractEvent]:
    """Give each applied effect an event of the new branch with the same effect, of the same transaction if there is
    one. Returns the events that are new to the ledger."""
    offered: dict[Key, list[ContractEvent]] = defaultdict(list)
    for event in fresh:
        key = _key(event)
        if key is not None:
            offered[key].append(event)
    applied = _applied(result.ancestor.number)
    for exactly in (True, False):
        for key, rows in list(applied):
            fitting = [e for e in offered[key] if eons.agree(rows[0], e)]
            same = [e for e in fitting if not exactly or e.place.txid == rows[0].txid]
            if same:
                offered[key].remove(same[0])
                applied.remove((key, rows))
                result.moved.append((rows, same[0].place))
    for _, rows in applied:
        for row in rows:
            _miss(result, row)
    return [event for some in offered.values() for event in some]


def _key(event: ContractEvent) -> Key | None:
    """What makes two events have the same effect; None for those that leave no row."""
    if isinstance(event, events.Deposit):
        return Deposit, event.token, event.recipient, event.amount
    if isinstance(event, events.WithdrawalRequest):
        return WithdrawalRequest, event.token, event.requestor, event.amount
    if isinstance(event, events.WithdrawalConfirmation) and event.amount:
        return Withdrawal, event.token, event.requestor, event.amount
    if isinstance(event, events.ChallengeIssued):
        return Challenge, event.token, event.sender, event.recipient
    return None


def _applied(block: int) -> list[tuple[Key, list[Row]]]:
    """The rows that derive from events above a block, those of one event together."""
    found: list[tuple[Key, list[Row]]] = []
    for deposit in Deposit.objects.filter(block__gt=block, log_index__gte=0).select_related("token"):
        found.append(((Deposit, deposit.token.address, deposit.address, deposit.amount), [deposit]))
    requests = WithdrawalRequest.objects.filter(block__gt=block, log_index__gte=0)
    for request in requests.select_related("token"):
        found.append(((WithdrawalRequest, request.token.address, request.address, request.amount), [request]))
    paid: dict[tuple[bytes, int], list[Row]] = defaultdict(list)
    totals: dict[tuple[bytes, int], int] = defaultdict(int)
    pairs: dict[tuple[bytes, int], tuple[bytes, bytes]] = {}
    for payment in Withdrawal.objects.filter(block__gt=block).select_related("request__token"):
        place = payment.txid, payment.log_index
        paid[place].append(payment)
        totals[place] += payment.amount
        pairs[place] = payment.request.token.address, payment.request.address
    found += [((Withdrawal, *pairs[place], totals[place]), rows) for place, rows in paid.items()]
    for challenge in Challenge.objects.filter(block__gt=block, log_index__gte=0):
        found.append(((Challenge, challenge.token, challenge.sender, challenge.recipient), [challenge]))
    return found


def _miss(result: Comparison, row: Row) -> None:
    if isinstance(row, Deposit):
        result.deposits.append(row)
    elif isinstance(row, WithdrawalRequest):
        result.requests.append(row)
    elif isinstance(row, Withdrawal):
        result.payments.append(row)
    else:
        result.challenges.append(row)


def _is_given_back(row: WithdrawalRequest) -> bool:
    """Whether the checkpoint that would count on the request knows that it was cancelled."""
    return row.slashed_eon_number is not None and row.slashed_eon_number <= row.eon_number


def _missing_slashes(
    result: Comparison, status: ChainStatus, found: Sequence[ContractEvent], eon: int
) -> list[WithdrawalRequest]:
    """Requests of `eon` and later that the ledger has as cancelled and the chain has not."""
    cancelled = _cancelled(status, found)
    places = {
        row.pk: place for rows, place in result.moved for row in rows if isinstance(row, WithdrawalRequest)
    }
    gone = {row.pk for row in result.requests}
    missing = []
    rows = WithdrawalRequest.objects.filter(slashed=True, eon_number__gte=eon, log_index__gte=0)
    for row in rows.exclude(pk__in=gone):
        place = places.get(row.pk)
        key = (row.txid, row.log_index) if place is None else (place.txid, place.log_index)
        if key not in cancelled:
            missing.append(row)
    return missing


def _cancelled(status: ChainStatus, found: Sequence[ContractEvent]) -> set[tuple[bytes, int]]:
    """The places of requests that a later event cancels: it takes all of a holder in an eon up to there."""
    standing: dict[Key, list[tuple[bytes, int]]] = defaultdict(list)
    cancelled: set[tuple[bytes, int]] = set()
    for event in found:
        at = status.eon_of(event.place.block)
        if isinstance(event, events.WithdrawalRequest):
            place = event.place.txid, event.place.log_index
            standing[event.token, event.requestor, at].append(place)
        elif isinstance(event, events.WithdrawalSlashed):
            for eon, amount in ((at, event.current_eon_amount), (at - 1, event.previous_eon_amount)):
                if amount:
                    cancelled.update(standing.pop((event.token, event.withdrawer, eon), ()))
    return cancelled
