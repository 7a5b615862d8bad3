"""Bodies in the form that nearly all clients send, read without serializers.

A function here gives what the serializer's field gives, or raises one of IRREGULAR: then the serializers read the
body and say what is wrong with it, if anything.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Any

from ledger import directory
from ledger.engine import Owner
from nocust.addresses import parse_address
from nocust.encoding import MAX_UINT256
from nocust.errors import NocustError
from nocust.signatures import SIGNATURE_LENGTH
from operator_api import limits
from tos import services as terms

LONGEST_AMOUNT = 78
"""Digits of 2**256 - 1."""
LARGEST_EON = 2**63 - 1


class IrregularError(Exception):
    """The request is one for the general way."""


IRREGULAR = (IrregularError, NocustError, ValueError, LookupError, TypeError, AttributeError)
"""What reading a body raises that has not the form, or not even the shape."""


def require(condition: object) -> None:
    """Raises IrregularError unless the condition holds."""
    if not condition:
        raise IrregularError


def amount(value: Any) -> int:
    """An amount as plain digits, or as a JSON number that the parser did not make a float of."""
    if type(value) is str:
        require(len(value) <= LONGEST_AMOUNT and value.isascii() and value.isdigit())
        value = int(value)
    require(type(value) is int and 0 <= value <= MAX_UINT256)
    found: int = value
    return found


def eon(value: Any) -> int:
    """The number of an eon."""
    require(type(value) is int and 0 <= value <= LARGEST_EON)
    found: int = value
    return found


def signature(value: Any) -> bytes:
    """The 65 bytes of `{"value": signature}`."""
    text = value["value"]
    if type(text) is not str or len(text) != 2 * SIGNATURE_LENGTH:
        raise IrregularError
    return binascii.unhexlify(text)  # takes no blanks


def wallet(value: Any) -> Owner:
    """The admitted wallet of `{"address", "token"}`."""
    owner = directory.find_owner(parse_address(value["token"]), parse_address(value["address"]))
    if owner is None:
        raise IrregularError
    return owner


def meet(bodies: Iterable[Any]) -> None:
    """Look up at once the wallets of several parsed bodies and whether their owners signed the terms, so that to
    read each asks the database nothing."""
    wallets, senders = set(), set()
    for body in bodies:
        try:
            for name in ("wallet", "recipient"):
                address = parse_address(body[name]["address"])
                wallets.add((parse_address(body[name]["token"]), address))
                if name == "wallet":
                    senders.add(address)
        except IRREGULAR:
            continue
    directory.meet(wallets)
    terms.meet(senders)


def require_welcome(owner: Owner) -> None:
    """Raises IrregularError unless the owner has signed the terms and is within its limit."""
    require(terms.may_transact(owner.address) and not limits.is_exhausted(owner.address))
