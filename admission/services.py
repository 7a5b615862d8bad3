"""Registering wallets: countersigned and given their trails at once, in the order of submission."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from ledger import store
from ledger.directory import owner_of
from ledger.engine import Deposit as DepositCommand
from ledger.group_commit import Committer
from ledger.models import Deposit, Event, Outbox, Token, Wallet
from ledger.sql import execute, fetch, next_ids, write
from nocust.messages import admission_hash
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.locks import ReadWriteLock
from tos.models import TOSConfig
from tos.services import remember_all


@dataclass(frozen=True, slots=True)
class Admission:
    """A checked request to register: the owner's signatures of the registration and of the latest terms."""

    token: Token
    address: bytes
    authorization: bytes
    tos_signature: bytes


class AdmissionError(Exception):
    """A registration that can't be admitted; nothing of its request was."""


class StoppedError(AdmissionError):
    """Nobody is admitted now; `code` says why."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value)
        self.code = code


class EonChangedError(AdmissionError):
    """The eon changed since the authorisation was checked, so the signature is for an eon that is over."""


class AlreadyAdmittedError(AdmissionError):
    """Another request registered the wallet first."""


def barred(addresses: Iterable[bytes]) -> set[bytes]:
    """Those of the addresses that must not register."""
    rows = fetch(
        "SELECT address FROM ledger_blacklist WHERE address = ANY(%s::bytea[])", [list(set(addresses))]
    )
    return {bytes(address) for (address,) in rows}


def authorization_message(token: Token, address: bytes, eon: int) -> bytes:
    """What the owner signs to register in an eon (`spec/crypto.md` §3)."""
    return admission_hash(settings.HUB_LQD_CONTRACT_ADDRESS, token.address, address, 0, eon)


def is_authorized(admission: Admission, eon: int) -> bool:
    """Whether the owner signed the registration for the eon."""
    message = authorization_message(admission.token, admission.address, eon)
    return is_valid(message, admission.authorization, admission.address)


@dataclass(frozen=True, slots=True)
class Request:
    """Wallets that signed for `eon` and for the terms `config`, to be admitted in order: all of them or none."""

    admissions: Sequence[Admission]
    eon: int
    config: TOSConfig


Outcome = list[Wallet] | AdmissionError

Place = tuple[int, bytes]
"""(token id, address): there is one wallet at most."""


def admit(admissions: Sequence[Admission], eon: int, config: TOSConfig) -> list[Wallet]:
    """Admit the wallets of a request, together with those of requests that arrive at the same time. It returns when
    that is durable. Deposits that were waiting for them are credited. Raises StoppedError, EonChangedError and
    AlreadyAdmittedError."""
    return committer.submit(Request(admissions, eon, config))


def admit_all(requests: Sequence[Request]) -> list[Outcome]:
    """Admit the wallets of all requests in one transaction, in order; one that is refused spoils no other."""
    with transaction.atomic():
        ReadWriteLock(request.eon for request in requests).read()
        admissions = [admission for request in requests for admission in request.admissions]
        trails = _lock_trails(admissions)
        # Asked while the tokens are held, so that no wallet of a later eon has a smaller trail, and that nobody
        # else registers these meanwhile.
        status = store.chain_status()
        if reason := store.stopped(status):
            return [StoppedError(reason) for _ in requests]
        accepted, refused = _decide(requests, status.eon, admitted_places(one.address for one in admissions))
        wallets = _register([one for request in accepted for one in request.admissions], status.eon, trails)
        remember_all(
            (admission.address, request.config, admission.tos_signature)
            for request in accepted
            for admission in request.admissions
        )
        _credit_waiting_deposits(wallets)
        store.notify_outbox()
    left = iter(wallets)
    return [refused.get(id(request)) or list(islice(left, len(request.admissions))) for request in requests]


def _decide(
    requests: Sequence[Request], eon: int, taken: set[Place]
) -> tuple[list[Request], dict[int, AdmissionError]]:
    """The requests that can be admitted in the eon, and the errors of the others by their identities."""
    accepted: list[Request] = []
    refused: dict[int, AdmissionError] = {}
    for request in requests:
        places = {(admission.token.pk, admission.address) for admission in request.admissions}
        if request.eon != eon:
            refused[id(request)] = EonChangedError()
        elif places & taken or len(places) < len(request.admissions):
            refused[id(request)] = AlreadyAdmittedError()
        else:
            accepted.append(request)
            taken |= places
    return accepted, refused


class RegistrationCommitter(Committer[Request, list[Wallet]]):
    """Writes the registrations of concurrent callers together."""

    def execute(self, commands: Sequence[Request]) -> list[Outcome]:
        return admit_all(commands)


committer = RegistrationCommitter()
"""The one of this process."""


def admitted_places(addresses: Iterable[bytes]) -> set[Place]:
    """The places of all wallets that the addresses have."""
    rows = fetch(
        "SELECT token_id, address FROM ledger_wallet WHERE address = ANY(%s::bytea[])", [list(set(addresses))]
    )
    return {(token, bytes(address)) for token, address in rows}


def check_open() -> None:
    """Raises StoppedError while nothing new is accepted."""
    if reason := store.stopped(store.chain_status()):
        raise StoppedError(reason)


def admit_operator(token: Token) -> Wallet:
    """Admit the operator's own wallet, the first of its token; inside the caller's transaction."""
    eon = store.chain_status().eon
    message = authorization_message(token, settings.HUB_OWNER_ACCOUNT_ADDRESS, eon)
    authorization = store.operator().sign(message)
    admissions = [Admission(token, settings.HUB_OWNER_ACCOUNT_ADDRESS, authorization, b"")]
    (wallet,) = _register(admissions, eon, _lock_trails(admissions))
    _credit_waiting_deposits([wallet])
    store.notify_outbox()
    return wallet


def _lock_trails(admissions: Sequence[Admission]) -> dict[int, int]:
    """The next trail of each token, by its row id. The tokens stay locked, in one order for everybody, until the
    transaction ends: trails have no gaps, and no deposit of an address is applied while the address registers."""
    ids = sorted({admission.token.pk for admission in admissions})
    return dict(
        fetch(
            "SELECT id, wallet_count FROM ledger_token WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [ids],
        )
    )


def _register(admissions: Sequence[Admission], eon: int, trails: dict[int, int]) -> list[Wallet]:
    """Give the wallets the next trails of their tokens, in order; the tokens are locked."""
    wallets = []
    for admission in admissions:
        token = admission.token
        trail = trails[token.pk]
        trails[token.pk] += 1
        contract = settings.HUB_LQD_CONTRACT_ADDRESS
        message = admission_hash(contract, token.address, admission.address, trail, eon)
        wallets.append(
            Wallet(
                token=token,
                address=admission.address,
                trail_identifier=trail,
                registration_eon_number=eon,
                registration_authorization=admission.authorization,
                registration_operator_authorization=store.operator().sign(message),
            )
        )
    if not wallets:
        return wallets
    for wallet, row_id in zip(wallets, next_ids("ledger_wallet_id_seq", len(wallets)), strict=True):
        wallet.pk = row_id
    write(
        "INSERT INTO ledger_wallet (id, token_id, address, trail_identifier, registration_eon_number,"
        " registration_authorization, registration_operator_authorization) VALUES %s",
        [
            (
                wallet.pk,
                wallet.token_id,
                wallet.address,
                wallet.trail_identifier,
                eon,
                wallet.registration_authorization,
                wallet.registration_operator_authorization,
            )
            for wallet in wallets
        ],
    )
    execute(
        "UPDATE ledger_token t SET wallet_count = n.count FROM unnest(%s::bigint[], %s::bigint[]) n(id, count)"
        " WHERE t.id = n.id AND t.wallet_count <> n.count",
        [list(trails), list(trails.values())],
    )
    execute(
        "INSERT INTO ledger_outbox (event, object_id, created) SELECT %s, unnest(%s::bigint[]), now()",
        [Event.REGISTERED_WALLET.value, [wallet.pk for wallet in wallets]],
    )
    return wallets


def _credit_waiting_deposits(wallets: Sequence[Wallet]) -> None:
    """Credit what arrived before its address registered, in the eon of the registration."""
    by_place = {(wallet.token_id, wallet.address): wallet for wallet in wallets}
    waiting = Deposit.objects.filter(
        wallet__isnull=True, address__in={wallet.address for wallet in wallets}
    ).order_by("id")
    commands = []
    for deposit in waiting:
        wallet = by_place.get((deposit.token_id, deposit.address))
        if wallet is None:
            continue
        eon = wallet.registration_eon_number
        deposit.wallet = wallet
        deposit.eon_number = eon
        deposit.time = timezone.now()
        deposit.save(update_fields=["wallet", "eon_number", "time"])
        Outbox.objects.create(event=Event.CONFIRMED_DEPOSIT, object_id=deposit.pk)
        commands.append(DepositCommand(owner_of(wallet), eon, deposit.amount))
    store.run(commands)
