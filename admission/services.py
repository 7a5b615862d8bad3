"""Registering wallets: countersigned and given their trails at once, in the order of submission."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from ledger import store
from ledger.directory import owner_of
from ledger.engine import Deposit as DepositCommand
from ledger.models import Deposit, Event, Outbox, Token, Wallet
from ledger.sql import fetch
from nocust.messages import admission_hash
from nocust.signatures import is_valid
from operator_api.error_codes import ErrorCode
from operator_api.locks import ReadWriteLock
from tos.models import TOSConfig
from tos.services import remember


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


def authorization_message(token: Token, address: bytes, eon: int) -> bytes:
    """What the owner signs to register in an eon (`spec/crypto.md` §3)."""
    return admission_hash(settings.HUB_LQD_CONTRACT_ADDRESS, token.address, address, 0, eon)


def is_authorized(admission: Admission, eon: int) -> bool:
    """Whether the owner signed the registration for the eon."""
    message = authorization_message(admission.token, admission.address, eon)
    return is_valid(message, admission.authorization, admission.address)


def admit(admissions: Sequence[Admission], eon: int, config: TOSConfig) -> list[Wallet]:
    """Admit wallets that signed for `eon` and for the terms `config`, in order: all of them or none.

    Deposits that were waiting for them are credited. Raises StoppedError, EonChangedError and
    AlreadyAdmittedError.
    """
    try:
        with transaction.atomic():
            ReadWriteLock([eon]).read()
            trails = _lock_trails(admissions)
            check_open()
            # Asked while the tokens are held, so that no wallet of a later eon has a smaller trail.
            if store.chain_status().eon != eon:
                raise EonChangedError
            wallets = _register(admissions, eon, trails)
            for admission in admissions:
                remember(admission.address, config, admission.tos_signature)
            _credit_waiting_deposits(wallets)
            store.notify_outbox()
    except IntegrityError as error:
        if "wallet_token_address" in str(error):
            raise AlreadyAdmittedError from None
        raise
    return wallets


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
    Wallet.objects.bulk_create(wallets)
    for token_id, count in sorted(trails.items()):
        Token.objects.filter(pk=token_id).update(wallet_count=count)
    Outbox.objects.bulk_create(
        Outbox(event=Event.REGISTERED_WALLET, object_id=wallet.pk) for wallet in wallets
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
