"""The transaction list: filters, search, order and pages (`spec/http-api.md` §3.2.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock
from time import monotonic
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db.models import F, Func, Q, QuerySet, TextField, Value
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request

from auditor.bounded import TooManyRowsError, count, read_page
from auditor.cursors import PARAMETER, CursorPages
from auditor.selectors import MAX_NUMBER
from ledger.models import Token, Transfer, Wallet
from nocust.swaps import MAX_ORDER_EONS

MAX_PAGE = 1000
ROWS_OF_AN_ORDER = MAX_ORDER_EONS
"""Rows that share a `tx_id` at most."""
MAX_OFFSET = 2**31
MAX_TERMS = 8
"""Terms of a search or an ordering that are looked at."""

FLAGS = ("passive", "swap", "complete", "cancelled", "voided")
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
ORDERINGS: Mapping[str, tuple[str, ...]] = {
    **{
        name: (name,)
        for name in (
            "id",
            "tx_id",
            "amount",
            "amount_swapped",
            "wallet",
            "recipient",
            "nonce",
            "eon_number",
            *FLAGS,
        )
    },
    "time": ("time", "id"),
}
ADDRESS = re.compile(r"[0-9a-f]{40}")
HEX = re.compile(r"[0-9a-f]{1,40}")
NUMBER = re.compile(r"[0-9]{1,78}")


class Counts:
    """How many rows queries find. To count them reads them all, so a count is used again for many times as long as
    it took, a minute at most: however often a question is asked, it takes a small share of a process's time. That
    there are too many to count is remembered likewise."""

    SHORT = 0.02
    """Seconds; what is counted faster is counted each time."""
    TIMES = 50
    LONGEST = 60.0
    MOST = 1000
    """Questions that are remembered."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int | None, float]] = {}
        """What was found, None for too many, and until when that is used."""
        self._lock = Lock()

    def of(self, rows: QuerySet[Transfer]) -> int:
        """The number of rows, or what it was a little while ago. Raises TooManyRowsError."""
        found = self._count(rows)
        if found is None:
            raise TooManyRowsError
        return found

    def _count(self, rows: QuerySet[Transfer]) -> int | None:
        try:
            key = str(rows.order_by().query)
        except EmptyResultSet:  # a search that nothing can match is no query
            return 0
        began = monotonic()
        with self._lock:
            found, until = self._known.get(key, (0, 0.0))
            if began < until:
                return found
            if until:
                self._known[key] = (
                    found,
                    began + self.LONGEST,
                )  # the others go by it until this one has counted
        try:
            found = count(rows)
        except TooManyRowsError:
            found = None
        took = monotonic() - began
        with self._lock:
            self._known.pop(key, None)
            if took > self.SHORT:
                if len(self._known) >= self.MOST:
                    self._known.clear()
                self._known[key] = found, began + took + min(self.TIMES * took, self.LONGEST)
        return found


counts = Counts()


class TransactionPages(LimitOffsetPagination):
    """Pages of 10 transactions unless `limit` asks for up to 1000; what is no positive number is ignored."""

    default_limit = 10
    max_limit = MAX_PAGE

    def get_offset(self, request: Request) -> int:
        return min(super().get_offset(request), MAX_OFFSET)

    def read(self, rows: QuerySet[Transfer], request: Request) -> list[Transfer]:
        """The page that is asked for. Raises TooManyRowsError."""
        self.request = request
        self.count = counts.of(rows)
        self.limit = self.get_limit(request) or self.default_limit
        self.offset = self.get_offset(request)
        if not self.count or self.offset > self.count:
            return []
        few = _names_wallets(request.query_params)
        return read_page(rows, self.offset, self.offset + self.limit, few)


def cursor_pages(request: Request) -> CursorPages:
    """The page that the `cursor` parameter asks for; an empty one asks for the first. Raises ValidationError."""
    query = request.query_params
    limit = TransactionPages().get_limit(request) or TransactionPages.default_limit
    order = _order(query.get("ordering", ""))
    return CursorPages(transactions(query), order, limit, query.get(PARAMETER, ""), _names_wallets(query))


def transactions(query: Mapping[str, str]) -> QuerySet[Transfer]:
    """The transactions that match the query parameters, in their order; unknown parameters are ignored.

    Raises ValidationError by field for a `tx_id`, `eon_number` or `nonce` that is malformed.
    """
    rows = Transfer.objects.all()
    if query.get("tx_id"):
        rows = rows.filter(tx_id=_uuid(query["tx_id"]))
    for name in ("eon_number", "nonce"):
        if query.get(name):
            rows = rows.filter(**{name: _number(name, query[name])})
    for name in FLAGS:
        wanted = BOOLEANS.get(query.get(name, "").lower())
        if wanted is not None:
            rows = rows.filter(**{name: wanted})
    for term in _terms(query):
        rows = rows.filter(_matches(term))
    return rows.order_by(*_order(query.get("ordering", "")))


def _terms(query: Mapping[str, str]) -> list[str]:
    """What is searched for, in small letters."""
    terms = re.split(r"[\s,]+", query.get("search", ""))[:MAX_TERMS]
    return [term.lower().removeprefix("0x") for term in terms if term]


def _names_wallets(query: Mapping[str, str]) -> bool:
    """Whether transactions of an address are searched for. Mostly it has few among all there are."""
    return any(ADDRESS.fullmatch(term) for term in _terms(query))


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValidationError({"tx_id": [ErrorDetail("Enter a valid UUID.", code="invalid")]}) from None


def _number(name: str, text: str) -> int:
    if not NUMBER.fullmatch(text.strip()):
        raise ValidationError({name: [ErrorDetail("Enter a number.", code="invalid")]})
    number = int(text)
    return min(number, MAX_NUMBER) if name == "eon_number" else number


def _order(text: str) -> list[str]:
    """Column names with their direction; ends with the id, so that pages never overlap."""
    columns: list[str] = []
    for item in text.split(",")[:MAX_TERMS]:
        name = item.strip()
        sign = "-" if name.startswith("-") else ""
        columns += [sign + column for column in ORDERINGS.get(name.removeprefix("-"), ())]
    return columns if {"id", "-id"} & set(columns) else [*columns, "id"]


def _matches(digits: str) -> Q:
    """Sender or recipient has the digits in the hexadecimal text of its address or of its token's."""
    if ADDRESS.fullmatch(digits):
        address = bytes.fromhex(digits)
        token = Token.objects.filter(address=address).values_list("pk", flat=True).first()
        wallets = list(Wallet.objects.filter(address=address).values_list("pk", flat=True))
        found = Q(wallet__in=wallets) | Q(recipient__in=wallets)
        return found if token is None else found | Q(wallet__token=token) | Q(recipient__token=token)
    if not HEX.fullmatch(digits):
        return Q(pk__in=[])
    matching = Wallet.objects.annotate(digits=_hex("address"), token_digits=_hex("token__address")).filter(
        Q(digits__contains=digits) | Q(token_digits__contains=digits)
    )
    ids = matching.values("pk")
    return Q(wallet__in=ids) | Q(recipient__in=ids)


def _hex(column: str) -> Func:
    return Func(F(column), Value("hex"), function="encode", output_field=TextField())
