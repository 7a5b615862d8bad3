"""The pseudo tokens that the contract books challenges about orders under (`spec/crypto.md` §7.5)."""

from __future__ import annotations

from ledger.models import TokenPair
from nocust.addresses import to_checksum


def subject(token: bytes) -> str:
    """What a challenge booked under `token` is about: a token, or the orders of a pair."""
    pair = TokenPair.objects.filter(conduit=token).select_related("token_from", "token_to").first()
    if pair is None:
        return to_checksum(token)
    tokens = (to_checksum(row.address) for row in (pair.token_from, pair.token_to))
    return f"orders of {' for '.join(tokens)}"
