"""Transfers and orders with their wallets, tokens and states, set-wise.

Wallets poll what these statements read, so they are prepared: the ORM takes longer to compose them than PostgreSQL
to run them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ledger.columns import Columns
from ledger.engine import Owner
from ledger.fields import split_hashes
from ledger.models import ActiveState, Token, Transfer, Wallet
from ledger.prepared import PreparedRead, given
from ledger.proofs import ProofKey
from ledger.sql import Row, by_id

ORDER_STATES = (
    "recipient_active_state",
    "recipient_fulfillment_active_state",
    "recipient_finalization_active_state",
    "sender_cancellation_active_state",
    "recipient_cancellation_active_state",
)
"""The states that only orders have."""

_TRANSFER = Columns(Transfer, "x")
_STATE = Columns(ActiveState, "s")
_SENDER, _SENDER_TOKEN = Columns(Wallet, "w"), Columns(Token, "t")
_RECIPIENT, _RECIPIENT_TOKEN = Columns(Wallet, "v"), Columns(Token, "u")
_PARTS = (_TRANSFER, _STATE, _SENDER, _SENDER_TOKEN, _RECIPIENT, _RECIPIENT_TOKEN)

# A subquery with OFFSET is planned on its own: each wallet's rows come from the indexes, however few there are yet.
_OF_WALLET = f"""
SELECT x.* FROM {given("wallet", "eon")}, LATERAL (
    SELECT * FROM ledger_transfer
    WHERE {{side}} = k.wallet AND eon_number = k.eon AND appended AND id >= $3 {{more}} OFFSET 0
) x"""  # noqa: S608  (constants)
_JOINS = f"""
{by_id("ledger_activestate", "x.sender_active_state_id", "s")}
{by_id("ledger_wallet", "x.wallet_id", "w")} {by_id("ledger_token", "w.token_id", "t")}
{by_id("ledger_wallet", "x.recipient_id", "v")}"""
_BOUGHT = by_id("ledger_token", "v.token_id", "u")
_COLUMNS = ", ".join(part.text for part in _PARTS)
_TRANSFERS = PreparedRead(
    "transfers",
    ["bigint[]", "bigint[]", "bigint", "boolean"],
    f"""SELECT {_COLUMNS} FROM (
        {_OF_WALLET.format(side="wallet_id", more="")} UNION ALL
        {_OF_WALLET.format(side="recipient_id", more="AND (swap OR $4)")}
    ) x {_JOINS} {_BOUGHT}""",  # noqa: S608  (constants)
)
_NAMED = PreparedRead(
    "transfers_named",
    ["bigint[]"],
    f"SELECT {_COLUMNS} FROM {given('id')} {by_id('ledger_transfer', 'k.id', 'x')} {_JOINS} {_BOUGHT}",  # noqa: S608
)
_CONFIRMED = PreparedRead(
    "transfers_confirmed",
    ["bigint[]"],
    "SELECT x.id, x.tx_id::text, extract(epoch FROM date_trunc('second', x.time))::bigint, x.eon_number,"  # noqa: S608
    " x.amount::text, x.nonce::text, x.position::text, s.updated_spendings::text, s.updated_gains::text,"
    " s.tx_set_hash, s.tx_set_index, s.tx_set_proof, s.wallet_signature, s.operator_signature, t.address,"
    " w.id, w.address, w.trail_identifier, w.registration_eon_number,"
    " v.id, v.address, v.trail_identifier, v.registration_eon_number"
    f" FROM {given('id')} {by_id('ledger_transfer', 'k.id', 'x')} {_JOINS} WHERE NOT x.swap",
)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A transfer as its wallets are told of it: amounts as decimal texts, the time in UNIX seconds, the state that
    both signed, and in which eon each wallet registered."""

    id: int
    tx_id: str
    time: int
    eon: int
    amount: str
    nonce: str
    position: str | None
    spent: str
    gained: str
    tx_set_hash: bytes
    tx_set_index: int
    tx_set_proof: Sequence[bytes]
    signature: bytes
    operator_signature: bytes
    sender: Owner
    sender_registered: int
    recipient: Owner
    recipient_registered: int


_STATES = PreparedRead(
    "active_states",
    ["bigint[]"],
    f"SELECT {_STATE.text} FROM {given('id')} {by_id('ledger_activestate', 'k.id', 's')}",  # noqa: S608  (constants)
)


def transfers_of(keys: Collection[ProofKey], first: int = 0, received: bool = True) -> list[Transfer]:
    """The transfers and orders with at least the row id `first` that are in a set of a wallet in the eon, or, if
    `received`, reached it there; in order of their rows, with their wallets and the sender's state. One statement.
    """
    if not keys:
        return []
    rows = _TRANSFERS.fetch([wallet for wallet, _ in keys], [eon for _, eon in keys], first, received)
    wallets: dict[int, Wallet] = {}
    found = {}
    for row in rows:
        if row[0] not in found:  # both sides of one may have been asked for
            found[row[0]] = _read(row, wallets)
    return [found[key] for key in sorted(found)]


def confirmed(ids: Collection[int]) -> dict[int, Confirmed]:
    """The transfers with these row ids that there are. One statement."""
    return {row[0]: _confirmed(row) for row in _CONFIRMED.fetch(list(ids))} if ids else {}


def _confirmed(row: Row) -> Confirmed:
    key, tx_id, time, eon, amount, nonce, position, spent, gained, root, index, proof = row[:12]
    signature, operator_signature, token, *parties = row[12:]
    (sender, registered), (recipient, recipient_registered) = (
        (Owner(wallet, bytes(token), bytes(address), trail), since)
        for wallet, address, trail, since in (parties[:4], parties[4:])
    )
    return Confirmed(
        id=key,
        tx_id=tx_id,
        time=time,
        eon=eon,
        amount=amount,
        nonce=nonce,
        position=position,
        spent=spent,
        gained=gained,
        tx_set_hash=bytes(root),
        tx_set_index=index,
        tx_set_proof=split_hashes(proof),
        signature=bytes(signature),
        operator_signature=bytes(operator_signature),
        sender=sender,
        sender_registered=registered,
        recipient=recipient,
        recipient_registered=recipient_registered,
    )


def named_transfers(ids: Collection[int]) -> dict[int, Transfer]:
    """The transfers and orders with these row ids that there are, with their wallets and the sender's state. One
    statement."""
    wallets: dict[int, Wallet] = {}
    return {row[0]: _read(row, wallets) for row in _NAMED.fetch(list(ids))} if ids else {}


def add_order_states(rows: Sequence[Transfer], names: Sequence[str] = ORDER_STATES) -> None:
    """Read the named states of the orders among the rows along, all at once: most rows are transfers, which have
    none."""
    swaps = [row for row in rows if row.swap]
    states = _states({getattr(row, f"{name}_id") for row in swaps for name in names} - {None})
    for row in swaps:
        for name in names:
            setattr(row, name, states.get(getattr(row, f"{name}_id")))


def _states(ids: Iterable[int]) -> dict[int, ActiveState]:
    wanted = list(ids)
    rows = _STATES.fetch(wanted) if wanted else []
    return {state.pk: state for state in map(_STATE.get, rows)}


_PLACES = [sum(part.width for part in _PARTS[:index]) for index in range(len(_PARTS))]


def _read(row: Row, wallets: dict[int, Wallet]) -> Transfer:
    """A transfer from a row of _TRANSFERS; `wallets` are those that other rows had, by their ids."""
    transfer = _TRANSFER.get(row)
    transfer.sender_active_state = _STATE.get(row, _PLACES[1])
    for name, part, columns, tokens in (
        ("wallet", 2, _SENDER, _SENDER_TOKEN),
        ("recipient", 4, _RECIPIENT, _RECIPIENT_TOKEN),
    ):
        wallet = wallets.get(row[_PLACES[part]])
        if wallet is None:
            wallet = columns.get(row, _PLACES[part])
            wallet.token = tokens.get(row, _PLACES[part + 1])
            wallets[wallet.pk] = wallet
        setattr(transfer, name, wallet)
    return transfer
