"""Events about orders: what each is rendered from, and which streams are told, in this order
(`spec/http-api.md` §5.5, §5.6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from auditor import render_swaps
from auditor.render import Object
from ledger.models import Event, Token, Transfer
from ledger.transfer_rows import add_order_states, named_transfers
from nocust.addresses import to_checksum
from synchronizer.streams import group_of, name_of


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """How an event about an order is told: from which states that only orders have, as what, by which name on the
    stream of its pair, if there, and whether on those of its wallets."""

    states: tuple[str, ...]
    render: Callable[[Transfer], Object]
    on_pair: str | None
    on_wallets: bool = True

    def read(self, ids: Collection[int]) -> Mapping[int, Transfer]:
        """The orders' rows with these ids that there are, with all that is told of them."""
        rows = {key: row for key, row in named_transfers(ids).items() if row.swap}
        add_order_states(list(rows.values()), self.states)
        return rows


_SIGNED = ("recipient_active_state", "recipient_fulfillment_active_state")
_CANCELLED = ("sender_cancellation_active_state", "recipient_cancellation_active_state")
_FINALIZED = ("recipient_finalization_active_state",)

ORDER_EVENTS: Mapping[str, OrderEvent] = {
    Event.SWAP_CONFIRMATION: OrderEvent(_SIGNED, render_swaps.order_receipt, "INCOMING_SWAP"),
    Event.MATCHED_SWAP: OrderEvent(_SIGNED, render_swaps.order_receipt, "MATCHED_SWAP"),
    Event.SWAP_FREEZING: OrderEvent((), render_swaps.order_freezing, "FROZEN_SWAP", on_wallets=False),
    Event.SWAP_CANCELLATION: OrderEvent(_CANCELLED, render_swaps.order_cancellation, "CANCELLED_SWAP"),
    Event.SWAP_FINALIZATION: OrderEvent(_FINALIZED, render_swaps.order_finalization, None),
}


class Told(NamedTuple):
    """A stream, and the name by which it is told an event."""

    group: str
    stream: str
    event: str


def told_of(event: str, row: Transfer) -> list[Told]:
    """The streams that are told an event about an order."""
    kind = ORDER_EVENTS[event]
    wallets = (row.recipient, row.wallet) if kind.on_wallets else ()
    streams = [Told(group_of(wallet), name_of(wallet), event) for wallet in wallets]
    if kind.on_pair is not None:
        streams.append(Told(*pair_of(row.wallet.token, row.recipient.token), kind.on_pair))
    return streams


def pair_of(sold: Token, bought: Token) -> tuple[str, str]:
    """Group and name of the stream of orders that give one token for another."""
    name = f"tokenpair/{to_checksum(sold.address)[2:]}/{to_checksum(bought.address)[2:]}"
    return f"tokenpair.{sold.address.hex()}.{bought.address.hex()}", name
