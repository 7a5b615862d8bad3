"""The pairs of tokens that are traded here, as the operator sets them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from ledger.models import Token, TokenPair
from ledger.orders_sql import ITS_WALLETS
from ledger.sql import fetch
from nocust.addresses import parse_address
from nocust.errors import NocustError
from swapper.selectors import PAIRS_FOR, open_pairs

SETTLE: Final = 2 * PAIRS_FOR
"""Seconds in which every process has read that a pair is paused, and has written the orders it had taken before."""

OPEN_ORDERS = (
    f"SELECT w.token_id, r.token_id, count(DISTINCT t.tx_id) FROM ledger_transfer t {ITS_WALLETS}"  # noqa: S608
    " WHERE t.swap AND NOT t.processed GROUP BY w.token_id, r.token_id"
)


class PairError(Exception):
    """Why the pair cannot be changed so."""


@dataclass(frozen=True, slots=True)
class Direction:
    """A pair with the number of orders that are not over yet."""

    pair: TokenPair
    orders: int


def find_token(text: str) -> Token:
    """The token with this short name or address. Raises PairError."""
    try:
        matching = Token.objects.filter(address=parse_address(text))
    except NocustError:
        matching = Token.objects.filter(short_name__iexact=text)
    found = list(matching[:2])
    if not found:
        known = ", ".join(str(token.short_name) for token in Token.objects.order_by("trail"))
        raise PairError(f"there is no token {text!r}; known are {known or 'none'}")
    if len(found) > 1:
        raise PairError(f"several tokens are called {text!r}: say which by its address")
    return found[0]


def directions() -> list[Direction]:
    """All pairs, both directions of a market together."""
    orders = {(given, wanted): count for given, wanted, count in fetch(OPEN_ORDERS)}
    pairs = TokenPair.objects.select_related("token_from", "token_to")
    rows = [Direction(pair, orders.get((pair.token_from_id, pair.token_to_id), 0)) for pair in pairs]
    return sorted(rows, key=lambda row: (sorted((row.pair.token_from_id, row.pair.token_to_id)), row.pair.pk))


def add(first: Token, second: Token) -> int:
    """Accept orders between two tokens in both directions. How many of the two pairs are new. Raises PairError."""
    _check_two(first, second)
    with transaction.atomic():
        wanted = [TokenPair.between(first, second), TokenPair.between(second, first)]
        before = TokenPair.objects.count()
        TokenPair.objects.bulk_create(wanted, ignore_conflicts=True)
        added = TokenPair.objects.count() - before
    open_pairs.clear()
    return added


def set_paused(first: Token, second: Token, paused: bool) -> int:
    """Accept and match no orders between two tokens, or accept and match them again. How many pairs changed.
    Raises PairError."""
    changed = _both(first, second).exclude(paused=paused).update(paused=paused)
    open_pairs.clear()
    return changed


def remove(first: Token, second: Token, note: Callable[[], None]) -> None:
    """Accept no orders between two tokens any more; `note` writes that down in the same transaction. Raises
    PairError, with the pairs as they were, while some are not over."""
    pairs = _both(first, second)
    _refuse_if_traded(first, second)
    running = list(pairs.filter(paused=False).values_list("pk", flat=True))
    set_paused(first, second, True)
    time.sleep(SETTLE)  # a process may still know the pair as open
    try:
        with transaction.atomic():
            _refuse_if_traded(first, second)
            pairs.delete()
            note()
    except PairError:
        TokenPair.objects.filter(pk__in=running).update(paused=False)
        raise
    finally:
        open_pairs.clear()


def _refuse_if_traded(first: Token, second: Token) -> None:
    tokens = {first.pk, second.pk}
    count = sum(orders for given, wanted, orders in fetch(OPEN_ORDERS) if {given, wanted} == tokens)
    if count:
        raise PairError(
            f"{count} orders between {first} and {second} are not over: pause the pair until they are"
        )


def _both(first: Token, second: Token) -> QuerySet[TokenPair]:
    """The pair in both directions."""
    _check_two(first, second)
    tokens = [first.pk, second.pk]
    pairs = TokenPair.objects.filter(token_from__in=tokens, token_to__in=tokens)
    if not pairs.exists():
        raise PairError(f"{first} and {second} are not traded here")
    return pairs


def _check_two(first: Token, second: Token) -> None:
    if first.pk == second.pk:
        raise PairError("a pair is of two different tokens")
