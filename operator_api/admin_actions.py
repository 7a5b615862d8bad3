"""What the operator's people may do to a running hub. Everything is written down with who did it and why, in the
same transaction."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

from django.core.management.base import CommandError
from django.db import transaction

from contractor import resync as blocks
from contractor.models import ContractState
from ledger import archive as checkpoints
from ledger import store
from ledger.archive import Archived
from ledger.models import Blacklist, ChainStatus, Event, Outbox, Token
from nocust.addresses import to_checksum
from operator_api.models import OperatorAction
from swapper import pairs
from synchronizer.models import SetAside


class ActionError(Exception):
    """It cannot be done; the message says why. Nothing was."""


class DoneAlreadyError(ActionError):
    """It is so already."""


def at_the_command_line() -> str:
    """Who does something by a command."""
    return f"manage.py by {getpass.getuser()}"


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise ActionError("say why: the reason is kept")


def _note(who: str, action: str, subject: str, reason: str) -> OperatorAction:
    _check_reason(reason)
    return OperatorAction.objects.create(who=who, action=action, subject=subject, reason=reason.strip())


def note_command(action: str, subject: str, reason: str) -> None:
    """Write down what a command does, in its transaction. Raises CommandError without a reason."""
    try:
        _note(at_the_command_line(), action, subject, reason)
    except ActionError as error:
        raise CommandError(str(error)) from None


@transaction.atomic
def set_maintenance(who: str, on: bool, reason: str) -> OperatorAction:
    """Take nothing new from anybody, or take it again. What is in the ledger goes on: checkpoints, payments,
    answers to challenges, proofs."""
    note = _note(who, "maintenance on" if on else "maintenance off", "", reason)
    if not ChainStatus.objects.exclude(maintenance=on).update(maintenance=on):
        raise DoneAlreadyError(
            f"maintenance is {'on' if on else 'off'} already, or the hub has not read the chain yet"
        )
    return note


@transaction.atomic
def add_pair(who: str, token: Token, other: Token, reason: str) -> OperatorAction:
    """Accept orders between two tokens, in both directions."""
    note = _note(who, "add pair", f"{token} and {other}", reason)
    try:
        added = pairs.add(token, other)
    except pairs.PairError as error:
        raise ActionError(str(error)) from None
    if not added:
        raise DoneAlreadyError(f"{token} and {other} are traded already")
    return note


@transaction.atomic
def pause_pair(who: str, token: Token, other: Token, paused: bool, reason: str) -> OperatorAction:
    """Accept and match no orders between two tokens, in both directions, or accept and match them again."""
    subject = f"{token} and {other}"
    note = _note(who, "pause pair" if paused else "resume pair", subject, reason)
    try:
        changed = pairs.set_paused(token, other, paused)
    except pairs.PairError as error:
        raise ActionError(str(error)) from None
    if not changed:
        raise DoneAlreadyError(f"the trade of {subject} is {'paused' if paused else 'open'} already")
    return note


def remove_pair(who: str, token: Token, other: Token, reason: str) -> OperatorAction:
    """End the trade of two tokens for good. It takes seconds, in which every process sees that the pair is paused,
    so it is a command only."""
    _check_reason(reason)
    notes: list[OperatorAction] = []
    try:
        pairs.remove(
            token, other, lambda: notes.append(_note(who, "remove pair", f"{token} and {other}", reason))
        )
    except pairs.PairError as error:
        raise ActionError(str(error)) from None
    return notes[0]


@transaction.atomic
def bar(who: str, address: bytes, reason: str) -> OperatorAction:
    """Register the address in no token any more. Wallets it has keep working."""
    note = _note(who, "bar address", to_checksum(address), reason)
    _, fresh = Blacklist.objects.get_or_create(address=address)
    if not fresh:
        raise DoneAlreadyError(f"{to_checksum(address)} is barred already")
    return note


@transaction.atomic
def let_in(who: str, address: bytes, reason: str) -> OperatorAction:
    """Let a barred address register again."""
    note = _note(who, "let address in", to_checksum(address), reason)
    if not Blacklist.objects.filter(address=address).delete()[0]:
        raise DoneAlreadyError(f"{to_checksum(address)} is not barred")
    return note


@transaction.atomic
def resync(who: str, first_block: int, reason: str) -> OperatorAction:
    """Have the chain read again from a block on, and what is missing taken in. The table Resync says what came of
    it."""
    try:
        asked = blocks.ask(first_block)
    except blocks.ResyncError as error:
        raise ActionError(str(error)) from None
    return _note(who, "resync", f"blocks {asked.first} to {asked.last}", reason)


@transaction.atomic
def tell_again(who: str, event: SetAside | None, reason: str) -> OperatorAction:
    """Put an event that could not be told, or all of them, back into the outbox, for example after what was wrong
    was mended."""
    chosen = SetAside.objects.select_for_update().order_by("id")
    rows = list(chosen if event is None else chosen.filter(pk=event.pk))
    if not rows:
        raise DoneAlreadyError(
            "no event is set aside" if event is None else "somebody else put it back already"
        )
    subject = f"{len(rows)} events" if event is None else f"{event.event} {event.object_id}"
    note = _note(who, "tell again", subject, reason)
    SetAside.objects.filter(pk__in=[row.pk for row in rows]).delete()
    Outbox.objects.bulk_create(Outbox(event=Event(row.event), object_id=row.object_id) for row in rows)
    store.notify_outbox()
    return note


def archive(who: str, directory: Path, kept: int, reason: str) -> Iterator[Archived]:
    """Move the checkpoints that are not among the `kept` newest ones on chain into files, one after the other."""
    _check_reason(reason)
    try:
        for eon in checkpoints.old_eons(ContractState.last_submission_eon(), kept):
            with transaction.atomic():
                found = checkpoints.archive(eon, directory)
                _note(who, "archive checkpoint", f"eon {eon}", reason)
            yield found
    except (checkpoints.ArchiveError, OSError) as error:
        raise ActionError(str(error)) from None


@transaction.atomic
def restore_checkpoint(who: str, directory: Path, eon: int, reason: str) -> Archived:
    """Bring an archived checkpoint back from its file."""
    _note(who, "restore checkpoint", f"eon {eon}", reason)
    try:
        return checkpoints.restore(eon, directory)
    except (checkpoints.ArchiveError, OSError) as error:
        raise ActionError(str(error)) from None
