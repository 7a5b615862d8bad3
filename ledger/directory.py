"""Who is who: the tokens and wallets by address. Both never change once they exist, so they are remembered."""

from __future__ import annotations

from threading import Lock

from ledger.engine import Owner
from ledger.models import Token, Wallet

REMEMBERED = 200_000
"""Wallets kept in a process's memory, about 300 bytes each."""

_owners: dict[tuple[bytes, bytes], Owner] = {}
_tokens: dict[bytes, int] = {}
_lock = Lock()


def clear() -> None:
    """Forget everything, for tests that undo their database."""
    with _lock:
        _owners.clear()
        _tokens.clear()


def token_id(address: bytes) -> int | None:
    """The row id of the token at `address`, or None."""
    known = _tokens.get(address)
    if known is None:
        known = Token.objects.filter(address=address).values_list("id", flat=True).first()
        if known is not None:
            _tokens[address] = known
    return known


def find_owner(token: bytes, address: bytes) -> Owner | None:
    """The wallet of `address` for the token at address `token`, or None."""
    owner = _owners.get((token, address))
    if owner is None:
        row = (
            Wallet.objects.filter(token__address=token, address=address)
            .values_list("id", "trail_identifier")
            .first()
        )
        if row is None:
            return None
        owner = Owner(wallet=row[0], token=token, address=address, trail=row[1])
        with _lock:
            if len(_owners) >= REMEMBERED:
                _owners.clear()
            _owners[token, address] = owner
    return owner


def owner_of(wallet: Wallet) -> Owner:
    """The engine's view of a wallet row (its token is read along)."""
    return Owner(wallet.pk, wallet.token.address, wallet.address, wallet.trail_identifier)
