"""The little of Ethereum that a recovery needs: asking a node, and signing one transaction."""

from __future__ import annotations

import itertools
import json
import urllib.request
from typing import Any
from urllib.error import URLError

from nocust.encoding import check_bytes, keccak
from nocust.native import PrivateKey
from nocust.signatures import private_key_address

TIMEOUT = 30  # seconds
_ids = itertools.count(1)


class NodeAnswerError(Exception):
    """The node did not answer, or with an error; the message is what it said."""


class Node:
    """A node by its JSON-RPC URL (http or https). Every method raises NodeAnswerError."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise NodeAnswerError("the node's URL starts with http:// or https://")
        self.url = url

    def ask(self, method: str, *parameters: Any) -> Any:
        """The result of a JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": list(parameters)}
        request = urllib.request.Request(  # noqa: S310  (the scheme is checked)
            self.url, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
                answer = json.load(response)
        except (URLError, OSError, ValueError) as error:
            raise NodeAnswerError(f"{self.url} does not answer {method}: {error}") from error
        if "error" in answer:
            raise NodeAnswerError(_message(answer["error"]))
        return answer.get("result")

    def number(self, method: str, *parameters: Any) -> int:
        """A result that is a number."""
        return int(self.ask(method, *parameters), 16)

    def call(self, to: bytes, data: bytes, sender: bytes | None = None) -> bytes:
        """What a call at the head returns. A call that the contract refuses raises with its reason."""
        call = {"to": _hex(to), "data": _hex(data)}
        if sender is not None:
            call["from"] = _hex(sender)
        return bytes.fromhex(self.ask("eth_call", call, "latest")[2:])


def transaction(
    private_key: bytes, *, chain_id: int, nonce: int, gas_price: int, gas: int, to: bytes, data: bytes
) -> tuple[bytes, bytes]:
    """A signed transaction without value, and its hash. `gas_price` in wei."""
    fields = [_quantity(nonce), _quantity(gas_price), _quantity(gas), check_bytes(to, 20), b"", data]
    digest = keccak(_rlp([*fields, _quantity(chain_id), b"", b""]))
    signature = PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    v = signature[64] + 35 + 2 * chain_id
    numbers = [_quantity(int.from_bytes(signature[at : at + 32], "big")) for at in (0, 32)]
    raw = _rlp([*fields, _quantity(v), *numbers])
    return raw, keccak(raw)


def address_of(private_key: bytes) -> bytes:
    """The account that a key signs for."""
    return private_key_address(private_key)


def _message(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _quantity(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _rlp(item: bytes | list[bytes]) -> bytes:
    if isinstance(item, list):
        return _prefixed(b"".join(map(_rlp, item)), 0xC0)
    if len(item) == 1 and item[0] < 0x80:
        return item
    return _prefixed(item, 0x80)


def _prefixed(content: bytes, base: int) -> bytes:
    if len(content) <= 55:
        return bytes([base + len(content)]) + content
    length = _quantity(len(content))
    return bytes([base + 55 + len(length)]) + length + content
