"""How orders reach PostgreSQL: their rows read for the engine, and its events about them written set-wise."""

from __future__ import annotations

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
    Transferred,
)
from ledger.kept_plans import run
from ledger.models import Event
from ledger.orders_sql import (
    FULFILLED,
    KEEP_MARKERS,
    LOCK_LATER,
    MATCHED,
    ORDER_COLUMNS,
    ORDERED,
    READ,
    STATE_COLUMNS,
    STATE_IDS,
    VOID_LATER,
    row_numbers,
)
from ledger.sql import Row, array, copy, execute, fetch, join, next_ids
from ledger.tx_ids import new_tx_id
from operator_api.keys import OperatorKey, countersign


def load_orders(orders: Iterable[UUID], eon: int, owners: Mapping[int, Owner]) -> dict[UUID, Order]:
    """The orders as they are in the first of their eons that is not before `eon`; those that are over are missing.
    Their wallets must be locked, and among the `owners`.

    Their later rows, which end with them, are locked: the verification, which locks no wallets, writes to them.
    """
    wanted = array([str(order) for order in orders])
    if wanted == "{}":
        return {}
    found = [order_of(row, owners) for row in run(LOCK_LATER(wanted, eon), READ(wanted, eon))]
    return {order.tx_id: order for order in found}


def order_of(row: Row, owners: Mapping[int, Owner]) -> Order:
    """The order in a row of `COLUMNS`."""
    key, tx_id, debit, credit, eon, amount, swapped, sell, nonce, *rest = row
    prior_out, prior_in, matched_out, matched_in, appended, complete, frozen, voided, processed, *more = rest
    reason, spent, gained, root, last_eon = more
    return Order(
        row=key,
        tx_id=tx_id,
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


@dataclass(slots=True)
class Writer:
    """Collects what the events of one batch about orders change, and writes it in a few statements.

    `newest_state` names the states that came into force for wallets, for the caller to keep in their accounts, and
    `told` what subscribers are told of. Both are kept in the order of the events: transfers and new orders, which
    are written before others, wait in `prepared`, by the id() of their events.
    `arrivals` are places in line, by row, that matched orders get with their amounts.
    """

    operator: OperatorKey
    now: datetime
    arrivals: Mapping[int, int] = field(default_factory=dict)
    signed: dict[bytes, bytes] = field(default_factory=dict)
    newest_state: dict[Key, int] = field(default_factory=dict)
    prepared: dict[int, tuple[Mapping[Key, int], tuple[Event, int]]] = field(default_factory=dict)
    told: list[tuple[Event, int]] = field(default_factory=list)
    states: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    markers: list[Row] = field(default_factory=list)
    matched: dict[int, Order] = field(default_factory=dict)
    completed: list[UUID] = field(default_factory=list)
    fulfilled: dict[int, tuple[Key, bytes]] = field(default_factory=dict)
    fills: list[Row] = field(default_factory=list)

    def sign_all(self, messages: Sequence[bytes]) -> None:
        """Countersign at once what will be asked for one by one."""
        self.signed.update(zip(messages, countersign(self.operator, messages), strict=True))

    def sign(self, message: bytes) -> bytes:
        """The operator's signature of a message."""
        return self.signed.get(message) or self.operator.sign(message)

    def place(self, events: Sequence[OrderPlaced]) -> list[StoredOrder]:
        """Rows, states and markers of new orders, for all their eons; the first one's states are countersigned."""
        count = sum(len(event.eons) for event in events)
        states, rows = map(iter, row_numbers(3 * count, count))
        return [self._place(event, states, rows) for event in events]

    def _place(self, event: OrderPlaced, states: Iterator[int], rows: Iterator[int]) -> StoredOrder:
        order = replace(event.order, row=next(rows), tx_id=new_tx_id(self.now))
        first = event.eons[0]
        signatures = {
            "sender_active_state": self.sign(first.debit.message),
            "recipient_active_state": self.sign(first.credit.message),
        }
        given, got = self._place_eon(order, order.row, first, states, tuple(signatures.values()))
        entered = {(order.debit.wallet, order.eon): given, (order.credit.wallet, order.eon): got}
        self.prepared[id(event)] = entered, (Event.SWAP_CONFIRMATION, order.row)
        for eon in event.eons[1:]:
            self._place_eon(order, next(rows), eon, states, (None, None))
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
            self.markers += [
                (order.debit.wallet, order.eon, 0, eon.debit_marker_signature),
                (order.credit.wallet, order.eon, 0, eon.credit_marker_signature),
            ]
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

    def enter(self, event: Transferred | OrderPlaced) -> None:
        """Have a transfer or new order, whose rows are prepared, come into force."""
        states, told = self.prepared[id(event)]
        self.newest_state.update(states)
        self.told.append(told)

    def add(self, event: OrderEvent) -> StoredOrder:
        """Anything but a new order."""
        if isinstance(event, Filled):
            return self._fill(event)
        if isinstance(event, OrderFrozen):
            execute(
                "UPDATE ledger_transfer SET cancelled = true, swap_freezing_signature = %s"
                " WHERE tx_id = %s AND eon_number + 0 >= %s",
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
        ids = next_ids(STATE_IDS, len(states))
        signatures = {column: self.sign(state.message) for column, state in states.items()}
        for key, (column, state) in zip(ids, states.items(), strict=True):
            self.states.append(self._state(key, state, signatures[column]))
            self.newest_state[state.owner.wallet, state.eon] = key
        self.write_states()
        columns = "".join(f", {column}_id = %s" for column in states)
        execute(
            f"UPDATE ledger_transfer SET processed = true{columns} WHERE id = %s",  # noqa: S608
            [*ids, order.row],
        )
        self._end(order)
        told = Event.SWAP_CANCELLATION if isinstance(event, OrderCancelled) else Event.SWAP_FINALIZATION
        self.told.append((told, order.row))
        return StoredOrder(event, order, self.now, signatures)

    def _end(self, order: Order) -> None:
        if order.last_eon > order.eon:
            self.completed.append(order.tx_id)

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
            self._end(order)
        if side.fulfilled is not None:
            self.fulfilled[order.row] = (
                (order.credit.wallet, order.eon),
                self.sign(side.fulfilled),
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
        if self.markers:
            run(KEEP_MARKERS(*map(array, zip(*sorted(self.markers), strict=True))))
        self._write_fills()
        if self.completed:
            run(VOID_LATER(array([str(order) for order in self.completed])))

    def _write_fills(self) -> None:
        if not self.fills:
            return
        orders = self.matched.values()
        calls = [
            MATCHED(
                array(self.matched),
                array([order.matched_out for order in orders]),
                array([order.matched_in for order in orders]),
                array([order.complete for order in orders]),
                array([self.arrivals.get(row) for row in self.matched]),
            )
        ]
        if self.fulfilled:
            signatures = [signature for _, signature in self.fulfilled.values()]
            calls.append(FULFILLED(array(self.fulfilled), array(signatures)))
        rows = run(*calls)
        if self.fulfilled:
            states: dict[int, int] = dict(rows)
            self.newest_state |= {key: states[row] for row, (key, _) in self.fulfilled.items()}
        copy(
            "ledger_matching",
            "taker_id, maker_id, taker_token_id, maker_token_id, taker_gave, maker_gave, eon_number, time",
            self.fills,
        )
