"""Names of streams and the frames that travel on them (`spec/http-api.md` §5.2, §5.4)."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ledger.models import Wallet
from nocust.addresses import to_checksum

_HEX = "[0-9a-fA-F]{40}"
_NAME = re.compile(rf"(wallet|tokenpair)/(?:0x)?({_HEX})/(?:0x)?({_HEX})")

Object = dict[str, Any]


def parse(name: str) -> tuple[str, str] | None:
    """The group of a stream and its name as it is confirmed, without 0x; None if there is no such stream."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, first, second = found.groups()
    return f"{kind}.{first.lower()}.{second.lower()}", f"{kind}/{first}/{second}"


def group_of(wallet: Wallet) -> str:
    """The group of a wallet's stream; the wallet has its token read along."""
    return f"wallet.{wallet.token.address.hex()}.{wallet.address.hex()}"


def wallet_of(group: str) -> tuple[bytes, bytes] | None:
    """Token and address of a wallet's group; None for another group."""
    kind, first, second = group.split(".")
    return (bytes.fromhex(first), bytes.fromhex(second)) if kind == "wallet" else None


def name_of(wallet: Wallet) -> str:
    """The stream's name as notifications carry it: clients take the addresses in it letter by letter."""
    return f"wallet/{to_checksum(wallet.token.address)[2:]}/{to_checksum(wallet.address)[2:]}"


def _text(frame: Object) -> str:
    return orjson.dumps(frame).decode()


def notification(stream: str, event: str, model: Object | orjson.Fragment) -> str:
    """The frame that tells an event."""
    return _text({"type": "notification", "data": {"type": stream, "data": {"type": event, "data": model}}})


def response(kind: str, data: Any) -> str:
    """The frame that answers a request."""
    return _text({"type": "response", "data": {"type": kind, "data": data}})


def error(message: str, cause: Any = None) -> str:
    """The frame that refuses a request; `cause` is the request, or its text when that is no request."""
    try:
        return _text({"type": "error", "data": {"message": message, "cause": cause}})
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return _text({"type": "error", "data": {"message": message, "cause": None}})
