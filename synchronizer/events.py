"""Events as frames for the streams that they concern (`spec/http-api.md` §5.5), read and rendered set-wise."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.db import Error
from django.db.models import Model, Q

from auditor import render, selectors
from ledger.models import (
    Deposit,
    Event,
    Outbox,
    Reorganisation,
    RootCommitment,
    Transfer,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from ledger.store import chain_status
from ledger.transfer_rows import Confirmed, confirmed
from synchronizer import log, status
from synchronizer.log import Entry, Fresh
from synchronizer.orders import ORDER_EVENTS, told_of
from synchronizer.streams import (
    ALL_WALLETS,
    HUB,
    group_of,
    name_of,
    notification,
    wallet_group,
    wallet_name,
    wallet_of,
)

logger = logging.getLogger(__name__)

Item = tuple[int, str, str | int, bool]
"""(position, group, frame, whether it passes frames that wait), or (position, ALL_WALLETS, eon, False) for a
checkpoint, whose frames are made where they are sent. A registration is the first event of its stream, so it need
not wait for other streams' states; and a client that registers several wallets counts on their order."""

Frame = tuple[int, str, str]
"""(position, group, text)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one stream is told. `registered`: on a wallet's stream, the eon in which the wallet registered."""

    group: str
    stream: str
    event: str
    model: orjson.Fragment
    registered: int | None = None

    def frame(self, entry: Entry) -> str:
        """The frame that tells it at its place in the stream."""
        return notification(self.stream, self.event, self.model, entry.position, entry.previous)


@dataclass(frozen=True, slots=True)
class Kind:
    """How events of a kind are read, all at once by their object ids, and who is told what, in which order."""

    read: Callable[[Collection[int]], Mapping[int, Any]]
    tell: Callable[[Any], list[Notice]]


@dataclass(slots=True)
class Batch:
    """Events ready to be told, in order, and the rows that could not be made ready, with the reasons."""

    told: list[tuple[Fresh, Notice | None]] = field(default_factory=list)
    failures: list[tuple[Outbox, str]] = field(default_factory=list)

    def items(self, entries: Sequence[Entry]) -> list[Item]:
        """What goes to the server processes, once the events have their places."""
        return [_item(entry, notice) for entry, (_, notice) in zip(entries, self.told, strict=True)]


def _item(entry: Entry, notice: Notice | None) -> Item:
    if notice is None:
        return (entry.position, entry.group, entry.object_id, False)
    first = entry.event == Event.REGISTERED_WALLET
    return (entry.position, entry.group, notice.frame(entry), first)


# ---- kinds of events --------------------------------------------------------------------------------------------


def _to_wallets(event: str, wallets: Iterable[Wallet], model: render.Object) -> list[Notice]:
    """The same for the streams of several wallets."""
    text = orjson.Fragment(orjson.dumps(model))
    return [
        Notice(group_of(wallet), name_of(wallet), event, text, wallet.registration_eon_number)
        for wallet in wallets
    ]


def _to_hub(event: str, model: render.Object) -> list[Notice]:
    return [Notice(HUB, HUB, event, orjson.Fragment(orjson.dumps(model)))]


def _owner(row: Deposit | WithdrawalRequest | Withdrawal) -> Wallet:
    if row.wallet is None:
        raise LookupError("it belongs to no wallet")
    return row.wallet


def _rows(queryset: Callable[[], Any]) -> Callable[[Collection[int]], Mapping[int, Model]]:
    return lambda ids: queryset().in_bulk(ids)


def _commitments(eons: Collection[int]) -> Mapping[int, RootCommitment]:
    return {row.eon_number: row for row in RootCommitment.objects.filter(eon_number__in=eons)}


def _eons(eons: Collection[int]) -> Mapping[int, render.Object]:
    chain = chain_status()
    return {eon: {"eon_number": eon, "block": chain.first_block_of(eon)} for eon in eons}


def _commitment(row: RootCommitment) -> render.Object:
    return {"eon_number": row.eon_number, "merkle_root": render.hex0x(row.merkle_root)}


def _reorganisation(row: Reorganisation) -> render.Object:
    return {
        "first_block": row.first_block,
        "blocks": row.blocks,
        "abandoned_hash": render.hex0x(row.abandoned_hash),
        "head_hash": render.hex0x(row.head_hash),
        "deep": row.deep,
        "time": render.seconds(row.time),
    }


def _confirmation(row: Confirmed) -> list[Notice]:
    text = orjson.Fragment(orjson.dumps(render.receipt_told(row)))
    parties = (row.recipient, row.recipient_registered), (row.sender, row.sender_registered)
    return [
        Notice(
            wallet_group(owner.token, owner.address),
            wallet_name(owner.token, owner.address),
            Event.TRANSFER_CONFIRMATION,
            text,
            registered,
        )
        for owner, registered in parties
    ]


def _order(event: str) -> Kind:
    """Both wallets are told, and the stream of the pair under a name of its own."""
    kind = ORDER_EVENTS[event]

    def tell(row: Transfer) -> list[Notice]:
        model = orjson.Fragment(orjson.dumps(kind.render(row)))
        registered = {
            group_of(wallet): wallet.registration_eon_number for wallet in (row.wallet, row.recipient)
        }
        return [
            Notice(told.group, told.stream, told.event, model, registered.get(told.group))
            for told in told_of(event, row)
        ]

    return Kind(kind.read, tell)


KINDS: Mapping[str, Kind] = {
    Event.REGISTERED_WALLET: Kind(
        _rows(lambda: Wallet.objects.select_related("token")),
        lambda row: _to_wallets(Event.REGISTERED_WALLET, [row], render.admission(row)),
    ),
    Event.CONFIRMED_DEPOSIT: Kind(
        _rows(lambda: Deposit.objects.select_related("wallet__token")),
        lambda row: _to_wallets(Event.CONFIRMED_DEPOSIT, [_owner(row)], render.deposit(row)),
    ),
    Event.REQUESTED_WITHDRAWAL: Kind(
        _rows(lambda: WithdrawalRequest.objects.select_related("wallet__token")),
        lambda row: _to_wallets(Event.REQUESTED_WITHDRAWAL, [_owner(row)], render.withdrawal_request(row)),
    ),
    Event.CONFIRMED_WITHDRAWAL: Kind(
        _rows(lambda: Withdrawal.objects.select_related("wallet__token", "request")),
        lambda row: _to_wallets(Event.CONFIRMED_WITHDRAWAL, [_owner(row)], render.withdrawal(row)),
    ),
    Event.TRANSFER_CONFIRMATION: Kind(confirmed, _confirmation),
    **{event: _order(event) for event in ORDER_EVENTS},
    Event.CHECKPOINT_CREATED: Kind(
        _commitments, lambda row: _to_hub(Event.CHECKPOINT_CREATED, _commitment(row))
    ),
    Event.CHECKPOINT_SUBMITTED: Kind(
        _commitments, lambda row: _to_hub(Event.CHECKPOINT_SUBMITTED, _commitment(row))
    ),
    Event.EON_STARTED: Kind(_eons, lambda model: _to_hub(Event.EON_STARTED, model)),
    Event.REORGANISATION: Kind(
        _rows(Reorganisation.objects.all),
        lambda row: _to_hub(Event.REORGANISATION, _reorganisation(row)),
    ),
    Event.STATUS: Kind(
        lambda flags: {value: status.names(value) for value in flags},
        lambda model: _to_hub(Event.STATUS, model),
    ),
}


def _objects(events: Iterable[tuple[str, int]]) -> dict[str, Mapping[int, Any]]:
    """What the events tell of, by event and object id; one query for each kind. Raises django.db.Error."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for event, object_id in events:
        wanted[event].add(object_id)
    return {event: KINDS[event].read(ids) for event, ids in wanted.items() if event in KINDS}


def _notices(event: str, object_id: int, objects: Mapping[str, Mapping[int, Any]]) -> list[Notice]:
    if event not in KINDS:
        raise LookupError("there is no such kind of event")
    found = objects[event].get(object_id)
    if found is None:
        raise LookupError("what it tells of does not exist")
    return KINDS[event].tell(found)


# ---- told for the first time ------------------------------------------------------------------------------------


def batch(rows: Sequence[Outbox]) -> Batch:
    """The outbox rows' events in order, one for each stream that is told. Raises django.db.Error.

    An order that was matched several times is told as it is now, which is enough to tell once.
    """
    objects = _objects((row.event, row.object_id) for row in rows)
    result = Batch()
    matched: set[int] = set()
    for row in rows:
        if row.event == Event.MATCHED_SWAP:
            if row.object_id in matched:
                continue
            matched.add(row.object_id)
        try:
            notices = _notices(row.event, row.object_id, objects)
        except Error:
            raise
        except Exception as error:
            logger.exception("ALARM: %s %d of the outbox cannot be told", row.event, row.object_id)
            result.failures.append((row, f"{type(error).__name__}: {error}"))
            continue
        if row.event == Event.CHECKPOINT_CREATED:
            result.told.append((Fresh(ALL_WALLETS, row.event, row.object_id), None))
        for notice in notices:
            result.told.append((Fresh(notice.group, row.event, row.object_id, notice.registered), notice))
    return result


# ---- told again -------------------------------------------------------------------------------------------------


def logged(entries: Sequence[Entry]) -> list[Item]:
    """Entries of the log as they were told, from their rows as they are now. What cannot be rendered any more, such
    as an effect of blocks that left the chain, is left out: the positions of what follows show that."""
    objects = _objects((e.event, e.object_id) for e in entries if e.group != ALL_WALLETS)
    notices: dict[tuple[str, int], dict[str, Notice]] = {}
    items: list[Item] = []
    for entry in entries:
        if entry.group == ALL_WALLETS:
            items.append(_item(entry, None))
            continue
        subject = (entry.event, entry.object_id)
        if subject not in notices:
            notices[subject] = _notices_again(entry, objects)
        notice = notices[subject].get(entry.group)
        if notice is not None:
            items.append(_item(entry, notice))
    return items


def _notices_again(entry: Entry, objects: Mapping[str, Mapping[int, Any]]) -> dict[str, Notice]:
    try:
        return {notice.group: notice for notice in _notices(entry.event, entry.object_id, objects)}
    except Error:
        raise
    except Exception:
        logger.exception("ALARM: %s %d cannot be told again", entry.event, entry.object_id)
        return {}


# ---- checkpoints ------------------------------------------------------------------------------------------------


def wallets_of(groups: Iterable[str]) -> list[Wallet]:
    """The wallets of those groups that have one, in order of their registration."""
    addresses: dict[bytes, list[bytes]] = defaultdict(list)
    for group in groups:
        found = wallet_of(group)
        if found is not None:
            addresses[found[0]].append(found[1])
    if not addresses:
        return []
    conditions = Q()
    for token, owners in addresses.items():
        conditions |= Q(token__address=token, address__in=owners)
    return list(Wallet.objects.filter(conditions).select_related("token").order_by("id"))


def checkpoint_frames(groups: Iterable[str], position: int, eon: int) -> list[Frame]:
    """CHECKPOINT_CREATED for those of the groups' wallets that registered before the eon: their states in it as
    they are at this moment. None of an eon whose proofs are archived: who goes on from before it misses one frame,
    which the positions of the others show, and not all."""
    wallets = [wallet for wallet in wallets_of(groups) if wallet.registration_eon_number < eon]
    if not wallets:
        return []
    try:
        histories = selectors.wallet_histories(wallets, eon)
    except selectors.ArchivedError as error:
        logger.info("a checkpoint is not told again: %s", error)
        return []
    own = log.latest_before([group_of(wallet) for wallet in wallets], position)
    before = log.checkpoint_before(position)
    frames = []
    for history in histories.values():
        wallet = history.wallet
        group = group_of(wallet)
        previous = own.get(group)
        if before is not None:
            previous = before.after(previous, wallet.registration_eon_number)
        model = render.wallet_state(history)
        text = notification(name_of(wallet), Event.CHECKPOINT_CREATED, model, position, previous)
        frames.append((position, group, text))
    return frames


def frames_after(after: Mapping[str, int], limit: int) -> tuple[list[Frame], dict[str, int]]:
    """The next frames that groups were told behind the positions given for each, some `limit` events of them; and
    the positions to go on from, empty when there was nothing more."""
    wallets = {group: position for group, position in after.items() if wallet_of(group) is not None}
    wanted = {**after, **({ALL_WALLETS: min(wallets.values())} if wallets else {})}
    entries = log.of_streams(wanted, limit)
    frames: list[Frame] = []
    for position, group, value, _ in logged(entries):
        if isinstance(value, str):
            frames.append((position, group, value))
        else:
            told = [group for group, known in wallets.items() if known < position]
            frames += checkpoint_frames(told, position, value)
    if len(entries) < limit:
        return frames, {}
    read = entries[-1].position
    return frames, {group: max(position, read) for group, position in after.items()}
