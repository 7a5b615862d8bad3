"""How orders reach PostgreSQL: their rows read for the engine, and its events about them written set-wise."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from ledger.directory import token_id
from ledger.engine import (
    Filled,
    Key,
    Order,
    OrderCancelled,
    OrderEon,
    OrderEvent,
    OrderFinalized,
    OrderFrozen,
    OrderPlaced,
    Owner,
    Side,
    SignedState,
)
from ledger.models import Event
from ledger.sql import Row, copy, execute, fetch, join, next_ids, write_arrays
from operator_api.keys import OperatorKey

PRIOR = (
    "CASE WHEN t.appended THEN t.prior_{0} ELSE (SELECT COALESCE(sum(p.matched_{0}), 0) FROM ledger_transfer p"
    " WHERE p.tx_id = t.tx_id AND p.eon_number < t.eon_number) END"
)
"""What was matched before the row's eon; the row itself knows once it is in force."""

COLUMNS = ", ".join(
    (
        "t.id, t.tx_id, t.wallet_id, t.recipient_id, t.eon_number",
        "t.amount, t.amount_swapped, t.sell_order, t.nonce",
        PRIOR.format("out"),
        PRIOR.format("in"),
        "t.matched_out, t.matched_in, t.appended, t.complete, t.cancelled, t.voided, t.processed, t.void_reason",
        "f.updated_spendings, f.updated_gains, f.tx_set_hash",
        "(SELECT max(l.eon_number) FROM ledger_transfer l WHERE l.tx_id = t.tx_id)",
    )
)
JOINS = "JOIN ledger_activestate f ON f.id = t.recipient_fulfillment_active_state_id"


def load_orders(orders: Iterable[UUID], eon: int, owners: Mapping[int, Owner]) -> dict[UUID, Order]:
    """The orders as they are in the first of their eons that is not before `eon`; those that are over are missing.
    Their wallets must be locked, and among the `owners`.

    Their later rows, which end with them, are locked: the verification, which locks no wallets, writes to them.
    """
    wanted = [str(order) for order in orders]
    if not wanted:
        return {}
    fetch(
        "SELECT id FROM ledger_transfer WHERE tx_id = ANY(%s::uuid[]) AND eon_number > %s AND NOT processed"
        " ORDER BY id FOR NO KEY UPDATE",
        [wanted, eon],
    )
    rows = fetch(
        f"SELECT DISTINCT ON (t.tx_id) {COLUMNS} FROM ledger_transfer t {JOINS}"  # noqa: S608
        " WHERE t.tx_id = ANY(%s::uuid[]) AND t.swap AND t.eon_number >= %s ORDER BY t.tx_id, t.eon_number",
        [wanted, eon],
    )
    found = [order_of(row, owners) for row in rows]
    return {order.tx_id: order for order in found}


def order_of(row: Row, owners: Mapping[int, Owner]) -> Order:
    """The order in a row of `COLUMNS`."""
    key, tx_id, debit, credit, eon, amount, swapped, sell, nonce, *rest = row
    prior_out, prior_in, matched_out, matched_in, appended, complete, frozen, voided, processed, *more = rest
    reason, spent, gained, root, last_eon = more
    return Order(
        row=key,
        tx_id=UUID(str(tx_id)),
        debit=owners[debit],
        credit=owners[credit],
        eon=eon,
        last_eon=last_eon,
        amount=int(amount),
        amount_swapped=int(swapped),
        sell=sell,
        nonce=int(nonce),
        fulfillment=(int(spent), int(gained), bytes(root)),
        prior_out=int(prior_out),
        prior_in=int(prior_in),
        matched_out=int(matched_out),
        matched_in=int(matched_in),
        appended=appended,
        complete=complete,
        frozen=frozen,
        voided=voided,
        processed=processed,
        void_reason=reason or "",
    )


ORDERED = (
    "SELECT wallet_id, recipient_id FROM ledger_transfer WHERE eon_number = {eon} AND swap AND NOT processed"
    " AND wallet_id = ANY({wallets}) UNION ALL"
    " SELECT wallet_id, recipient_id FROM ledger_transfer WHERE eon_number = {eon} AND swap AND NOT processed"
    " AND recipient_id = ANY({wallets})"
)


def ordered_wallets(wallets: Sequence[int], eon: int) -> set[int]:
    """Those of the wallets that an order holds in the eon."""
    rows = fetch(ORDERED.format(eon="%s", wallets="%s"), [eon, list(wallets), eon, list(wallets)])
    return {wallet for row in rows for wallet in row}


def promise_nothing(rows: Sequence[int]) -> None:
    """Let the markers of orders count that come into force with these rows: verified ones, since one that the
    contract would refuse must not stand in for those of other transactions."""
    if rows:
        execute(
            "INSERT INTO ledger_minimumavailablebalance AS old (wallet_id, eon_number, amount, signature)"
            " SELECT wallet_id, eon_number, 0, debit_marker_signature FROM ledger_transfer WHERE id = ANY(%s)"
            " UNION ALL"
            " SELECT recipient_id, eon_number, 0, credit_marker_signature FROM ledger_transfer WHERE id = ANY(%s)"
            " ORDER BY 1 ON CONFLICT (wallet_id, eon_number) DO UPDATE SET amount = EXCLUDED.amount,"
            " signature = EXCLUDED.signature WHERE EXCLUDED.amount < old.amount",
            [list(rows), list(rows)],
        )


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """What became of an order, as it was written: its row of the eon and the countersigned states' signatures, by
    the name of their column."""

    event: OrderEvent
    order: Order
    time: datetime
    operator_signatures: Mapping[str, bytes] = field(default_factory=dict)


STATE_COLUMNS = (
    "id, wallet_id, eon_number, updated_spendings, updated_gains, tx_set_hash, tx_set_index, tx_set_proof,"
    " wallet_signature, operator_signature, time"
)
ORDER_COLUMNS = (
    "id, tx_id, wallet_id, recipient_id, eon_number, amount, amount_swapped, nonce, sell_order,"
    " sender_active_state_id, recipient_active_state_id, recipient_fulfillment_active_state_id, time,"
    " sender_starting_balance, recipient_starting_balance, appended, verified, debit_marker_signature,"
    " credit_marker_signature, passive, swap, processed, complete, cancelled, voided, prior_out, prior_in,"
    " matched_out, matched_in"
)


@dataclass(slots=True)
class Writer:
    """Collects what the events of one batch about orders change, and writes it in a few statements.

    `newest_state` names the states that came into force for wallets, for the caller to keep in their accounts.
    """

    operator: OperatorKey
    now: datetime
    newest_state: dict[Key, int] = field(default_factory=dict)
    told: list[tuple[Event, int]] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    in_force: list[int] = field(default_factory=list)
    matched: dict[int, Order] = field(default_factory=dict)
    completed: list[UUID] = field(default_factory=list)
    fulfilled: dict[int, tuple[Key, bytes]] = field(default_factory=dict)
    fills: list[Row] = field(default_factory=list)

    def place(self, events: Sequence[OrderPlaced]) -> list[StoredOrder]:
        """Rows, states and markers of new orders, for all their eons; the first one's states are countersigned."""
        count = sum(len(event.eons) for event in events)
        states = iter(next_ids("ledger_activestate_id_seq", 3 * count))
        rows = iter(next_ids("ledger_transfer_id_seq", count))
        return [self._place(event, states, rows) for event in events]

    def _place(self, event: OrderPlaced, states: Iterator[int], rows: Iterator[int]) -> StoredOrder:
        order = replace(event.order, row=next(rows), tx_id=uuid.uuid4())
        first = event.eons[0]
        signatures = {
            "sender_active_state": self.operator.sign(first.debit.message),
            "recipient_active_state": self.operator.sign(first.credit.message),
        }
        given, got = self._place_eon(order, order.row, first, states, tuple(signatures.values()))
        self.newest_state[order.debit.wallet, order.eon] = given
        self.newest_state[order.credit.wallet, order.eon] = got
        for eon in event.eons[1:]:
            self._place_eon(order, next(rows), eon, states, (None, None))
        self.told.append((Event.SWAP_CONFIRMATION, order.row))
        return StoredOrder(event, order, self.now, signatures)

    def _place_eon(
        self,
        order: Order,
        row: int,
        eon: OrderEon,
        states: Iterator[int],
        signatures: tuple[bytes | None, ...],
    ) -> tuple[int, int]:
        """One eon of a new order; the row ids of its debit and credit state."""
        debit, credit, fulfillment = next(states), next(states), next(states)
        self.states.append(self._state(debit, eon.debit, signatures[0]))
        self.states.append(self._state(credit, eon.credit, signatures[1]))
        self.states.append(self._state(fulfillment, eon.fulfillment, None))
        first = eon.debit.eon == order.eon
        self.rows.append(
            (
                row,
                order.tx_id,
                order.debit.wallet,
                order.credit.wallet,
                eon.debit.eon,
                order.amount,
                order.amount_swapped,
                order.nonce,
                order.sell,
                debit,
                credit,
                fulfillment,
                self.now,
                eon.debit_start,
                eon.credit_start,
                first,
                True if first else None,
                eon.debit_marker_signature,
                eon.credit_marker_signature,
                *(False, True, False, False, False, False, 0, 0, 0, 0),
            )
        )
        if first:
            self.in_force.append(row)
        return debit, credit

    def _state(self, key: int, state: SignedState, operator_signature: bytes | None) -> Row:
        return (
            key,
            state.owner.wallet,
            state.eon,
            state.spent,
            state.gained,
            state.tx_set_hash,
            state.tx_set_index,
            join(state.tx_set_proof),
            state.signature,
            operator_signature,
            self.now,
        )

    def add(self, event: OrderEvent) -> StoredOrder:
        """Anything but a new order."""
        if isinstance(event, Filled):
            return self._fill(event)
        if isinstance(event, OrderFrozen):
            execute(
                "UPDATE ledger_transfer SET cancelled = true, swap_freezing_signature = %s"
                " WHERE tx_id = %s AND eon_number >= %s",
                [event.signature, str(event.order.tx_id), event.order.eon],
            )
            self.told.append((Event.SWAP_FREEZING, event.order.row))
            return StoredOrder(event, event.order, self.now)
        if isinstance(event, OrderCancelled):
            return self._close(
                event,
                {
                    "sender_cancellation_active_state": event.debit,
                    "recipient_cancellation_active_state": event.credit,
                },
            )
        assert isinstance(event, OrderFinalized)
        return self._close(event, {"recipient_finalization_active_state": event.credit})

    def _close(
        self, event: OrderCancelled | OrderFinalized, states: Mapping[str, SignedState]
    ) -> StoredOrder:
        """An order's last states, countersigned; its later rows are void."""
        order = event.order
        ids = next_ids("ledger_activestate_id_seq", len(states))
        signatures = {column: self.operator.sign(state.message) for column, state in states.items()}
        for key, (column, state) in zip(ids, states.items(), strict=True):
            self.states.append(self._state(key, state, signatures[column]))
            self.newest_state[state.owner.wallet, state.eon] = key
        self.write_states()
        columns = "".join(f", {column}_id = %s" for column in states)
        execute(
            f"UPDATE ledger_transfer SET processed = true{columns} WHERE id = %s",  # noqa: S608
            [*ids, order.row],
        )
        self.completed.append(order.tx_id)
        told = Event.SWAP_CANCELLATION if isinstance(event, OrderCancelled) else Event.SWAP_FINALIZATION
        self.told.append((told, order.row))
        return StoredOrder(event, order, self.now, signatures)

    def _fill(self, event: Filled) -> StoredOrder:
        taker, maker = event.taker.order, event.maker.order
        self.fills.append(
            (
                taker.row,
                maker.row,
                token_id(taker.debit.token),
                token_id(maker.debit.token),
                event.taker_gave,
                event.maker_gave,
                taker.eon,
                self.now,
            )
        )
        for side in (event.taker, event.maker):
            self._side(side)
        return StoredOrder(event, taker, self.now)

    def _side(self, side: Side) -> None:
        order = side.order
        self.matched[order.row] = order
        self.told.append((Event.MATCHED_SWAP, order.row))
        if order.complete:
            self.completed.append(order.tx_id)
        if side.fulfilled is not None:
            self.fulfilled[order.row] = (
                (order.credit.wallet, order.eon),
                self.operator.sign(side.fulfilled),
            )

    # ---- writing ----

    def write_states(self) -> None:
        """States have to be there before rows refer to them."""
        copy("ledger_activestate", STATE_COLUMNS, self.states)
        self.states = []

    def write(self) -> None:
        """Everything collected but what belongs to the accounts and the outbox."""
        self.write_states()
        copy("ledger_transfer", ORDER_COLUMNS, self.rows)
        promise_nothing(self.in_force)
        self._write_fills()
        if self.completed:
            execute(
                "UPDATE ledger_transfer l SET voided = true, processed = true FROM ledger_transfer t"
                " WHERE t.tx_id = ANY(%s::uuid[]) AND t.appended AND l.tx_id = t.tx_id AND NOT l.processed"
                " AND NOT l.appended AND l.eon_number > t.eon_number",
                [[str(order) for order in self.completed]],
            )

    def _write_fills(self) -> None:
        if not self.fills:
            return
        write_arrays(
            "UPDATE ledger_transfer t SET matched_out = n.matched_out, matched_in = n.matched_in,"
            " complete = n.complete FROM unnest(ROWS) n (id, matched_out, matched_in, complete) WHERE t.id = n.id",
            "bigint numeric numeric boolean",
            [
                (row, order.matched_out, order.matched_in, order.complete)
                for row, order in self.matched.items()
            ],
        )
        if self.fulfilled:
            states: dict[int, int] = dict(
                write_arrays(
                    "UPDATE ledger_activestate s SET operator_signature = n.signature"
                    " FROM unnest(ROWS) n (id, signature) JOIN ledger_transfer t ON t.id = n.id"
                    " WHERE s.id = t.recipient_fulfillment_active_state_id RETURNING t.id, s.id",
                    "bigint bytea",
                    [(row, signature) for row, (_, signature) in self.fulfilled.items()],
                )
            )
            self.newest_state |= {key: states[row] for row, (key, _) in self.fulfilled.items()}
        copy(
            "ledger_matching",
            "taker_id, maker_id, taker_token_id, maker_token_id, taker_gave, maker_gave, eon_number, time",
            self.fills,
        )
