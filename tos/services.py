"""Publishing and signing the terms of service."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import timedelta
from hashlib import sha256
from threading import Lock
from time import monotonic
from urllib.request import urlopen

from django.conf import settings
from django.utils import timezone

from ledger.sql import array, fetch
from nocust.encoding import hex_to_bytes
from nocust.errors import NocustError
from nocust.messages import terms_of_service_digest
from tos.models import TOSConfig, TOSSignature

logger = logging.getLogger(__name__)

LATEST = "SELECT id FROM tos_tosconfig ORDER BY time DESC, id DESC LIMIT 1"
"""The row id of the edition published last."""

REMEMBERED = 200_000
"""Addresses of which a process remembers an edition they signed; an edition signed stays signed."""

REMEMBERED_SECONDS = 5.0
"""How long a process goes by the latest edition it saw last where a window of days decides."""

_signed: dict[bytes, int] = {}
_latest: tuple[float, TOSConfig | None] = (-REMEMBERED_SECONDS, None)
_lock = Lock()


LARGEST_DOCUMENT = 10_000_000
"""Bytes of a document that an edition names."""


class InvalidTermsError(ValueError):
    """What was to be published are not two digests of 32 bytes."""


def publish(privacy_policy_digest: str, terms_of_service_digest: str) -> TOSConfig:
    """Make the two digests (64 hexadecimal digits) the latest edition, unless they are already. Raises
    InvalidTermsError for anything else."""
    try:
        for digest in (privacy_policy_digest, terms_of_service_digest):
            hex_to_bytes(digest, 32)
    except NocustError as error:
        raise InvalidTermsError(f"a digest has 64 hexadecimal digits: {error}") from None
    privacy, terms = privacy_policy_digest.removeprefix("0x"), terms_of_service_digest.removeprefix("0x")
    config, created = TOSConfig.objects.get_or_create(
        privacy_policy_digest=privacy, terms_of_service_digest=terms
    )
    newest = latest()
    if not created and newest != config:
        config.time = timezone.now()
        config.save(update_fields=["time"])
    if created or newest != config:
        _forget_latest()
        logger.info("terms of service %s published", config)
    return config


def update_from_url() -> int:
    """Publish the digests that TOS_URL names (JSON keys privacyHash, tosHash); the number of new editions. If it
    also names where the documents are (privacyUrl, tosUrl), their SHA-256 must be those digests, so that nobody
    is asked to sign what he cannot read. Nothing happens without a URL. Raises InvalidTermsError or OSError when
    it gives none."""
    if not settings.TOS_URL:
        return 0
    try:
        found = json.loads(_fetch(settings.TOS_URL, 65_536))
    except ValueError as error:
        raise InvalidTermsError(f"{settings.TOS_URL} is not a JSON document: {error}") from None
    if not isinstance(found, dict):
        raise InvalidTermsError(f"{settings.TOS_URL} is not a JSON object")
    digests = [str(found.get(name, "")) for name in ("privacyHash", "tosHash")]
    for name, digest in zip(("privacyUrl", "tosUrl"), digests, strict=True):
        if found.get(name) is not None:
            _check_document(str(found[name]), digest)
    before = TOSConfig.objects.count()
    publish(*digests)
    return TOSConfig.objects.count() - before


def _check_document(url: str, digest: str) -> None:
    actual = sha256(_fetch(url, LARGEST_DOCUMENT)).hexdigest()
    if actual != digest.removeprefix("0x").lower():
        raise InvalidTermsError(f"the SHA-256 of {url} is {actual}, not {digest}")


def _fetch(url: str, limit: int) -> bytes:
    """At most `limit` bytes from an https URL. Raises InvalidTermsError, OSError."""
    if not url.startswith("https://"):
        raise InvalidTermsError(f"{url} must begin with https://")
    with urlopen(url, timeout=10) as response:  # noqa: S310  (https only, checked above)
        content: bytes = response.read(limit + 1)
    if len(content) > limit:
        raise InvalidTermsError(f"{url} has more than {limit} bytes")
    return content


def latest() -> TOSConfig | None:
    """The edition published last."""
    return TOSConfig.objects.order_by("-time", "-id").first()


def _recent() -> TOSConfig | None:
    """The newest edition, or the one that was it seconds ago: every transfer asks."""
    global _latest  # noqa: PLW0603  (one pair, replaced whole)
    seen, config = _latest
    now = monotonic()
    if now - seen >= REMEMBERED_SECONDS:
        config = latest()
        _latest = (now, config)
    return config


def digest(config: TOSConfig) -> bytes:
    """The 32 bytes that an address signs for an edition."""
    return terms_of_service_digest(
        hex_to_bytes(config.terms_of_service_digest, 32), hex_to_bytes(config.privacy_policy_digest, 32)
    )


def remember(address: bytes, config: TOSConfig, signature: bytes) -> None:
    """Keep an address's valid signature of an edition, once."""
    TOSSignature.objects.get_or_create(
        address=address, tos_config=config, defaults={"tos_signature": signature}
    )


def has_signed(address: bytes, config: TOSConfig) -> bool:
    """Whether the address has signed this edition."""
    return TOSSignature.objects.filter(address=address, tos_config=config).exists()


def may_transact(address: bytes) -> bool:
    """Whether the address has signed the latest terms, or earlier ones and the latest are younger than the
    window to re-sign in. The operator may always, everybody may while nothing is published."""
    if address == settings.HUB_OWNER_ACCOUNT_ADDRESS:
        return True
    config = _recent()
    if config is None or _signed.get(address) == config.pk:
        return True
    if has_signed(address, config):
        _remember_signed([address], config)
        return True
    window = timedelta(days=settings.TOS_UPDATE_WINDOW_DAYS)
    in_time = timezone.now() - config.time < window
    return in_time and TOSSignature.objects.filter(address=address).exists()


def meet(addresses: Iterable[bytes]) -> None:
    """Look up at once who of the addresses has signed the latest terms, before `may_transact` is asked for each."""
    config = _recent()
    if config is None:
        return
    unknown = [address for address in addresses if _signed.get(address) != config.pk]
    if unknown:
        rows = fetch(
            "SELECT address FROM tos_tossignature WHERE tos_config_id = %s AND address = ANY(%s::bytea[])",
            [config.pk, array(unknown)],
        )
        _remember_signed([bytes(address) for (address,) in rows], config)


def _remember_signed(addresses: Iterable[bytes], config: TOSConfig) -> None:
    with _lock:
        if len(_signed) >= REMEMBERED:
            _signed.clear()
        _signed.update(dict.fromkeys(addresses, config.pk))


def clear() -> None:
    """Forget who signed what and what is the latest, for tests that undo their database."""
    _forget_latest()
    with _lock:
        _signed.clear()


def _forget_latest() -> None:
    global _latest  # noqa: PLW0603  (one pair, replaced whole)
    _latest = (-REMEMBERED_SECONDS, None)
