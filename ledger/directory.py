"""Who is who: the tokens and wallets by address. Both never change once they exist, so they are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Set
from threading import Lock

from ledger.engine import Owner
from ledger.models import Token, Wallet
from ledger.sql import array, fetch
from nocust.batch import known_keys
from nocust.signatures import key_address

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
        owner = _meet({address}).get((token, address))
    return owner


def meet(wallets: Iterable[tuple[bytes, bytes]]) -> None:
    """Look wallets up, by their tokens' and their own addresses, before `find_owner` is asked for each."""
    unknown = {address for token, address in wallets if (token, address) not in _owners}
    if unknown:
        _meet(unknown)


def _meet(addresses: Set[bytes]) -> dict[tuple[bytes, bytes], Owner]:
    """All wallets of the addresses: who trades needs two."""
    rows = fetch(
        "SELECT t.address, w.address, w.id, w.trail_identifier, w.public_key FROM ledger_wallet w"
        " JOIN ledger_token t ON t.id = w.token_id WHERE w.address = ANY(%s::bytea[])",
        [array(addresses)],
    )
    found = {
        (bytes(token), bytes(address)): Owner(wallet, bytes(token), bytes(address), trail)
        for token, address, wallet, trail, _ in rows
    }
    for _, address, _, _, key in rows:
        if key is not None and key_address(key := bytes(key)) == bytes(address):
            known_keys.add(bytes(address), key)
    with _lock:
        if len(_owners) >= REMEMBERED:
            _owners.clear()
        _owners.update(found)
    return found


def owner_of(wallet: Wallet) -> Owner:
    """The engine's view of a wallet row (its token is read along)."""
    return Owner(wallet.pk, wallet.token.address, wallet.address, wallet.trail_identifier)
