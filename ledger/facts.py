"""What the engine is told beside the accounts, and what it learns of a batch as its commands are decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from ledger import engine
from ledger.accounts_sql import ACCOUNTS, LOCK, account_of, and_next
from ledger.engine import (
    Account,
    ChainEffect,
    Command,
    Event,
    Facts,
    Fill,
    Key,
    Moved,
    OrderCommand,
    OrderPlaced,
    Owner,
    PlaceOrder,
    Transfer,
    Transferred,
)
from ledger.kept_plans import Call, Kept, run
from ledger.models import ChainStatus
from ledger.orders import load_orders
from ledger.orders_sql import ORDERED, STATE_IDS, TRANSFER_IDS, ascending, fresh_numbers
from ledger.sql import Row, array
from operator_api.locks import sharing

_EON = "((head_block - genesis_block) / blocks_per_eon + 1)"
_HEAD = "hub.head_when_shared"
_SHARE = Kept(
    "share_eons",
    ["bigint[]"],
    f"WITH noted AS (SELECT set_config('{_HEAD}', head_block::text, true), {_EON} eon FROM ledger_chainstatus)"  # noqa: S608
    f" SELECT {sharing('eon')} FROM (SELECT eon FROM unnest($1) eon UNION SELECT eon FROM noted ORDER BY 1) eons",
)
"""Shares the ledgers of eons, and of the latest one, by the head that it notes until the transaction ends."""
_SHARE_LATEST = Kept(
    "share_latest",
    [],
    f"SELECT set_config('{_HEAD}', head_block::text, true), {sharing(_EON)} FROM ledger_chainstatus",  # noqa: S608
)
"""The same without others."""

_STATUS = "genesis_block, blocks_per_eon, head_block, halted, forked, maintenance, node_block, progressed"
"""What is asked of the chain's status for each batch."""
_NOTHING = "NULL::bigint, NULL::bytea, NULL::bytea, NULL::bigint"
# Each nonce is looked up in the one index of all three columns, whatever the planner takes the table for: OFFSET
# has the nonces come first, and an equality would do for other indexes, too.
_SITUATION = Kept(
    "situation",
    [*3 * ["bigint[]"], "numeric[]", "bigint[]", "bigint", *2 * ["bigint[]"], "integer"],
    f"SELECT 'account', a.* FROM ({ACCOUNTS.format(eons='$1', wallets='$8')}) a"  # noqa: S608  (nothing from outside)
    f" UNION ALL SELECT 'closed', 0, eon_number - 1, '', {_NOTHING}"
    " FROM ledger_rootcommitment WHERE eon_number = ANY($1)"
    f" UNION ALL SELECT 'used', n.wallet_id, n.eon_number, n.nonce::text, {_NOTHING}"
    " FROM unnest($2, $3, $4) n (wallet_id, eon_number,"
    " nonce) CROSS JOIN LATERAL (SELECT FROM ledger_transfer t"
    " WHERE (t.wallet_id, t.eon_number, t.nonce) >= (n.wallet_id, n.eon_number, n.nonce)"
    " AND (t.wallet_id, t.eon_number, t.nonce) <= (n.wallet_id, n.eon_number, n.nonce) OFFSET 0) t"
    f" UNION ALL SELECT 'reserved', wallet_id, 0, sum(amount)::text, {_NOTHING} FROM ledger_delegatedwithdrawal"
    " WHERE state = 'pending' AND wallet_id = ANY($5) GROUP BY wallet_id"
    f" UNION ALL SELECT 'ordered', o.wallet_id, o.recipient_id, '', {_NOTHING}"
    f" FROM ({ORDERED.format(eon='$6', wallets='$7')}) o"
    f" UNION ALL SELECT 'states', 0, 0, {fresh_numbers(STATE_IDS, '$9')}, {_NOTHING}"
    f" UNION ALL SELECT 'transfers', 0, 0, {fresh_numbers(TRANSFER_IDS, '$9')}, {_NOTHING}"
    f" UNION ALL SELECT 'status', 0, 0, to_json(s)::text, {_NOTHING}"
    f" FROM (SELECT {_STATUS}, current_setting('{_HEAD}') head FROM ledger_chainstatus) s",
)


class _Supposed:
    """The latest eon as this process knew it last."""

    eon = 1


class Findings:
    """The facts of a batch, kept up as its commands are decided."""

    def __init__(self, facts: Facts, stopped: str) -> None:
        """`stopped` is why nothing new is accepted from wallets now, or empty."""
        self._used, self._ordered = set(facts.used_nonces), set(facts.ordered)
        self._orders = dict(facts.orders)
        self.facts = replace(
            facts, stopped=stopped, used_nonces=self._used, ordered=self._ordered, orders=self._orders
        )

    def note(self, event: Event) -> None:
        """What `event` means for the commands after it."""
        if isinstance(event, Transferred):
            self._used.add((event.sender.wallet, event.eon, event.nonce))
        if isinstance(event, Transferred | Moved):
            return
        for order in engine.orders_after(event):
            wallets = {order.debit.wallet, order.credit.wallet}
            if isinstance(event, OrderPlaced):
                self._used |= {(order.debit.wallet, eon.debit.eon, order.nonce) for eon in event.eons}
                self._ordered |= wallets
                continue
            self._orders[order.tx_id] = order
            if order.processed:
                self._ordered -= wallets


@dataclass(frozen=True, slots=True)
class Situation:
    """What a batch is decided by, read in one statement: where the chain stands (what `_STATUS` names of it), the
    eons that the commands are about and the latest one, the accounts that there are, the facts, and for as many
    transfers as there may be a row id of an active state and one of a transfer, ascending."""

    status: ChainStatus
    eons: set[int]
    accounts: dict[Key, Account]
    facts: Facts
    state_ids: list[int]
    transfer_ids: list[int]


def lock_and_read(commands: Sequence[Command], owners: Mapping[int, Owner]) -> Situation | None:
    """Share the ledgers of the eons that `commands` are about, hold the wallets, and read what they are decided by,
    in one round trip if the latest eon is the one that this process knows. None before the chain was read.

    A new eon may begin while this waits, and the wallets' accounts in it be opened with what they have then. So
    only the eon read under the locks is the latest one for them; and its ledger must have been shared before it is
    read, or it could be closed in between.
    """
    # What wallets want belongs to the latest eon or is refused; what the chain did may belong to the one before.
    effects = {command.eon for command in commands if isinstance(command, ChainEffect)}
    share = _SHARE(array(effects)) if effects else _SHARE_LATEST()
    before = [share, LOCK(array(sorted(owners)))]
    while True:
        eon = _Supposed.eon
        rows = run(*before, _question(commands, eon, {eon} | effects, owners))
        found: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(row[1:])
        if not found["status"]:
            return None
        status, shared = _status(found["status"][0][2])
        if status.eon == shared == eon:
            return _situation(commands, status, {eon} | effects, found, owners)
        _Supposed.eon = status.eon
        before = [share]


def _status(text: str) -> tuple[ChainStatus, int]:
    """Where the chain stands, and the latest eon when the ledgers were shared."""
    values = orjson.loads(text)
    head = int(values.pop("head"))
    status = ChainStatus(**values | {"progressed": datetime.fromisoformat(values["progressed"])})
    return status, status.eon_of(head)


def _question(
    commands: Sequence[Command], latest: int, eons: Iterable[int], owners: Mapping[int, Owner]
) -> Call:
    """What reads what `commands` are decided by, in the latest eon and the others that they are about. An order
    takes its nonce in all its eons, so the later ones count, too; a command of an eon before the latest may be
    known."""
    spending = [command for command in commands if isinstance(command, Transfer | PlaceOrder)]
    wallets = {owner.wallet for command in spending for owner in command.owners}
    nonces = {
        (command.owners[0].wallet, min(command.eon, latest) + offset, command.nonce)
        for command in spending
        for offset in range(len(command.debit_signatures) if isinstance(command, PlaceOrder) else 1)
    }
    return _SITUATION(
        array(and_next(eons)),
        *(array(column) for column in zip(*nonces, strict=True)) if nonces else ("{}", "{}", "{}"),
        array({command.owners[0].wallet for command in spending}),
        latest,
        array(wallets),
        array(owners),
        sum(isinstance(command, Transfer) for command in commands),
    )


def _situation(
    commands: Sequence[Command],
    status: ChainStatus,
    eons: set[int],
    found: Mapping[str, list[Row]],
    owners: Mapping[int, Owner],
) -> Situation:
    """What was found."""
    orders = {
        order for command in commands if isinstance(command, OrderCommand | Fill) for order in command.orders
    }
    facts = Facts(
        status.eon,
        {eon for _, eon, *_ in found["closed"]},
        orders=load_orders(orders, status.eon, owners),
        used_nonces={(wallet, eon, int(nonce)) for wallet, eon, nonce, *_ in found["used"]},
        reserved={wallet: int(amount) for wallet, _, amount, *_ in found["reserved"]},
        ordered={wallet for row in found["ordered"] for wallet in row[:2]},
    )
    states, transfers = (ascending(found[kind][0][2]) for kind in ("states", "transfers"))
    accounts = {row[:2]: account_of(row, owners) for row in found["account"]}
    return Situation(status, eons, accounts, facts, states, transfers)
