"""What the engine is told beside the accounts, and what it learns of a batch as its commands are decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ledger import engine
from ledger.engine import (
    Command,
    Event,
    Facts,
    Fill,
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
from ledger.orders_sql import ORDERED
from ledger.sql import array

# Each nonce is looked up in the one index of all three columns, whatever the planner takes the table for: OFFSET
# has the nonces come first, and an equality would do for other indexes, too.
_FACTS = Kept(
    "facts",
    ["bigint[]", "bigint[]", "bigint[]", "numeric[]", "bigint[]", "bigint", "bigint[]"],
    "SELECT 'closed', 0::bigint, eon_number - 1, 0::numeric FROM ledger_rootcommitment WHERE eon_number = ANY($1)"  # noqa: S608  (nothing from outside)
    " UNION ALL SELECT 'used', n.wallet_id, n.eon_number, n.nonce FROM unnest($2, $3, $4) n (wallet_id, eon_number,"
    " nonce) CROSS JOIN LATERAL (SELECT FROM ledger_transfer t"
    " WHERE (t.wallet_id, t.eon_number, t.nonce) >= (n.wallet_id, n.eon_number, n.nonce)"
    " AND (t.wallet_id, t.eon_number, t.nonce) <= (n.wallet_id, n.eon_number, n.nonce) OFFSET 0) t"
    " UNION ALL SELECT 'reserved', wallet_id, 0, sum(amount) FROM ledger_delegatedwithdrawal"
    " WHERE state = 'pending' AND wallet_id = ANY($5) GROUP BY wallet_id"
    " UNION ALL SELECT 'ordered', o.wallet_id, o.recipient_id, 0"
    f" FROM ({ORDERED.format(eon='$6', wallets='$7')}) o",
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


def read_facts(
    commands: Sequence[Command], latest: int, eons: Iterable[int], owners: Mapping[int, Owner], stopped: str
) -> Facts:
    """The facts that `commands` are decided by, in the latest eon and the others that they are about. An order
    takes its nonce in all its eons, so the later ones count, too."""
    spending = [command for command in commands if isinstance(command, Transfer | PlaceOrder)]
    wallets = {owner.wallet for command in spending for owner in command.owners}
    nonces = {
        (command.owners[0].wallet, latest + offset, command.nonce)
        for command in spending
        for offset in range(len(command.debit_signatures) if isinstance(command, PlaceOrder) else 1)
    }
    orders = {
        order for command in commands if isinstance(command, OrderCommand | Fill) for order in command.orders
    }
    found = run(
        _FACTS(
            array({number for eon in eons for number in (eon, eon + 1)}),
            *(array(column) for column in zip(*nonces, strict=True)) if nonces else ("{}", "{}", "{}"),
            array({command.owners[0].wallet for command in spending}),
            latest,
            array(wallets),
        )
    )
    return Facts(
        latest,
        {eon for kind, _, eon, _ in found if kind == "closed"},
        stopped=stopped,
        orders=load_orders(orders, latest, owners),
        used_nonces={(wallet, eon, int(nonce)) for kind, wallet, eon, nonce in found if kind == "used"},
        reserved={wallet: int(amount) for kind, wallet, _, amount in found if kind == "reserved"},
        ordered={wallet for kind, *pair, _ in found if kind == "ordered" for wallet in pair},
    )
