"""Orders at the end of an eon: those in force are done with in it, and go on in the next where they can.

It happens in the transaction of the checkpoint that closes the eon, so nothing of it is ever seen half done. Its
cost is linear in the orders of the two eons.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger.accounts_sql import existing_accounts, lock_wallets, open_accounts, saving
from ledger.engine import Key, Order, OrderCarried, OrderVoided, Owner, apply, carry_over
from ledger.kept_plans import run
from ledger.orders import order_of, promise_nothing
from ledger.orders_sql import COLUMNS, JOINS
from ledger.sql import Row, execute, fetch, write
from ledger.store import operator, rules
from ledger.verification import verify_orders
from nocust.swaps import WalletPosition, order_states

logger = logging.getLogger(__name__)

ORDERS_AT_A_TIME: Final = 5_000
"""Orders that are read, decided and written together."""


@dataclass(frozen=True, slots=True)
class _Later:
    """An order in the eon that ended and in the one that begins, with its two states there."""

    before: Order
    row: Order
    debit_state: int
    credit_state: int
    arrival: int | None


def end_orders(eon: int) -> list[int]:
    """Retire the orders in force in `eon`, whose ledger the caller's transaction closes, and carry over to the eon
    after it those that are signed for it. Returns the rows, of that eon, of orders that go on.

    The retired ones keep what was matched, and the states that were in force are the last ones of their wallets. A
    frozen order that was not cancelled ends with its eon, so that it holds its wallets no longer.
    """
    waiting = fetch(
        "SELECT id, wallet_id, recipient_id FROM ledger_transfer"
        " WHERE eon_number = %s AND swap AND NOT processed AND NOT appended ORDER BY id",
        [eon + 1],
    )
    carried: list[int] = []
    # Before any row of an order, as everywhere: who ends an order holds its wallets and then takes its rows.
    lock_wallets(sorted({wallet for row in waiting for wallet in row[1:]}))
    verify_orders(eon + 1)
    for start in range(0, len(waiting), ORDERS_AT_A_TIME):
        carried += _carry(waiting[start : start + ORDERS_AT_A_TIME], eon)
    retired = execute(
        "UPDATE ledger_transfer SET processed = true, cancelled = false"
        " WHERE eon_number = %s AND swap AND NOT processed",
        [eon],
    )
    if retired or waiting:
        logger.info("orders of eon %d: %d retired, %d go on", eon, retired, len(carried))
    return carried


def _carry(waiting: list[Row], eon: int) -> list[int]:
    owners = _owners({wallet for row in waiting for wallet in row[1:]})
    orders = _read([row[0] for row in waiting], eon, owners)
    accounts = existing_accounts(owners, [eon + 1])
    existing = set(accounts)
    open_accounts(accounts, owners, [eon + 1])
    events: list[tuple[_Later, OrderCarried]] = []
    voided: list[Order] = []
    newest_state: dict[Key, int] = {}
    for later in orders:
        event = carry_over(accounts, later.before, later.row, rules())
        if isinstance(event, OrderVoided):
            voided.append(event.order)
            continue
        accounts.update(apply(accounts, event))
        events.append((later, event))
        newest_state[later.row.debit.wallet, eon + 1] = later.debit_state
        newest_state[later.row.credit.wallet, eon + 1] = later.credit_state
    _write_voided(voided)
    _write_carried(events)
    run(*saving({key: accounts[key] for key in newest_state}, newest_state, existing))
    return [event.order.row for _, event in events]


def _owners(wallets: set[int]) -> dict[int, Owner]:
    rows = fetch(
        "SELECT w.id, t.address, w.address, w.trail_identifier FROM ledger_wallet w"
        " JOIN ledger_token t ON t.id = w.token_id WHERE w.id = ANY(%s)",
        [list(wallets)],
    )
    return {key: Owner(key, bytes(token), bytes(address), trail) for key, token, address, trail in rows}


def _read(rows: list[int], eon: int, owners: Mapping[int, Owner]) -> list[_Later]:
    """The orders as the engine knows them, in both eons."""
    later = fetch(
        f"SELECT t.sender_active_state_id, t.recipient_active_state_id, {COLUMNS}"  # noqa: S608
        f" FROM ledger_transfer t {JOINS} WHERE t.id = ANY(%s) AND NOT t.processed ORDER BY t.id",
        [rows],
    )
    orders = [(debit, credit, order_of(tuple(row), owners)) for debit, credit, *row in later]
    ended = fetch(
        f"SELECT t.arrival, {COLUMNS} FROM ledger_transfer t {JOINS}"  # noqa: S608
        " WHERE t.tx_id = ANY(%s::uuid[]) AND t.eon_number + 0 = %s",
        [[str(order.tx_id) for _, _, order in orders], eon],
    )
    before = {}
    for arrival, *row in ended:
        order = order_of(tuple(row), owners)
        before[order.tx_id] = (arrival, order)
    return [
        _Later(before[order.tx_id][1], order, debit, credit, before[order.tx_id][0])
        for debit, credit, order in orders
    ]


def _write_voided(orders: list[Order]) -> None:
    write(
        "UPDATE ledger_transfer t SET voided = true, processed = true, void_reason = n.reason"
        " FROM (VALUES %s) n (tx_id, eon, reason)"
        " WHERE t.tx_id = n.tx_id AND t.eon_number + 0 >= n.eon AND NOT t.processed",
        [(str(order.tx_id), order.eon, order.void_reason) for order in orders],
        "(%s::uuid, %s, %s)",
    )


def _write_carried(events: list[tuple[_Later, OrderCarried]]) -> None:
    write(
        "UPDATE ledger_transfer t SET appended = true, prior_out = n.prior_out, prior_in = n.prior_in,"
        " arrival = n.arrival FROM (VALUES %s) n (id, prior_out, prior_in, arrival) WHERE t.id = n.id",
        [
            (event.order.row, event.order.prior_out, event.order.prior_in, later.arrival)
            for later, event in events
        ],
        "(%s, %s::numeric, %s::numeric, %s::bigint)",
    )
    promise_nothing([event.order.row for _, event in events])
    write(
        "UPDATE ledger_activestate s SET operator_signature = n.signature FROM (VALUES %s) n (id, signature)"
        " WHERE s.id = n.id",
        [signed for later, _ in events for signed in _countersigned(later)],
    )


def _countersigned(later: _Later) -> list[tuple[int, bytes]]:
    """The operator's signatures of the states that come into force."""
    order = later.row.protocol(rules().contract)
    states = order_states(order, WalletPosition(start=order.amount), WalletPosition(start=0), 1)[0]
    sign = operator().sign
    return [
        (later.debit_state, sign(states.debit.message)),
        (later.credit_state, sign(states.credit.message)),
    ]
