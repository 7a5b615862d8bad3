"""Registering wallets: countersigned and given their trails at once, in the order of submission."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from ledger import store
from ledger.directory import owner_of
from ledger.engine import Deposit as DepositCommand
from ledger.group_commit import Committer
from ledger.lost_commits import Session, was_written
from ledger.models import ChainStatus, Deposit, Event, Outbox, Token, Wallet
from ledger.prepared import Prepared
from ledger.sql import array, execute, fetch
from nocust.batch import Verify, known_keys, verify
from nocust.messages import admission_hash
from operator_api.error_codes import NO_DATABASE, ErrorCode
from operator_api.keys import countersign
from operator_api.locks import ReadWriteLock
from tos.models import TOSConfig
from tos.services import LATEST


class Admission(NamedTuple):
    """A checked request to register an address in a token (its row id and address): the owner's signatures of the
    registration and of the latest terms."""

    token_id: int
    token: bytes
    address: bytes
    authorization: bytes
    tos_signature: bytes


class AdmissionError(Exception):
    """A registration that can't be admitted; nothing of its request was. `code` says why."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.value)
        self.code = code


class StoppedError(AdmissionError):
    """Nobody is admitted now."""


def barred(addresses: Iterable[bytes]) -> set[bytes]:
    """Those of the addresses that must not register."""
    rows = fetch(
        "SELECT address FROM ledger_blacklist WHERE address = ANY(%s::bytea[])", [array(set(addresses))]
    )
    return {bytes(address) for (address,) in rows}


def authorization_message(token: bytes, address: bytes, eon: int) -> bytes:
    """What the owner signs to register in an eon (`spec/crypto.md` §3)."""
    return admission_hash(settings.HUB_LQD_CONTRACT_ADDRESS, token, address, 0, eon)


def is_authorized(admission: Admission, eon: int, verify: Verify = verify) -> bool:
    """Whether the owner signed the registration for the eon."""
    message = authorization_message(admission.token, admission.address, eon)
    return verify(message, admission.authorization, admission.address)


class Request(NamedTuple):
    """Wallets that signed for `eon` and for the terms `config`, to be admitted in order: all of them or none."""

    admissions: Sequence[Admission]
    eon: int
    config: TOSConfig


Outcome = Sequence[Admission] | AdmissionError
"""The wallets of a request that were admitted: all of them."""

Place = tuple[int, bytes]
"""(token id, address): there is one wallet at most."""


def admit(admissions: Sequence[Admission], eon: int, config: TOSConfig) -> Sequence[Admission]:
    """Admit the wallets of a request, together with those of requests that arrive at the same time. It returns when
    that is durable. Deposits that were waiting for them are credited. Raises AdmissionError."""
    return committer.submit(Request(admissions, eon, config))


def admit_all(requests: Sequence[Request], again: bool = True) -> list[Outcome]:
    """Admit the wallets of all requests in one transaction, in order; one that is refused spoils no other. If the
    connection is lost at its COMMIT the wallets tell whether that was done. If it was not they are admitted
    `again`, once, on another connection. Raises CommitUnknownError if the wallets cannot tell."""
    admissions = [admission for request in requests for admission in request.admissions]
    written: Sequence[Admission] = ()
    session: Session | None = None
    try:
        with transaction.atomic():
            session = Session()
            found = _lock(admissions, {request.eon for request in requests})
            if reason := store.stopped(found.status):
                return [StoppedError(reason) for _ in requests]
            outcomes = _decide(requests, found)
            accepted = [one for outcome in outcomes if not isinstance(outcome, Exception) for one in outcome]
            if accepted:
                _register(accepted, found)
            written = accepted
    except NO_DATABASE:
        if session is None or not session.lost:
            raise
        if not written or not was_written(partial(_are_registered, written)):
            if not again or connection.in_atomic_block:
                raise
            return admit_all(requests, again=False)
    return outcomes


def _are_registered(admissions: Sequence[Admission]) -> bool:
    """Whether all have their wallets with the very signatures. Whoever is about to register any is waited for."""
    execute(_LOCK, [array({one.token_id for one in admissions})])
    columns = zip(*[(one.token_id, one.address, one.authorization) for one in admissions], strict=True)
    ((count,),) = fetch(
        "SELECT count(*) FROM unnest(%s::bigint[], %s::bytea[], %s::bytea[]) p (token_id, address, signature)"
        " CROSS JOIN LATERAL (SELECT * FROM ledger_wallet w"
        " WHERE (w.token_id, w.address) = (p.token_id, p.address) OFFSET 0) w"
        " WHERE w.registration_authorization = p.signature",
        [array(column) for column in columns],
    )
    return bool(count == len(admissions))


class _Found(NamedTuple):
    """What was found of wallets to be admitted while the locks are held."""

    status: ChainStatus
    terms: int
    """The latest ones' row; 0: there are none."""
    trails: dict[int, int]
    """The next one of each token, by its row."""
    taken: set[Place]
    barred: set[bytes]
    waiting: bool
    """Whether there are deposits for some of them."""


_LOCK = "SELECT FROM ledger_token WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE;"

# Asked while the tokens are held, so that no wallet of a later eon has a smaller trail, that nobody else registers
# these meanwhile, and that no deposit of an address is applied while the address registers. OFFSET keeps PostgreSQL
# from reading tables whole while they are small, with a plan that it would keep when they have grown; LIMIT has it
# keep one (`ledger.prepared.given` says how).
_FACTS = Prepared(
    "admission_facts",
    ["bigint[]", "bigint[]", "bytea[]"],
    f"""
WITH place AS (
    SELECT * FROM unnest($2, $3) WITH ORDINALITY p (token_id, address, number) LIMIT cardinality($2)
)
SELECT ({LATEST}), ARRAY(SELECT wallet_count FROM ledger_token WHERE id = ANY($1) ORDER BY id),
    ARRAY(SELECT number FROM place p WHERE EXISTS (
        SELECT FROM ledger_wallet w WHERE (w.token_id, w.address) = (p.token_id, p.address) OFFSET 0)),
    ARRAY(SELECT number FROM place p WHERE EXISTS (
        SELECT FROM ledger_blacklist b WHERE b.address = p.address OFFSET 0)),
    EXISTS (SELECT FROM place p WHERE EXISTS (SELECT FROM ledger_deposit d
        WHERE d.wallet_id IS NULL AND (d.token_id, d.address) = (p.token_id, p.address) OFFSET 0)),
    {store.STATUS_COLUMNS.text}
FROM ledger_chainstatus c""",  # noqa: S608  (nothing from outside)
)


def _lock(admissions: Sequence[Admission], eons: Iterable[int]) -> _Found:
    """Share the eons and lock the tokens, in one order for everybody, until the transaction ends: trails have no
    gaps. Raises HubNotReadyError."""
    share, parameters = ReadWriteLock(eons).reading()
    tokens = sorted({one.token_id for one in admissions})
    ids = array(tokens)
    places = array([one.token_id for one in admissions]), array([one.address for one in admissions])
    rows = _FACTS.run(ids, *places, after=(f"{share}; {_LOCK}", [*parameters, ids]))
    if not rows:
        raise store.HubNotReadyError
    terms, counts, taken, barred, waiting = rows[0][:5]
    return _Found(
        store.STATUS_COLUMNS.get(rows[0], 5),
        terms or 0,
        dict(zip(tokens, counts, strict=True)),
        {(admissions[number - 1].token_id, admissions[number - 1].address) for number in taken},
        {admissions[number - 1].address for number in barred},
        waiting,
    )


def _decide(requests: Sequence[Request], found: _Found) -> list[Outcome]:
    """What becomes of each request."""
    outcomes: list[Outcome] = []
    for request in requests:
        places = {(one.token_id, one.address) for one in request.admissions}
        if request.eon != found.status.eon:
            outcomes.append(AdmissionError(ErrorCode.INVALID_ADMISSION_SIGNATURE))
        elif request.config.pk != found.terms:
            outcomes.append(AdmissionError(ErrorCode.INVALID_TOS_SIGNATURE))
        elif found.barred and any(one.address in found.barred for one in request.admissions):
            outcomes.append(AdmissionError(ErrorCode.WALLET_BLACKLISTED))
        elif places & found.taken or len(places) < len(request.admissions):
            outcomes.append(AdmissionError(ErrorCode.WALLET_ALREADY_ADMITTED))
        else:
            outcomes.append(request.admissions)
            found.taken.update(places)
    return outcomes


class RegistrationCommitter(Committer[Request, Sequence[Admission]]):
    """Writes the registrations of concurrent callers together."""

    largest = 64  # requests, of up to 20 wallets each

    def execute(self, commands: Sequence[Request]) -> list[Outcome]:
        return admit_all(commands)


committer = RegistrationCommitter()
"""The one of this process."""


def admitted_places(addresses: Iterable[bytes]) -> set[Place]:
    """The places of all wallets that the addresses have."""
    rows = fetch(
        "SELECT token_id, address FROM ledger_wallet WHERE address = ANY(%s::bytea[])",
        [array(set(addresses))],
    )
    return {(token, bytes(address)) for token, address in rows}


def check_open() -> None:
    """Raises StoppedError while nothing new is accepted."""
    if reason := store.stopped(store.chain_status()):
        raise StoppedError(reason)


def admit_operator(token: Token) -> None:
    """Admit the operator's own wallet, the first of its token; inside the caller's transaction."""
    eon = store.chain_status().eon
    address = settings.HUB_OWNER_ACCOUNT_ADDRESS
    authorization = store.operator().sign(authorization_message(token.address, address, eon))
    admission = Admission(token.pk, token.address, address, authorization, b"")
    _register([admission], _lock([admission], [eon]))


# The signatures of the terms go in in one order, so that two transactions with the same addresses do not wait for
# each other.
_REGISTER = Prepared(
    "admission_register",
    [
        "bigint",
        "bigint",
        "bigint[]",
        "bytea[]",
        "bigint[]",
        *["bytea[]"] * 4,
        *["bigint[]"] * 2,
    ],
    f"""
WITH entry AS (
    SELECT * FROM unnest($3, $4, $5, $6, $7, $8, $9)
        n (token_id, address, trail, signature, countersignature, tos_signature, public_key)
), registered AS (
    INSERT INTO ledger_wallet (token_id, address, trail_identifier, registration_eon_number,
        registration_authorization, registration_operator_authorization, public_key)
    SELECT token_id, address, trail, $1, signature, countersignature, public_key FROM entry RETURNING id
), signed AS (
    INSERT INTO tos_tossignature (tos_config_id, address, tos_signature)
    SELECT $2, address, tos_signature FROM entry WHERE tos_signature <> '' ORDER BY address ON CONFLICT DO NOTHING
), counted AS (
    UPDATE ledger_token t SET wallet_count = n.count FROM unnest($10, $11) n (id, count) WHERE t.id = n.id
), told AS (
    INSERT INTO ledger_outbox (event, object_id, created)
    SELECT '{Event.REGISTERED_WALLET.value}', id, now() FROM registered ORDER BY id
) SELECT pg_notify('outbox', '')""",  # noqa: S608  (nothing from outside)
)


def _register(admissions: Sequence[Admission], found: _Found) -> None:
    """Give the wallets the next trails of their tokens, in order; the tokens are locked. Deposits that were waiting
    for them are credited."""
    contract, eon = settings.HUB_LQD_CONTRACT_ADDRESS, found.status.eon
    trails: list[int] = []
    messages: list[bytes] = []
    for one in admissions:
        trail = found.trails[one.token_id]
        found.trails[one.token_id] += 1
        trails.append(trail)
        messages.append(admission_hash(contract, one.token, one.address, trail, eon))
    countersignatures = countersign(store.operator(), messages)
    tokens, _, addresses, signatures, tos_signatures = zip(*admissions, strict=True)
    keys = map(known_keys.get, addresses)
    columns = (tokens, addresses, trails, signatures, countersignatures, tos_signatures, keys)
    counts = found.trails, found.trails.values()
    _REGISTER.run(eon, found.terms, *map(array, columns), *map(array, counts))
    if found.waiting:
        _credit_waiting_deposits(addresses, eon)


def _credit_waiting_deposits(addresses: Sequence[bytes], eon: int) -> None:
    """Credit what arrived before its address registered, in the eon of the registration."""
    wallets = {
        (wallet.token_id, wallet.address): wallet
        for wallet in Wallet.objects.filter(address__in=addresses).select_related("token")
    }
    commands = []
    for deposit in Deposit.objects.filter(wallet__isnull=True, address__in=addresses).order_by("id"):
        wallet = wallets.get((deposit.token_id, deposit.address))
        if wallet is None:
            continue
        deposit.wallet = wallet
        deposit.eon_number = eon
        deposit.time = timezone.now()
        deposit.save(update_fields=["wallet", "eon_number", "time"])
        Outbox.objects.create(event=Event.CONFIRMED_DEPOSIT, object_id=deposit.pk)
        commands.append(DepositCommand(owner_of(wallet), eon, deposit.amount))
    store.run(commands)
