"""Names of streams and the frames that travel on them (`spec/http-api.md` §5.2, §5.4)."""

from __future__ import annotations

import re
from typing import Any

import orjson

from ledger.models import Wallet
from nocust.addresses import to_checksum

HUB = "hub"
"""Name and group of the public stream: what concerns everybody."""
ALL_WALLETS = "*"
"""The group of what every wallet's stream is told; nobody subscribes to it."""

_HEX = "[0-9a-fA-F]{40}"
_NAME = re.compile(rf"(wallet|tokenpair)/(?:0x)?({_HEX})/(?:0x)?({_HEX})")
_KINDS = {"wallet": b"w", "tokenpair": b"p"}
_NAMES = {key: kind for kind, key in _KINDS.items()}

Object = dict[str, Any]


def parse(name: str) -> tuple[str, str] | None:
    """The group of a stream and its name as it is confirmed, without 0x; None if there is no such stream."""
    if name == HUB:
        return HUB, HUB
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, first, second = found.groups()
    return f"{kind}.{first.lower()}.{second.lower()}", f"{kind}/{first}/{second}"


def key_of(group: str) -> bytes:
    """What the log knows a group by: 41 bytes for a wallet or a pair."""
    kind, *addresses = group.split(".")
    return _KINDS[kind] + bytes.fromhex("".join(addresses)) if addresses else kind.encode()


def group_of_key(key: bytes) -> str:
    """The group that the log knows by this key."""
    if len(key) != 41:
        return key.decode()
    return f"{_NAMES[key[:1]]}.{key[1:21].hex()}.{key[21:].hex()}"


def wallet_group(token: bytes, address: bytes) -> str:
    """The group of the stream of the wallet of an address for a token."""
    return f"wallet.{token.hex()}.{address.hex()}"


def group_of(wallet: Wallet) -> str:
    """The group of a wallet's stream; the wallet has its token read along."""
    return wallet_group(wallet.token.address, wallet.address)


def wallet_of(group: str) -> tuple[bytes, bytes] | None:
    """Token and address of a wallet's group; None for another group."""
    kind, *addresses = group.split(".")
    return (bytes.fromhex(addresses[0]), bytes.fromhex(addresses[1])) if kind == "wallet" else None


def wallet_name(token: bytes, address: bytes) -> str:
    """The stream's name as notifications carry it: clients take the addresses in it letter by letter."""
    return f"wallet/{to_checksum(token)[2:]}/{to_checksum(address)[2:]}"


def name_of(wallet: Wallet) -> str:
    """The name of a wallet's stream; the wallet has its token read along."""
    return wallet_name(wallet.token.address, wallet.address)


def _text(frame: Object) -> str:
    return orjson.dumps(frame).decode()


def notification(
    stream: str, event: str, model: Object | orjson.Fragment, position: int, previous: int | None
) -> str:
    """The frame that tells an event at a position of its stream; `previous` is the position of the frame before."""
    return _text(
        {
            "type": "notification",
            "position": position,
            "previous": previous,
            "data": {"type": stream, "data": {"type": event, "data": model}},
        }
    )


def response(kind: str, data: Any, **envelope: Any) -> str:
    """The frame that answers a request; `envelope` is what stands beside the answer."""
    return _text({"type": "response", **envelope, "data": {"type": kind, "data": data}})


def error(message: str, cause: Any = None, **envelope: Any) -> str:
    """The frame that refuses a request; `cause` is the request, or its text when that is no request."""
    try:
        return _text({"type": "error", **envelope, "data": {"message": message, "cause": cause}})
    except orjson.JSONEncodeError:  # nested deeper than can be written
        return _text({"type": "error", **envelope, "data": {"message": message, "cause": None}})


def heartbeat(position: int, seconds: float) -> str:
    """The frame of a heartbeat at a UNIX time: all up to the position has been sent to this connection."""
    return _text({"type": "heartbeat", "position": position, "data": {"time": int(seconds)}})
