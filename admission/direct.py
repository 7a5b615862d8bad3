"""Registrations without serializers, for requests with nothing unusual about them (`operator_api/direct.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from django.conf import settings

from admission.services import Admission, Request, is_authorized
from ledger.directory import token_id
from ledger.store import HubNotReadyError, chain_status
from nocust.addresses import parse_address, to_checksum
from nocust.batch import Batch
from operator_api import limits
from operator_api import plain_input as plain
from tos import services as terms
from tos.models import TOSConfig

REMEMBERED_SECONDS = 1.0


class _Latest(NamedTuple):
    """What registrations are signed for, as it was a moment ago: `admit_all` asks again under its locks."""

    until: float
    eon: int = 0
    config: TOSConfig | None = None
    digest: bytes = b""


_latest = _Latest(0.0)


def forget() -> None:
    """Ask for the eon and the terms at the next request."""
    global _latest  # noqa: PLW0603
    _latest = _Latest(0.0)


def read_one(data: Any) -> Request:
    """The registration in a parsed body. Raises what `operator_api.plain_input` does, for everything that would be
    refused, too."""
    return _request([data])


def read(data: Any) -> Request:
    """The same for a body with several. Those with an entry that would be skipped are left to the general way."""
    entries = data["admissions"]
    plain.require(type(data) is dict and type(entries) is list)
    plain.require(1 <= len(entries) <= settings.BULK_ADMISSION_LIMIT)
    return _request(entries)


def _request(entries: Sequence[Any]) -> Request:
    _, eon, config, digest = _look()
    if config is None:
        raise plain.IrregularError
    admissions = [_admission(entry) for entry in entries]
    plain.require(len({(one.token_id, one.address) for one in admissions}) == len(admissions))
    plain.require(not any(limits.is_exhausted(one.address) for one in admissions))
    batch = Batch()
    for one in admissions:
        plain.require(is_authorized(one, eon, batch.is_valid))
        plain.require(batch.is_valid(digest, one.tos_signature, one.address))
    plain.require(batch.holds())
    return Request(admissions, eon, config)


def _admission(entry: Any) -> Admission:
    token = parse_address(entry["token"])
    row = token_id(token)
    if row is None:
        raise plain.IrregularError
    return Admission(
        row,
        token,
        parse_address(entry["address"]),
        plain.signature(entry["authorization"]),
        plain.signature(entry["tos_signature"]),
    )


def _look() -> _Latest:
    global _latest  # noqa: PLW0603  (one tuple, replaced whole)
    known, now = _latest, monotonic()
    if now >= known.until:
        try:
            eon, config = chain_status().eon, terms.latest()
        except HubNotReadyError:
            raise plain.IrregularError from None
        digest = b"" if config is None else terms.digest(config)
        _latest = known = _Latest(now + REMEMBERED_SECONDS, eon, config, digest)
    return known


def answer(admissions: Sequence[Admission]) -> dict[str, Any]:
    """The answer to several that were admitted; they count against the limits of their addresses."""
    for address in {one.address for one in admissions}:
        limits.count(address)
    return {"admissions": [render(one) for one in admissions]}


def answer_one(admissions: Sequence[Admission]) -> dict[str, Any]:
    """The answer to one that was admitted, likewise."""
    rendered: dict[str, Any] = answer(admissions)["admissions"][0]
    return rendered


def render(admission: Admission) -> dict[str, Any]:
    """A registered wallet; the signatures are not shown."""
    return {
        "authorization": None,
        "address": to_checksum(admission.address),
        "token": to_checksum(admission.token),
        "tos_signature": None,
    }
