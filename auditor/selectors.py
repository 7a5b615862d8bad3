"""What wallets read, set-wise: the number of queries never grows with the number of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db.models import QuerySet

from ledger.archive import is_archived
from ledger.columns import Columns
from ledger.deliveries import Delivery, deliveries
from ledger.models import Deposit, Token, Transfer, Wallet, Withdrawal, WithdrawalRequest
from ledger.order_deliveries import OrderDelivery, order_deliveries
from ledger.prepared import PreparedRead, given
from ledger.proofs import COLUMNS, PROOF, WALLET_COLUMNS, Proof, proofs, read_proof, read_wallet
from ledger.transfer_rows import add_order_states, transfers_of

MAX_NUMBER = 2**62
"""Row ids and eons asked for beyond this are as good as this: PostgreSQL's bigint ends at 2**63 - 1."""


class ArchivedError(Exception):
    """The checkpoint of the eon is in a file, and so are the proofs of who had a wallet then."""

    def __init__(self, eon: int) -> None:
        super().__init__(f"The proofs of eon {eon} are archived: the operator can bring them back.")


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


WalletKey = tuple[bytes, bytes]
"""The addresses of a token and of a wallet's owner."""

_KEYS = given("token", "address")
_NAMED = (
    "JOIN ledger_token t ON t.address = k.token CROSS JOIN LATERAL ("
    "SELECT * FROM ledger_wallet WHERE token_id = t.id AND address = k.address OFFSET 0) w"
)
"""Joins the tokens t and the wallets w that the keys k name."""
_WALLETS = PreparedRead(
    "wallets",
    ["bytea[]", "bytea[]"],
    f"SELECT {WALLET_COLUMNS} FROM {_KEYS} {_NAMED}",  # noqa: S608  (constants)
)


def find_wallet(token: bytes, address: bytes) -> Wallet | None:
    """The wallet of `address` for the token, with the token; or None."""
    return find_wallets([(token, address)]).get((token, address))


def find_wallets(keys: Collection[WalletKey]) -> dict[WalletKey, Wallet]:
    """Those of several wallets that exist, with their tokens."""
    rows = _WALLETS.fetch([token for token, _ in keys], [address for _, address in keys])
    return {(wallet.token.address, wallet.address): wallet for wallet in map(read_wallet, rows)}


def full_transfers() -> QuerySet[Transfer]:
    """Transfers with all that their full form shows."""
    return Transfer.objects.select_related("wallet__token", "recipient__token", "sender_active_state")


def orders(*states: str) -> QuerySet[Transfer]:
    """Orders with their wallets and the named of their states."""
    return Transfer.objects.filter(swap=True).select_related("wallet__token", "recipient__token", *states)


def transfer(row_id: int) -> Transfer | None:
    """The transfer or the row of an order with this id, or None."""
    row = full_transfers().filter(pk=min(row_id, MAX_NUMBER)).first()
    if row is not None:
        add_order_states([row])
    return row


_WALLET_STATES = PreparedRead(
    "wallet_states",
    ["bytea[]", "bytea[]", "bigint", "integer"],
    "SELECT (SELECT last FROM ledger_streamposition),"  # noqa: S608  (constants)
    " (SELECT count(*) FROM ("
    "SELECT FROM ledger_transfer x WHERE x.wallet_id = w.id AND x.eon_number = k.eon LIMIT $4) n)"
    " + (SELECT count(*) FROM ("
    "SELECT FROM ledger_transfer x WHERE x.recipient_id = w.id AND x.eon_number = k.eon LIMIT $4) n),"
    " EXISTS (SELECT FROM ledger_deposit x WHERE x.wallet_id = w.id AND x.eon_number = k.eon),"
    " EXISTS (SELECT FROM ledger_withdrawalrequest x WHERE x.wallet_id = w.id AND x.eon_number = k.eon),"
    " EXISTS (SELECT FROM ledger_withdrawal x WHERE x.wallet_id = w.id AND x.eon_number = k.eon),"
    f" {COLUMNS} FROM (SELECT k.*, $3 AS eon FROM {_KEYS}) k {_NAMED} {PROOF}",
)


def wallet_state(
    token: bytes, address: bytes, eon: int, first_transfer: int = 0
) -> tuple[int, WalletHistory] | None:
    """The history of the wallet of `address` for the token in an eon, and the position in the websocket's streams
    up to which everything told is in it; None if there is no such wallet. Raises ArchivedError."""
    return wallet_states([(token, address)], eon, first_transfer).get((token, address))


def wallet_states(
    keys: Collection[WalletKey], eon: int, first_transfer: int = 0, most: int | None = None
) -> dict[WalletKey, tuple[int, WalletHistory]]:
    """What `wallet_state` gives, for those of several wallets that exist and, if `most` is given, sent and received
    no more than so many transfers. Wallets poll this: one query tells of wallets that nothing happened to, and the
    others are asked for what did happen. Raises ArchivedError."""
    eon = min(eon, MAX_NUMBER)
    limit = 1 if most is None else most + 1
    rows = _WALLET_STATES.fetch([token for token, _ in keys], [address for _, address in keys], eon, limit)
    found: dict[WalletKey, tuple[int, WalletHistory]] = {}
    happened: tuple[Histories, ...] = ({}, {}, {}, {})
    with _archived_meanwhile(eon):
        for row in rows:
            if most is not None and row[1] > most:
                continue
            wallet, proof = read_proof(row, 5)
            history = WalletHistory(wallet, eon, proof)
            found[wallet.token.address, wallet.address] = row[0] or 0, history
            for some, histories in zip(row[1:5], happened, strict=True):
                if some:
                    histories[wallet.pk] = history
    _require_proofs((history for _, history in found.values()), eon)
    transfers, deposits, requests, withdrawals = happened
    _add_transfers(transfers, eon, first_transfer)
    _add_deposits(deposits, eon)
    _add_requests(requests, eon)
    _add_withdrawals(withdrawals, eon)
    return found


def delivered(rows: Sequence[Transfer]) -> dict[int, Delivery | OrderDelivery]:
    """By row id, the deliveries of transfers and orders that checkpoints prove."""
    return {**deliveries(rows), **order_deliveries(rows)}


def wallet_history(wallet: Wallet, eon: int, first_transfer: int = 0) -> WalletHistory:
    """A wallet's history in an eon; only transfers with at least the row id `first_transfer` are listed."""
    return wallet_histories([wallet], eon, first_transfer)[wallet.pk]


def wallet_histories(wallets: Sequence[Wallet], eon: int, first_transfer: int = 0) -> Histories:
    """The histories in an eon by wallet id; the wallets have their tokens read along. Raises ArchivedError."""
    eon = min(eon, MAX_NUMBER)
    histories = {wallet.pk: WalletHistory(wallet, eon) for wallet in wallets}
    if not histories:
        return {}
    ids = list(histories)
    with _archived_meanwhile(eon):
        for (wallet, _), proof in proofs((wallet, eon) for wallet in ids).items():
            histories[wallet].proof = proof
    _require_proofs(histories.values(), eon)
    _add_transfers(histories, eon, first_transfer)
    _add_deposits(histories, eon)
    _add_requests(histories, eon)
    _add_withdrawals(histories, eon)
    return histories


@contextmanager
def _archived_meanwhile(eon: int) -> Iterator[None]:
    """Raises ArchivedError if the eon's tree is not found since it was archived after its wallets were read."""
    try:
        yield
    except LookupError:
        if is_archived(eon):
            raise ArchivedError(eon) from None
        raise


def _require_proofs(histories: Iterable[WalletHistory], eon: int) -> None:
    """Raises ArchivedError if one lacks a proof that there was."""
    lacking = any(one.proof is None and one.wallet.registration_eon_number < eon for one in histories)
    if lacking and is_archived(eon):
        raise ArchivedError(eon)


Histories = dict[int, WalletHistory]
"""By wallet id."""

_DEPOSIT, _REQUEST = Columns(Deposit, "x"), Columns(WithdrawalRequest, "x")
_WITHDRAWAL, _PAID = Columns(Withdrawal, "x"), Columns(WithdrawalRequest, "r")


def _effects(name: str, columns: str, table: str, more: str = "") -> PreparedRead:
    """A statement for what the chain did to wallets in an eon, in order of the rows."""
    return PreparedRead(
        name,
        ["bigint[]", "bigint"],
        f"SELECT {columns} FROM {given('wallet')}, LATERAL ("  # noqa: S608  (constants)
        f" SELECT * FROM {table} WHERE wallet_id = k.wallet AND eon_number = $2 OFFSET 0) x {more} ORDER BY x.id",
    )


_DEPOSITS = _effects("deposits", _DEPOSIT.text, "ledger_deposit")
_REQUESTS = _effects("withdrawal_requests", _REQUEST.text, "ledger_withdrawalrequest")
_WITHDRAWALS = _effects(
    "withdrawals",
    f"{_WITHDRAWAL.text}, {_PAID.text}",
    "ledger_withdrawal",
    "JOIN ledger_withdrawalrequest r ON r.id = x.request_id",
)


def _add_deposits(histories: Histories, eon: int) -> None:
    for row in _DEPOSITS.fetch(list(histories), eon) if histories else ():
        deposit = _DEPOSIT.get(row)
        histories[deposit.wallet_id or 0].deposits.append(deposit)


def _add_requests(histories: Histories, eon: int) -> None:
    for row in _REQUESTS.fetch(list(histories), eon) if histories else ():
        request = _REQUEST.get(row)
        histories[request.wallet_id or 0].requests.append(request)


def _add_withdrawals(histories: Histories, eon: int) -> None:
    for row in _WITHDRAWALS.fetch(list(histories), eon) if histories else ():
        withdrawal = _WITHDRAWAL.get(row)
        withdrawal.request = _PAID.get(row, _WITHDRAWAL.width)
        histories[withdrawal.wallet_id or 0].withdrawals.append(withdrawal)


def _add_transfers(histories: Histories, eon: int, first: int) -> None:
    """Of an order, the row of an eon that it did not reach is in no set, and so not told."""
    rows = transfers_of([(wallet, eon) for wallet in histories], max(-MAX_NUMBER, min(first, MAX_NUMBER)))
    add_order_states(rows)
    proven = delivered(rows)
    for history in histories.values():
        history.deliveries = proven
    for row in rows:
        for wallet in {row.wallet_id, row.recipient_id} & histories.keys():
            histories[wallet].transfers.append(row)
