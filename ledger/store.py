"""How the engine's results reach PostgreSQL: a list of commands in one transaction.

The wallets concerned are locked in primary-key order, their accounts read, the commands decided in order, and
everything that follows from the accepted ones is written set-wise. A refused command leaves nothing behind and
spoils no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from ledger import engine
from ledger import kept_plans as plans
from ledger.accounts_sql import open_accounts, saving
from ledger.columns import Columns
from ledger.engine import (
    Account,
    Command,
    Event,
    Fill,
    Key,
    Moved,
    OrderPlaced,
    Owner,
    Refusal,
    Rules,
    Transferred,
)
from ledger.explicit_transaction import outside_transactions
from ledger.facts import Findings, Situation, lock_and_read
from ledger.kept_plans import Call, Kept, kept_plans, own_transaction
from ledger.lost_commits import CommitUnknownError, Ending, Session, are_ended, is_there, was_written
from ledger.models import ChainStatus, Outbox
from ledger.models import Event as Told
from ledger.orders import StoredOrder, Writer
from ledger.orders_sql import KEEP_MARKERS
from ledger.sql import Row, array, fetch, join
from ledger.transfers_sql import ADD_TRANSFERS
from ledger.tx_ids import new_tx_id
from nocust.batch import Batch
from operator_api.error_codes import NO_DATABASE, ErrorCode
from operator_api.keys import OperatorKey, operator_key


@dataclass(frozen=True, slots=True)
class StoredTransfer:
    """An accepted transfer as it was written: its row id, order id, time (UTC) and the countersigned state."""

    id: int
    tx_id: UUID
    time: datetime
    operator_signature: bytes
    event: Transferred


ORDERS_CHANNEL = "orders"
"""PostgreSQL's channel on which new orders wake the matching when they are committed."""

STATUS_COLUMNS = Columns(ChainStatus, "c")
STATUS = f"SELECT {STATUS_COLUMNS.text} FROM ledger_chainstatus c"  # noqa: S608  (the model's columns)

Outcome = StoredTransfer | StoredOrder | Moved | Refusal


class HubNotReadyError(RuntimeError):
    """The chain has not been read yet, so there is no eon."""


@cache
def rules() -> Rules:
    """The rules of this hub, from its settings."""
    return Rules(
        contract=settings.HUB_LQD_CONTRACT_ADDRESS,
        sla_threshold=settings.SLA_THRESHOLD,
        exempt=frozenset({settings.HUB_OWNER_ACCOUNT_ADDRESS, settings.SLA_RECIPIENT_ADDRESS}),
    )


def operator() -> OperatorKey:
    """The operator's key, which countersigns every accepted state. Raises ImproperlyConfigured."""
    return operator_key()


def chain_status() -> ChainStatus:
    """Where the chain stands. Raises HubNotReadyError before the first block was read.

    Every write asks for it, so the statement is written out: to have it composed each time costs more than to run
    it.
    """
    return _status(fetch(STATUS))


def _status(rows: Sequence[Row]) -> ChainStatus:
    if not rows:
        raise HubNotReadyError
    return STATUS_COLUMNS.get(rows[0])


def stopped(status: ChainStatus) -> ErrorCode | None:
    """Why nothing new is accepted from wallets now, or None. What the chain did is applied whatever this says."""
    if status.halted:
        return ErrorCode.CHAIN_HALTED
    if status.forked:
        return ErrorCode.CHAIN_FORKED
    if status.blocks_behind > settings.HUB_CHAIN_BEHIND_BLOCKS:
        return ErrorCode.CHAIN_BEHIND
    longest = settings.HUB_CHAIN_STALL_SECONDS
    if longest and timezone.now() - status.progressed > timedelta(seconds=longest):
        return ErrorCode.CHAIN_BEHIND
    return ErrorCode.HUB_MAINTENANCE if status.maintenance else None


def execute(commands: Sequence[Command], again: bool = True) -> list[Outcome]:
    """Decide and write the commands in a transaction of their own; one outcome each, in order. If the connection is
    lost at its COMMIT the rows tell whether that was done. If it was not they are decided `again`, once, on another
    connection. Raises CommitUnknownError if the rows cannot tell."""
    if not commands:
        return []
    outcomes: list[Outcome] = []
    session: Session | None = None
    try:
        with own_transaction() as run_last:
            session = Session()
            outcomes, last = _run(commands)
            run_last(*last)
    except NO_DATABASE as error:
        if session is None or not session.lost:
            raise
        if not outcomes or not _written(outcomes, error):
            if not again or not outside_transactions():
                raise
            return execute(commands, again=False)
    return outcomes


def _written(outcomes: Sequence[Outcome], error: Exception) -> bool:
    """Whether a batch was committed though `error` came of it: what it writes is all there or nothing is, and no
    other attempt has the id of a new row. Raises CommitUnknownError."""
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    if not accepted:
        return True
    for outcome in accepted:
        if isinstance(outcome, StoredTransfer):
            return was_written(partial(is_there, outcome.tx_id, outcome.event.sender.wallet))
        if isinstance(outcome, StoredOrder) and isinstance(outcome.event, OrderPlaced):
            return was_written(partial(is_there, outcome.order.tx_id, outcome.order.debit.wallet))
    orders = (outcome.event for outcome in accepted if isinstance(outcome, StoredOrder))
    endings = [event for event in orders if isinstance(event, Ending)]
    if len(endings) < len(accepted):
        raise CommitUnknownError("the connection was lost at the COMMIT of what the chain did") from error
    return was_written(partial(are_ended, endings))


def run(commands: Sequence[Command], arrivals: Mapping[int, int] | None = None) -> list[Outcome]:
    """Decide and write the commands inside the caller's transaction. Orders that they match get their places in
    line from `arrivals`, by row, if they are there. Nothing is decided after a fill that is refused, which is the
    last outcome then: the others count on it, and the caller undoes all of them.

    Raises HubNotReadyError, and ValueError for a fact of the chain that comes after its eon was closed.
    """
    if not commands:
        return []
    with kept_plans(alone=False):
        outcomes, last = _run(commands, arrivals)
        plans.run(*last)
    return outcomes


def _run(
    commands: Sequence[Command], arrivals: Mapping[int, int] | None = None
) -> tuple[list[Outcome], list[Call]]:
    """What becomes of the commands, and the statements that are still to be run for it."""
    owners = {owner.wallet: owner for command in commands for owner in command.owners}
    situation = lock_and_read(commands, owners)
    if situation is None:
        raise HubNotReadyError
    batch = Batch()
    events, changed = _decide(commands, owners, situation, replace(rules(), verify=batch.is_valid))
    if not batch.holds():
        certain = replace(rules(), verify=batch.verifier())
        events, changed = _decide(commands, owners, situation, certain)
    return _write(events, changed, situation, arrivals or {})


def _decide(
    commands: Sequence[Command], owners: Mapping[int, Owner], situation: Situation, rules: Rules
) -> tuple[list[Event | Refusal], dict[Key, Account]]:
    """What the commands cause, in order, and the accounts that they change."""
    reason = stopped(situation.status)
    found = Findings(situation.facts, reason.code if reason else "")
    accounts = dict(situation.accounts)
    open_accounts(accounts, owners, situation.eons)
    events: list[Event | Refusal] = []
    changed: dict[Key, Account] = {}
    for command in commands:
        event = engine.decide(accounts, command, found.facts, rules)
        events.append(event)
        if not isinstance(event, Refusal):
            after = engine.apply(accounts, event)
            accounts.update(after)
            changed.update(after)
            found.note(event)
        elif isinstance(command, Fill):
            break
    return events, changed


def _write(
    events: Sequence[Event | Refusal],
    changed: dict[Key, Account],
    situation: Situation,
    arrivals: Mapping[int, int],
) -> tuple[list[Outcome], list[Call]]:
    now = timezone.now()
    writer = Writer(operator(), now, arrivals)
    stored: dict[int, Outcome] = {}
    transfers = [event for event in events if isinstance(event, Transferred)]
    placed = [event for event in events if isinstance(event, OrderPlaced)]
    firsts = [event.eons[0] for event in placed]
    writer.sign_all(
        [event.message for event in transfers]
        + [state.message for first in firsts for state in (first.debit, first.credit)]
    )
    adding = _add_transfers(transfers, situation, writer, stored)
    for order in writer.place(placed):
        stored[id(order.event)] = order
    for event in events:
        if isinstance(event, Transferred | OrderPlaced):
            writer.enter(event)
        elif not isinstance(event, Moved | Refusal):
            stored[id(event)] = writer.add(event)
    writer.write()
    # In a batch of transfers only, who gets no new state has received and nothing else.
    only_transfers = all(isinstance(event, Transferred | Refusal) for event in events)
    received = changed.keys() - writer.newest_state.keys() if only_transfers else ()
    outcomes: list[Outcome] = []
    for event in events:
        outcome = stored.get(id(event), event)
        assert isinstance(outcome, StoredTransfer | StoredOrder | Moved | Refusal)
        outcomes.append(outcome)
    return outcomes, [
        *adding,
        *_telling(writer.told, now, orders=bool(placed)),
        *saving(changed, writer.newest_state, situation.accounts, received),
    ]


def _add_transfers(
    transfers: Sequence[Transferred], situation: Situation, writer: Writer, stored: dict[int, Outcome]
) -> list[Call]:
    """What adds the transfers and their states."""
    if not transfers:
        return []
    count = len(transfers)
    ids = zip(situation.state_ids[:count], situation.transfer_ids[:count], strict=True)
    rows: list[Row] = []
    for event, (state, key) in zip(transfers, ids, strict=True):
        signature = writer.sign(event.message)
        result = StoredTransfer(key, new_tx_id(writer.now), writer.now, signature, event)
        stored[id(event)] = result
        rows.append(_row(state, result))
        entered = {(event.sender.wallet, event.eon): state}
        writer.prepared[id(event)] = entered, (Told.TRANSFER_CONFIRMATION, key)
    return [ADD_TRANSFERS(*map(array, zip(*rows, strict=True)), writer.now), _keeping(transfers)]


def _row(state: int, transfer: StoredTransfer) -> Row:
    event = transfer.event
    return (
        state,
        transfer.id,
        transfer.tx_id,
        event.sender.wallet,
        event.recipient.wallet,
        event.eon,
        event.amount,
        event.nonce,
        event.position,
        event.spent,
        event.gained,
        event.tx_set_hash,
        event.tx_set_index,
        join(event.tx_set_proof),
        event.signature,
        transfer.operator_signature,
    )


def _keeping(transfers: Sequence[Transferred]) -> Call:
    """Each sender's smallest marker of the eon is kept: only that one can cancel what others can't."""
    smallest: dict[Key, Transferred] = {}
    for event in transfers:
        known = smallest.get((event.sender.wallet, event.eon))
        if known is None or event.marker < known.marker:
            smallest[event.sender.wallet, event.eon] = event
    rows = [(*key, event.marker, event.marker_signature) for key, event in sorted(smallest.items())]
    return KEEP_MARKERS(*map(array, zip(*rows, strict=True)))


def tell(*events: tuple[Told, int]) -> None:
    """Have subscribers told of events, each with the object it is about, when this transaction commits."""
    if events:
        Outbox.objects.bulk_create([Outbox(event=event.value, object_id=row) for event, row in events])
        notify_outbox()


_TELL = Kept(
    "tell",
    ["timestamptz", "text[]", "bigint[]"],
    "WITH told AS (INSERT INTO ledger_outbox (event, object_id, created)"
    " SELECT event, object_id, $1 FROM unnest($2, $3) n (event, object_id)) SELECT pg_notify('outbox', '')",
)
_NOTIFY = Kept("notify", ["text"], "SELECT pg_notify($1, '')")


def _telling(told: Sequence[tuple[Told, int]], now: datetime, orders: bool) -> list[Call]:
    """Like `tell`; the matching is woken, too, if there are new orders."""
    if not told:
        return []
    tell_all = _TELL(now, array([event.value for event, _ in told]), array([row for _, row in told]))
    return [tell_all, _NOTIFY(ORDERS_CHANNEL)] if orders else [tell_all]


def notify_outbox() -> None:
    """Wake the relay when this transaction commits."""
    fetch("SELECT pg_notify('outbox', '')")
