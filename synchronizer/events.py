"""Events as frames for the streams that they concern (`spec/http-api.md` §5.5), read and rendered set-wise."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from django.db import Error
from django.db.models import Q

from auditor import render, selectors
from ledger.models import (
    Deposit,
    Event,
    Outbox,
    RootCommitment,
    Transfer,
    Wallet,
    Withdrawal,
    WithdrawalRequest,
)
from synchronizer.streams import group_of, name_of, notification, wallet_of

logger = logging.getLogger(__name__)

Item = tuple[str, str, str] | tuple[None, None, int]
"""(lane, group, frame), or (None, None, eon) for a checkpoint, whose frames are made where they are sent."""

REGISTRATIONS = ""
"""The lane of REGISTERED_WALLET. What travels in one lane keeps its order on a connection. Other frames travel in
the lane of their own stream; but a client that registers several wallets counts on the order across streams."""

Frames = dict[str, list[tuple[str, str]]]
"""By lane, (group, frame) in order."""


@dataclass(slots=True)
class Batch:
    """Events ready to be told, in order, and the rows that could not be made ready, with the reasons."""

    items: list[Item] = field(default_factory=list)
    failures: list[tuple[Outbox, str]] = field(default_factory=list)


Told = list[tuple[Wallet, render.Object]]
"""Wallets whose streams are told an event, in this order, and what they are told."""


def _transfer(row: Transfer) -> Told:
    receipt = render.transfer_receipt(row)
    return [(row.recipient, receipt), (row.wallet, receipt)]


def _owner(row: Deposit | WithdrawalRequest | Withdrawal) -> Wallet:
    if row.wallet is None:
        raise LookupError("it belongs to no wallet")
    return row.wallet


READERS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], Told]]] = {
    Event.REGISTERED_WALLET: (
        lambda: Wallet.objects.select_related("token"),
        lambda row: [(row, render.admission(row))],
    ),
    Event.CONFIRMED_DEPOSIT: (
        lambda: Deposit.objects.select_related("wallet__token"),
        lambda row: [(_owner(row), render.deposit(row))],
    ),
    Event.REQUESTED_WITHDRAWAL: (
        lambda: WithdrawalRequest.objects.select_related("wallet__token"),
        lambda row: [(_owner(row), render.withdrawal_request(row))],
    ),
    Event.CONFIRMED_WITHDRAWAL: (
        lambda: Withdrawal.objects.select_related("wallet__token", "request"),
        lambda row: [(_owner(row), render.withdrawal(row))],
    ),
    Event.TRANSFER_CONFIRMATION: (selectors.full_transfers, _transfer),
}


def batch(rows: Sequence[Outbox]) -> Batch:
    """The outbox rows' frames in order; one query for each kind of event. Raises django.db.Error."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        wanted[row.event].add(row.object_id)
    objects = {event: READERS[event][0]().in_bulk(ids) for event, ids in wanted.items() if event in READERS}
    result = Batch()
    for row in rows:
        try:
            result.items += _items(row, objects)
        except Error:
            raise
        except Exception as error:
            logger.exception("ALARM: %s %d of the outbox cannot be told", row.event, row.object_id)
            result.failures.append((row, f"{type(error).__name__}: {error}"))
    return result


def _items(row: Outbox, objects: Mapping[str, Mapping[int, Any]]) -> list[Item]:
    if row.event == Event.CHECKPOINT_CREATED:
        return [(None, None, row.object_id)]
    if row.event not in READERS:
        raise LookupError("there is no such kind of event")
    found = objects[row.event].get(row.object_id)
    if found is None:
        raise LookupError("what it tells of does not exist")
    lane = REGISTRATIONS if row.event == Event.REGISTERED_WALLET else None
    pairs = _pairs(row.event, READERS[row.event][1](found))
    return [(group if lane is None else lane, group, frame) for group, frame in pairs]


def _pairs(event: str, told: Told) -> list[tuple[str, str]]:
    """(group, frame) for each wallet that is told the event."""
    model = orjson.Fragment(orjson.dumps(told[0][1]))  # every stream is told the same
    return [(group_of(wallet), notification(name_of(wallet), event, model)) for wallet, _ in told]


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


def checkpoint_frames(groups: Sequence[str], eon: int) -> Frames:
    """CHECKPOINT_CREATED for each group's wallet: its state in the eon as it is at this moment."""
    histories = selectors.wallet_histories(wallets_of(groups), eon)
    return {group_of(history.wallet): [_checkpoint(history)] for history in histories.values()}


def _checkpoint(history: selectors.WalletHistory) -> tuple[str, str]:
    wallet = history.wallet
    frame = notification(name_of(wallet), Event.CHECKPOINT_CREATED, render.wallet_state(history))
    return group_of(wallet), frame


def registration_frames(_lanes: Sequence[str], groups: Sequence[str]) -> Frames:
    """REGISTERED_WALLET, in order, for those of the groups' wallets that registered in the eon of the newest
    checkpoint, in the one before or later."""
    eon = RootCommitment.objects.order_by("-eon_number").values_list("eon_number", flat=True).first() or 0
    wallets = [wallet for wallet in wallets_of(groups) if wallet.registration_eon_number >= eon - 1]
    pairs = [_pairs(Event.REGISTERED_WALLET, [(wallet, render.admission(wallet))])[0] for wallet in wallets]
    return {REGISTRATIONS: pairs}


def frames_since(groups: Sequence[str], since: datetime) -> Frames:
    """All but registrations that the groups' wallets were, or should have been, told since a moment. Clients know
    rows by their ids, so being told twice does no harm.

    First what belongs to eons before the newest checkpoint, then that checkpoint, then the rest: a client drops
    what is not of the eon it is in, and the checkpoint takes it into the next.
    """
    wallets = wallets_of(groups)
    checkpoint = RootCommitment.objects.order_by("-eon_number").first()
    frames: Frames = {group: [] for group in groups}
    later: Frames = {group: [] for group in groups}
    for eon, group, frame in _events_since({wallet.pk for wallet in wallets}, since):
        before = checkpoint is None or eon < checkpoint.eon_number
        (frames if before else later)[group].append((group, frame))
    if checkpoint is not None and checkpoint.time >= since:
        for group, pairs in checkpoint_frames(groups, checkpoint.eon_number).items():
            frames[group] += pairs
    for group, pairs in later.items():
        frames[group] += pairs
    return frames


def _events_since(wallets: set[int], since: datetime) -> Iterable[tuple[int, str, str]]:
    """(eon, group, frame) of what the wallets are told, each kind in its order."""
    for event, (rows, tell) in READERS.items():
        if event == Event.REGISTERED_WALLET:
            continue
        mine = Q(wallet__in=wallets)
        if event == Event.TRANSFER_CONFIRMATION:
            mine |= Q(recipient__in=wallets)
        for row in rows().filter(mine, time__gte=since).order_by("id"):
            told = [(wallet, model) for wallet, model in tell(row) if wallet.pk in wallets]
            for group, frame in _pairs(event, told):
                yield row.eon_number, group, frame
