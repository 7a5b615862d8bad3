"""What the engine is told beside the accounts, and what it learns of a batch as its commands are decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ledger import engine
from ledger.accounts_sql import ACCOUNTS, account_of, and_next
from ledger.engine import (
    Account,
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
from ledger.kept_plans import Kept, run
from ledger.orders import load_orders
from ledger.orders_sql import ORDERED, STATE_IDS, TRANSFER_IDS, ascending, fresh_numbers
from ledger.sql import Row, array

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
    f" UNION ALL SELECT 'transfers', 0, 0, {fresh_numbers(TRANSFER_IDS, '$9')}, {_NOTHING}",
)


class Findings:
    """The facts of a batch, kept up as its commands are decided."""

    def __init__(self, facts: Facts) -> None:
        self._used, self._ordered = set(facts.used_nonces), set(facts.ordered)
        self._orders = dict(facts.orders)
        self.facts = replace(facts, used_nonces=self._used, ordered=self._ordered, orders=self._orders)

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
    """What a batch is decided by, read in one statement: the accounts that there are, the facts, and for as many
    transfers as there may be a row id of an active state and one of a transfer, ascending."""

    accounts: dict[Key, Account]
    facts: Facts
    state_ids: list[int]
    transfer_ids: list[int]


def read_situation(
    commands: Sequence[Command], latest: int, eons: Iterable[int], owners: Mapping[int, Owner], stopped: str
) -> Situation:
    """What `commands` are decided by, in the latest eon and the others that they are about. An order takes its
    nonce in all its eons, so the later ones count, too; a command of an eon before the latest may be known."""
    spending = [command for command in commands if isinstance(command, Transfer | PlaceOrder)]
    wallets = {owner.wallet for command in spending for owner in command.owners}
    nonces = {
        (command.owners[0].wallet, min(command.eon, latest) + offset, command.nonce)
        for command in spending
        for offset in range(len(command.debit_signatures) if isinstance(command, PlaceOrder) else 1)
    }
    orders = {
        order for command in commands if isinstance(command, OrderCommand | Fill) for order in command.orders
    }
    found: dict[str, list[Row]] = defaultdict(list)
    for row in run(
        _SITUATION(
            array(and_next(eons)),
            *(array(column) for column in zip(*nonces, strict=True)) if nonces else ("{}", "{}", "{}"),
            array({command.owners[0].wallet for command in spending}),
            latest,
            array(wallets),
            array(owners),
            sum(isinstance(command, Transfer) for command in commands),
        )
    ):
        found[row[0]].append(row[1:])
    facts = Facts(
        latest,
        {eon for _, eon, *_ in found["closed"]},
        stopped=stopped,
        orders=load_orders(orders, latest, owners),
        used_nonces={(wallet, eon, int(nonce)) for wallet, eon, nonce, *_ in found["used"]},
        reserved={wallet: int(amount) for wallet, _, amount, *_ in found["reserved"]},
        ordered={wallet for row in found["ordered"] for wallet in row[:2]},
    )
    states, transfers = (ascending(found[kind][0][2]) for kind in ("states", "transfers"))
    accounts = {row[:2]: account_of(row, owners) for row in found["account"]}
    return Situation(accounts, facts, states, transfers)
