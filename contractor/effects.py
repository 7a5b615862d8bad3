"""What each event of the contract does to the ledger.

Events take effect in the chain's order (block, log index), once each: their rows carry the event's transaction and
log index, and the follower's cursor moves in the same transaction. `EFFECTS` says what handles what; consecutive
events of one kind are handled together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from django.db.models import Q

from contractor import events
from contractor.alarms import raise_alarm
from contractor.conduits import subject
from contractor.events import ContractEvent, Place
from contractor.models import ContractParameters, EthereumTransactionAttempt
from contractor.slashing import end_cancelling
from ledger import engine, store
from ledger.engine import Command, Owner
from ledger.models import (
    ChainStatus,
    Challenge,
    DelegatedWithdrawal,
    Deposit,
    Event,
    RootCommitment,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.sql import fetch
from nocust.addresses import to_checksum

Pair = tuple[bytes, bytes]
"""(token address, holder address)."""


@dataclass(frozen=True, slots=True)
class Holder:
    owner: Owner
    registration_eon: int


@dataclass(slots=True)
class Batch:
    """The work on one stretch of events: what is known of their tokens and wallets, and what they cause."""

    status: ChainStatus
    parameters: ContractParameters
    tokens: dict[bytes, int]
    holders: dict[Pair, Holder]
    commands: list[Command] = field(default_factory=list)
    told: list[tuple[Event, int]] = field(default_factory=list)

    def eon(self, event: ContractEvent) -> int:
        return self.status.eon_of(event.place.block)

    def token(self, event: ContractEvent, address: bytes) -> int | None:
        """The token's row id; an alarm and None for one that the hub does not deal in."""
        found = self.tokens.get(address)
        if found is None:
            raise_alarm(
                "unknown token",
                f"{type(event).__name__} of {to_checksum(address)} in block {event.place.block}: the hub does not"
                " know this token and ignores the event",
            )
        return found


def apply_events(found: Sequence[ContractEvent], status: ChainStatus, parameters: ContractParameters) -> None:
    """Book the events, which are in the chain's order, inside the caller's transaction. Those booked already are
    passed over. Raises what `ledger.store.run` raises; then nothing must be committed."""
    fresh = not_booked(found)
    if not fresh:
        return
    tokens = _lock_tokens(fresh)
    batch = Batch(status, parameters, tokens, _holders(fresh, tokens))
    for kind, group in groupby(fresh, key=type):
        EFFECTS[kind](batch, list(group))
    store.run(batch.commands)
    store.tell(*batch.told)


# ---- what is known beforehand -----------------------------------------------------------------------------------


def not_booked(found: Sequence[ContractEvent]) -> list[ContractEvent]:
    """The events that left no row yet; those that never leave one are among them."""
    hashes = list({event.place.txid for event in found})
    booked: set[tuple[bytes, int]] = set()
    for model in (Deposit, WithdrawalRequest, Withdrawal, Challenge):
        rows = model.objects.filter(txid__in=hashes).values_list("txid", "log_index")
        booked.update((bytes(txid), log_index) for txid, log_index in rows)
    return [event for event in found if (event.place.txid, event.place.log_index) not in booked]


def _pairs(found: Iterable[ContractEvent]) -> set[Pair]:
    pairs: set[Pair] = set()
    for event in found:
        if isinstance(event, events.Deposit):
            pairs.add((event.token, event.recipient))
        elif isinstance(event, events.WithdrawalRequest | events.WithdrawalConfirmation):
            pairs.add((event.token, event.requestor))
        elif isinstance(event, events.WithdrawalSlashed):
            pairs.add((event.token, event.withdrawer))
    return pairs


def _lock_tokens(found: Sequence[ContractEvent]) -> dict[bytes, int]:
    """The tokens' row ids by address. Held against registrations until the commit: a wallet is either found now,
    or its registration finds the deposit."""
    addresses = list({token for token, _ in _pairs(found)})
    rows = fetch(
        "SELECT address, id FROM ledger_token WHERE address = ANY(%s) ORDER BY id FOR SHARE", [addresses]
    )
    return {bytes(address): token for address, token in rows}


def _holders(found: Sequence[ContractEvent], tokens: dict[bytes, int]) -> dict[Pair, Holder]:
    pairs = [pair for pair in _pairs(found) if pair[0] in tokens]
    rows = fetch(
        "SELECT t.address, w.address, w.id, w.trail_identifier, w.registration_eon_number"
        " FROM unnest(%s::bigint[], %s::bytea[]) AS wanted(token_id, address)"
        " JOIN ledger_wallet w ON w.token_id = wanted.token_id AND w.address = wanted.address"
        " JOIN ledger_token t ON t.id = w.token_id",
        [[tokens[token] for token, _ in pairs], [address for _, address in pairs]],
    )
    holders = {}
    for token, address, wallet, trail, eon in rows:
        pair = (bytes(token), bytes(address))
        holders[pair] = Holder(Owner(wallet, pair[0], pair[1], trail), eon)
    return holders


def _columns(place: Place) -> dict[str, Any]:
    return {
        "txid": place.txid,
        "log_index": place.log_index,
        "block": place.block,
        "time": datetime.fromtimestamp(place.time, UTC),
    }


# ---- handlers ---------------------------------------------------------------------------------------------------


def _deposits(batch: Batch, group: Sequence[events.Deposit]) -> None:
    """Credited in the eon of the block, or of the registration where that came later. Without a wallet the deposit
    waits for the address to register."""
    rows = []
    for event in group:
        token = batch.token(event, event.token)
        if token is None:
            continue
        holder = batch.holders.get((event.token, event.recipient))
        eon = batch.eon(event)
        if holder is not None:
            eon = max(eon, holder.registration_eon)
            batch.commands.append(engine.Deposit(holder.owner, eon, event.amount))
        rows.append(
            Deposit(
                **_columns(event.place),
                token_id=token,
                address=event.recipient,
                wallet_id=None if holder is None else holder.owner.wallet,
                eon_number=eon,
                amount=event.amount,
            )
        )
    created = Deposit.objects.bulk_create(rows)
    batch.told += [(Event.CONFIRMED_DEPOSIT, row.pk) for row in created if row.wallet_id is not None]


def _requests(batch: Batch, group: Sequence[events.WithdrawalRequest]) -> None:
    rows = []
    for event in group:
        token = batch.token(event, event.token)
        if token is None:
            continue
        holder = batch.holders.get((event.token, event.requestor))
        if holder is None:
            raise_alarm(
                "withdrawal without wallet",
                f"{to_checksum(event.requestor)} has no wallet for {to_checksum(event.token)} and requested"
                f" {event.amount} in block {event.place.block}",
            )
        else:
            batch.commands.append(engine.RequestWithdrawal(holder.owner, batch.eon(event), event.amount))
        rows.append(
            WithdrawalRequest(
                **_columns(event.place),
                token_id=token,
                address=event.requestor,
                wallet_id=None if holder is None else holder.owner.wallet,
                eon_number=batch.eon(event),
                amount=event.amount,
            )
        )
    created = WithdrawalRequest.objects.bulk_create(rows)
    batch.told += [(Event.REQUESTED_WITHDRAWAL, row.pk) for row in created if row.wallet_id is not None]
    _link_delegated(created)


def _link_delegated(requests: Sequence[WithdrawalRequest]) -> None:
    """A request made by one of the operator's own transactions ends the delegated withdrawal it was made for."""
    by_txid = {request.txid: request for request in requests}
    attempts = EthereumTransactionAttempt.objects.filter(
        hash__in=list(by_txid), transaction__kind="requestDelegatedWithdrawal"
    )
    for attempt in attempts.select_related("transaction"):
        identifier = attempt.transaction.arguments["delegated_withdrawal"]
        DelegatedWithdrawal.objects.filter(pk=identifier).update(
            state=DelegatedWithdrawal.State.REQUESTED, request=by_txid[attempt.hash]
        )


def _confirmations(batch: Batch, group: Sequence[events.WithdrawalConfirmation]) -> None:
    """The contract pays everything that is mature."""
    waiting = _waiting_requests({(event.token, event.requestor) for event in group})
    rows = []
    for event in group:
        mature = batch.parameters.matured_eon(event.place.block)
        pair = event.token, event.requestor
        due = [request for request in waiting[pair] if request.eon_number <= mature]
        settled = _settled(due, event.amount)
        paid = sum(request.amount for request in settled)
        waiting[pair] = [request for request in waiting[pair] if request not in settled]
        for request in settled:
            rows.append(
                Withdrawal(
                    **_columns(event.place),
                    wallet_id=request.wallet_id,
                    request=request,
                    eon_number=batch.eon(event),
                    amount=request.amount,
                )
            )
        if paid != event.amount:
            raise_alarm(
                "payment without request",
                f"the contract paid {event.amount} of {to_checksum(event.token)} to {to_checksum(event.requestor)}"
                f" in block {event.place.block}, the requests known to be due make {paid}",
            )
    created = Withdrawal.objects.bulk_create(rows)
    batch.told += [(Event.CONFIRMED_WITHDRAWAL, row.pk) for row in created if row.wallet_id is not None]


def _settled(due: Sequence[WithdrawalRequest], amount: int) -> Sequence[WithdrawalRequest]:
    """The requests that a payment is for: all of some eons, from the oldest on. Where none such make up the amount,
    a payment of the oldest is not known, and this is for newer ones, maybe without those of the newest eon, which
    have to wait for a checkpoint. Else the oldest until they make up the amount."""
    starts = [i for i, row in enumerate(due) if i == 0 or due[i - 1].eon_number != row.eon_number]
    ends = [*starts[1:], len(due)]
    for first, end in [
        *((0, end) for end in ends),
        *((first, end) for end in ends[:-3:-1] for first in starts),
    ]:
        if sum(row.amount for row in due[first:end]) == amount:
            return due[first:end]
    paid = 0
    for index, row in enumerate(due):
        if paid >= amount:
            return due[:index]
        paid += row.amount
    return due


def _waiting_requests(pairs: Iterable[Pair]) -> dict[Pair, list[WithdrawalRequest]]:
    """Requests of these holders that are neither paid nor cancelled, oldest first."""
    wanted = list(pairs)
    rows = WithdrawalRequest.objects.filter(
        slashed=False,
        paid=False,
        token__address__in=[token for token, _ in wanted],
        address__in=[address for _, address in wanted],
    )
    waiting: dict[Pair, list[WithdrawalRequest]] = defaultdict(list)
    for row in rows.select_related("token").order_by("eon_number", "id"):
        waiting[row.token.address, row.address].append(row)
    return waiting


def _slashes(batch: Batch, group: Sequence[events.WithdrawalSlashed]) -> None:
    """Requests of the event's eon, of the one before, or of both are cancelled. Each is given back in its own eon,
    so that its checkpoint does not count it; where that ledger is closed already, in the event's eon."""
    for event in group:
        eon = batch.eon(event)
        for requested, amount in ((eon - 1, event.previous_eon_amount), (eon, event.current_eon_amount)):
            if amount:
                given_back = eon if _is_closed(requested) else requested
                _cancel(batch, event, _cancelled(event, requested, amount), amount, given_back)
    end_cancelling(group)


def _cancelled(event: events.WithdrawalSlashed, eon: int, amount: int) -> list[WithdrawalRequest]:
    """The requests of an eon that an event cancels: the newest before it, as many as make up the amount. They have
    been given back already where the event's block is read again, as after a deep fork."""
    place = event.place
    earlier = WithdrawalRequest.objects.filter(
        Q(block__lt=place.block) | Q(block=place.block, log_index__lt=place.log_index),
        token__address=event.token,
        address=event.withdrawer,
        eon_number=eon,
        log_index__gte=0,
    )
    found: list[WithdrawalRequest] = []
    for request in earlier.order_by("-block", "-log_index"):
        if sum(row.amount for row in found) >= amount:
            break
        found.append(request)
    return found


def _is_closed(eon: int) -> bool:
    return RootCommitment.objects.filter(eon_number=eon + 1).exists()


def _cancel(
    batch: Batch,
    event: events.WithdrawalSlashed,
    cancelled: Sequence[WithdrawalRequest],
    amount: int,
    given_back: int,
) -> None:
    total = sum(request.amount for request in cancelled)
    if total != amount:
        raise_alarm(
            "slash differs",
            f"requests of {to_checksum(event.withdrawer)} for {total} were known, the contract cancelled {amount}"
            f" in block {event.place.block}",
        )
    standing = [request for request in cancelled if not (request.slashed or request.paid)]
    keys = [request.pk for request in standing]
    WithdrawalRequest.objects.filter(pk__in=keys).update(slashed=True, slashed_eon_number=given_back)
    holder = batch.holders.get((event.token, event.withdrawer))
    if holder is not None and standing:
        given = sum(request.amount for request in standing)
        batch.commands.append(engine.CancelWithdrawal(holder.owner, given_back, given))


def _submissions(batch: Batch, group: Sequence[events.CheckpointSubmission]) -> None:
    for event in group:
        ours = RootCommitment.objects.filter(eon_number=event.eon, merkle_root=event.merkle_root)
        if ours.exists():
            batch.told.append((Event.CHECKPOINT_SUBMITTED, event.eon))
        else:
            raise_alarm(
                "foreign checkpoint",
                f"the contract holds 0x{event.merkle_root.hex()} as checkpoint {event.eon} since block"
                f" {event.place.block}; it is not the one of this ledger",
            )


def _challenges(batch: Batch, group: Sequence[events.ChallengeIssued]) -> None:
    """The row's eon is that of the event; the challenge is about the state of the eon before. Its token is one, or
    a pair's conduit: whatever it is, the contract's record is to be answered."""
    Challenge.objects.bulk_create(
        Challenge(
            **_columns(event.place),
            token=event.token,
            sender=event.sender,
            recipient=event.recipient,
            eon_number=batch.eon(event),
            amount=0,
            deadline=batch.parameters.last_answer_block(event.place.block),
        )
        for event in group
    )
    for event in group:
        raise_alarm(
            "challenge",
            f"{to_checksum(event.sender)} and {to_checksum(event.recipient)} in {subject(event.token)}, issued"
            f" in block {event.place.block}, to be answered by block"
            f" {batch.parameters.last_answer_block(event.place.block)}",
        )


def _answers(batch: Batch, group: Sequence[events.ChallengeAnswered]) -> None:
    """The event does not say which of two challenges about one transfer was answered; then the contract's records
    are asked (`contractor.disputes`)."""
    for event in group:
        open_ones = Challenge.objects.filter(
            token=event.token,
            sender=event.sender,
            recipient=event.recipient,
            rebuted=False,
            block__lte=event.place.block,
        )
        keys = list(open_ones.values_list("pk", flat=True))
        if len(keys) == 1:
            open_ones.update(rebuted=True)


def _recoveries(batch: Batch, group: Sequence[events.FundsRecovered]) -> None:
    for event in group:
        raise_alarm(
            "funds recovered",
            f"{to_checksum(event.holder)} took {event.amount} of {to_checksum(event.token)} out of the halted"
            f" contract in block {event.place.block}",
        )


def _nothing(batch: Batch, group: Sequence[ContractEvent]) -> None:
    """Known and of no effect."""


Handler = Callable[[Batch, Any], None]

EFFECTS: dict[type, Handler] = {
    events.Deposit: _deposits,
    events.WithdrawalRequest: _requests,
    events.WithdrawalConfirmation: _confirmations,
    events.WithdrawalSlashed: _slashes,
    events.CheckpointSubmission: _submissions,
    events.ChallengeIssued: _challenges,
    events.ChallengeAnswered: _answers,
    events.FundsRecovered: _recoveries,
    events.Other: _nothing,
}
