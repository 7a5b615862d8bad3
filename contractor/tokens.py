"""The tokens the hub deals in: registered in the contract first, then here with the trail it gave them."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from admission.services import admit_operator
from contractor.chain import chain
from contractor.errors import WrongChainError
from contractor.models import EthereumTransaction
from contractor.transactions import queue
from ledger.models import Token
from ledger.store import chain_status
from nocust.addresses import to_checksum


def registration_tag(address: bytes) -> str:
    """What the registration of the token at `address` is called in the transaction queue."""
    return f"register-token/{address.hex()}"


def register_token(
    address: bytes, name: str, short_name: str, note: Callable[[], None] = lambda: None
) -> Token | None:
    """The token at `address`, with the operator's wallet in it. None while the contract does not know it yet: its
    registration is queued then, and this is to be called again when it is mined. `note` writes down that the
    registration was queued or the token made, in the same transaction.

    Raises WrongChainError for an address without a contract, or when the contract knows tokens that the hub does
    not; NodeError; HubNotReadyError before the first block was read.
    """
    known = Token.objects.filter(address=address).first()
    if known is not None:
        return known
    contract = chain()
    trail = contract.token_trail(address)
    if trail is None:
        if not contract.node.code(address):
            raise WrongChainError(f"there is no token contract at {to_checksum(address)}")
        with transaction.atomic():
            tag = registration_tag(address)
            if not EthereumTransaction.objects.filter(tag=tag).exists():
                queue("registerERC20", {"token": address.hex()}, tag)
                note()
        return None
    with transaction.atomic():
        return _create(address, trail, name, short_name, note)


def _create(address: bytes, trail: int, name: str, short_name: str, note: Callable[[], None]) -> Token:
    known = Token.objects.count()
    if trail != known and not Token.objects.filter(address=address).exists():
        raise WrongChainError(
            f"the contract has {to_checksum(address)} in place {trail}, the hub knows {known} tokens:"
            " register the others first"
        )
    token, created = Token.objects.get_or_create(
        address=address,
        defaults={
            "trail": trail,
            "name": name,
            "short_name": short_name,
            "block": chain_status().head_block,
        },
    )
    if created:
        admit_operator(token)
        note()
    return token
