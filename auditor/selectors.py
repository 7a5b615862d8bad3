"""What wallets read, set-wise: the number of queries never grows with the number of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from django.db.models import Q, QuerySet

from ledger.deliveries import Delivery, deliveries
from ledger.models import ActiveState, Deposit, Token, Transfer, Wallet, Withdrawal, WithdrawalRequest
from ledger.order_deliveries import OrderDelivery, order_deliveries
from ledger.prepared import PreparedRead
from ledger.proofs import COLUMNS, PROOF, WALLET_COLUMNS, Proof, proofs, read_proof, read_wallet

MAX_NUMBER = 2**62
"""Row ids and eons asked for beyond this are as good as this: PostgreSQL's bigint ends at 2**63 - 1."""


@dataclass(slots=True)
class WalletHistory:
    """What happened to a wallet in an eon, and its proof at the checkpoint that the eon began with.

    `deliveries` are by transfer id.
    """

    wallet: Wallet
    eon: int
    proof: Proof | None = None
    transfers: list[Transfer] = field(default_factory=list)
    deliveries: dict[int, Delivery | OrderDelivery] = field(default_factory=dict)
    deposits: list[Deposit] = field(default_factory=list)
    requests: list[WithdrawalRequest] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)


def tokens() -> list[Token]:
    """All tokens in the order of their registration."""
    return list(Token.objects.order_by("trail"))


def find_token(address: bytes) -> Token | None:
    """The token at `address`, or None."""
    return Token.objects.filter(address=address).first()


_WALLET = PreparedRead(
    "wallet",
    ["bytea", "bytea"],
    f"SELECT {WALLET_COLUMNS} FROM ledger_token t JOIN ledger_wallet w ON w.token_id = t.id"  # noqa: S608  (constants)
    " WHERE t.address = $1 AND w.address = $2",
)


def find_wallet(token: bytes, address: bytes) -> Wallet | None:
    """The wallet of `address` for the token, with the token; or None."""
    rows = _WALLET.fetch(token, address)
    return read_wallet(rows[0]) if rows else None


def full_transfers() -> QuerySet[Transfer]:
    """Transfers with all that their full form shows."""
    return Transfer.objects.select_related("wallet__token", "recipient__token", "sender_active_state")


def listed_transfers() -> QuerySet[Transfer]:
    """Transfers with all that a list shows."""
    return Transfer.objects.select_related("wallet__token", "recipient__token")


ORDER_STATES = (
    "recipient_active_state",
    "recipient_fulfillment_active_state",
    "recipient_finalization_active_state",
    "sender_cancellation_active_state",
    "recipient_cancellation_active_state",
)
"""The states that only orders have."""


def orders(*states: str) -> QuerySet[Transfer]:
    """Orders with their wallets and the named of their states."""
    return Transfer.objects.filter(swap=True).select_related("wallet__token", "recipient__token", *states)


def add_order_states(rows: Sequence[Transfer]) -> None:
    """Read the states of the orders among the rows along, all at once: most rows are transfers, which have none."""
    swaps = [row for row in rows if row.swap]
    ids = {getattr(row, f"{name}_id") for row in swaps for name in ORDER_STATES} - {None}
    states = ActiveState.objects.in_bulk(ids) if ids else {}
    for row in swaps:
        for name in ORDER_STATES:
            setattr(row, name, states.get(getattr(row, f"{name}_id")))


def transfer(row_id: int) -> Transfer | None:
    """The transfer or the row of an order with this id, or None."""
    row = full_transfers().filter(pk=min(row_id, MAX_NUMBER)).first()
    if row is not None:
        add_order_states([row])
    return row


_WALLET_STATE = PreparedRead(
    "wallet_state",
    ["bytea", "bytea", "bigint"],
    "SELECT (SELECT last FROM ledger_streamposition),"  # noqa: S608  (constants)
    " EXISTS (SELECT FROM ledger_transfer x WHERE x.wallet_id = w.id AND x.eon_number = $3)"
    " OR EXISTS (SELECT FROM ledger_transfer x WHERE x.recipient_id = w.id AND x.eon_number = $3),"
    " EXISTS (SELECT FROM ledger_deposit x WHERE x.wallet_id = w.id AND x.eon_number = $3),"
    " EXISTS (SELECT FROM ledger_withdrawalrequest x WHERE x.wallet_id = w.id AND x.eon_number = $3),"
    " EXISTS (SELECT FROM ledger_withdrawal x WHERE x.wallet_id = w.id AND x.eon_number = $3),"
    f" {COLUMNS} FROM (SELECT $3 AS eon) k JOIN ledger_token t ON t.address = $1"
    f" JOIN ledger_wallet w ON w.token_id = t.id AND w.address = $2 {PROOF}",
)


def wallet_state(
    token: bytes, address: bytes, eon: int, first_transfer: int = 0
) -> tuple[int, WalletHistory] | None:
    """The history of the wallet of `address` for the token in an eon, and the position in the websocket's streams
    up to which everything told is in it; None if there is no such wallet. Wallets poll this: one query tells of a
    wallet that nothing happened to, and the others are asked for what did happen."""
    eon = min(eon, MAX_NUMBER)
    rows = _WALLET_STATE.fetch(token, address, eon)
    if not rows:
        return None
    told, transfers, deposits, requests, withdrawals = rows[0][:5]
    wallet, proof = read_proof(rows[0], 5)
    history = WalletHistory(wallet, eon, proof)
    histories = {wallet.pk: history}
    if transfers:
        _add_transfers(histories, eon, first_transfer)
    if deposits:
        _add_deposits(histories, eon)
    if requests:
        _add_requests(histories, eon)
    if withdrawals:
        _add_withdrawals(histories, eon)
    return told or 0, history


def delivered(rows: Sequence[Transfer]) -> dict[int, Delivery | OrderDelivery]:
    """By row id, the deliveries of transfers and orders that checkpoints prove."""
    return {**deliveries(rows), **order_deliveries(rows)}


def wallet_history(wallet: Wallet, eon: int, first_transfer: int = 0) -> WalletHistory:
    """A wallet's history in an eon; only transfers with at least the row id `first_transfer` are listed."""
    return wallet_histories([wallet], eon, first_transfer)[wallet.pk]


def wallet_histories(wallets: Sequence[Wallet], eon: int, first_transfer: int = 0) -> Histories:
    """The histories in an eon by wallet id; the wallets have their tokens read along."""
    eon = min(eon, MAX_NUMBER)
    histories = {wallet.pk: WalletHistory(wallet, eon) for wallet in wallets}
    if not histories:
        return {}
    ids = list(histories)
    for (wallet, _), proof in proofs((wallet, eon) for wallet in ids).items():
        histories[wallet].proof = proof
    _add_transfers(histories, eon, first_transfer)
    _add_deposits(histories, eon)
    _add_requests(histories, eon)
    _add_withdrawals(histories, eon)
    return histories


Effect = TypeVar("Effect", Deposit, WithdrawalRequest, Withdrawal)


def _owned(rows: QuerySet[Effect]) -> Iterable[tuple[int, Effect]]:
    """Each row with the id of its wallet, in order."""
    return ((row.wallet_id, row) for row in rows.order_by("id") if row.wallet_id is not None)


Histories = dict[int, WalletHistory]
"""By wallet id."""


def _add_deposits(histories: Histories, eon: int) -> None:
    for wallet, row in _owned(Deposit.objects.filter(wallet__in=list(histories), eon_number=eon)):
        histories[wallet].deposits.append(row)


def _add_requests(histories: Histories, eon: int) -> None:
    for wallet, row in _owned(WithdrawalRequest.objects.filter(wallet__in=list(histories), eon_number=eon)):
        histories[wallet].requests.append(row)


def _add_withdrawals(histories: Histories, eon: int) -> None:
    rows = Withdrawal.objects.filter(wallet__in=list(histories), eon_number=eon).select_related("request")
    for wallet, row in _owned(rows):
        histories[wallet].withdrawals.append(row)


def _add_transfers(histories: Histories, eon: int, first: int) -> None:
    ids = list(histories)
    rows = list(
        full_transfers()
        .filter(
            Q(wallet__in=ids) | Q(recipient__in=ids),
            eon_number=eon,
            appended=True,  # an order's rows of eons that it did not reach are in no set
            pk__gte=max(-MAX_NUMBER, min(first, MAX_NUMBER)),
        )
        .order_by("id")
    )
    add_order_states(rows)
    proven = delivered(rows)
    sides: dict[int, list[Transfer]] = defaultdict(list)
    for row in rows:
        for wallet in {row.wallet_id, row.recipient_id}:
            sides[wallet].append(row)
    for wallet, history in histories.items():
        history.transfers = sides[wallet]
        history.deliveries = proven
