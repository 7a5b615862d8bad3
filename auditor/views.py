"""The audit endpoints (`spec/http-api.md` §3.2)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from django.utils import timezone
from drf_yasg import openapi
from drf_yasg.utils import swagger_auto_schema
from rest_framework.decorators import api_view
from rest_framework.exceptions import APIException, ErrorDetail, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from auditor import cursors, listing, market, recovery, render, selectors, serializers, serializers_swaps
from auditor.bounded import TOO_MANY_ROWS
from ledger import replica
from ledger.models import Token
from ledger.store import HubNotReadyError, chain_status
from nocust.addresses import parse_address
from operator_api.error_codes import ErrorCode
from operator_api.plain_reads import Found, Names
from operator_api.swagger import detail, refusals, text

TAGS = ["audit"]
NOT_READY = {503: detail(f"`{ErrorCode.HUB_NOT_READY.code}`: {ErrorCode.HUB_NOT_READY.value}")}
POSITION_HEADER = "Stream-Position"
INTEGER = re.compile(r"[+-]?[0-9]{1,78}")
LAST_SECOND = 2**32
"""Times asked for beyond this are as good as this."""


def _path(name: str, meaning: str, kind: str = openapi.TYPE_STRING) -> openapi.Parameter:
    return openapi.Parameter(name, openapi.IN_PATH, meaning, required=True, type=kind)


def _query(name: str, meaning: str, kind: str = openapi.TYPE_STRING) -> openapi.Parameter:
    return openapi.Parameter(name, openapi.IN_QUERY, meaning, type=kind)


TOKEN = _path("token", "the token's address, with or without 0x")
WALLET = _path("wallet", "the owner's address, with or without 0x")


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_status",
    responses={200: serializers.StatusSerializer, **NOT_READY},
)
@api_view(["GET"])
def status(request: Request) -> Response:
    """Operator status: the newest block and eon, seen and confirmed."""
    return Response(render.status(chain_status()))


def find_status() -> Found | None:
    """The answer of `status`; None if the chain has not been read yet."""
    try:
        return render.status(chain_status()), {}
    except HubNotReadyError:
        return None


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_tokens",
    responses={200: serializers.TokenSerializer(many=True)},
)
@api_view(["GET"])
def tokens(request: Request) -> Response:
    """The tokens that can be held here, in the order of their registration."""
    return Response(find_tokens()[0])


def find_tokens() -> Found:
    """The answer of `tokens`."""
    return [render.token(row) for row in selectors.tokens()], {}


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_wallet",
    manual_parameters=[
        _path("eon_number", "any eon, future ones too", openapi.TYPE_INTEGER),
        TOKEN,
        WALLET,
        _query("transfer_id", "list only transactions from this row id on", openapi.TYPE_INTEGER),
    ],
    responses={
        200: serializers.WalletStateSerializer,
        400: refusals([], "invalid"),
        404: detail("There is no such wallet."),
        410: detail("The proofs of the eon are archived: the operator can bring them back."),
    },
)
@api_view(["GET"])
def wallet_state(request: Request, eon_number: str, token: str, wallet: str) -> Response:
    """A wallet in one eon: its proof at the eon's start and all that happened to it since. The header
    `Stream-Position` says up to which position of the websocket's streams everything is in it."""
    first = _integer("transfer_id", request.query_params.get("transfer_id") or "0")
    document, headers = _wallet_state(eon_number, token, wallet, first)
    return Response(document, headers=headers)


class Gone(APIException):
    """What was asked for was here."""

    status_code = 410


def find_wallet_state(eon_number: str, token: str, wallet: str) -> Found | None:
    """The answer of `wallet_state`; None if there is no such wallet, or no proof any more."""
    try:
        return _wallet_state(eon_number, token, wallet, 0)
    except (NotFound, Gone):
        return None


def _wallet_state(eon_number: str, token: str, wallet: str, first_transfer: int) -> Found:
    eon = _eon(eon_number)
    token_address, address = parse_address(token), parse_address(wallet)

    def find() -> Found:
        found = selectors.wallet_state(token_address, address, eon, first_transfer)
        if found is None:
            raise NotFound  # a replica that does not have it yet is not asked alone
        return _state(*found)

    try:
        return replica.read(find, eon)
    except selectors.ArchivedError as error:
        raise Gone(str(error)) from None


MANY_TRANSFERS = 20
"""A state with more of them is not read together with others, which would wait for it."""


def find_wallet_states(asked: Sequence[Names]) -> list[Found | None]:
    """What `find_wallet_state` gives for several requests; None also for those of many transfers, and of eons with
    proofs that are archived."""
    keys = [
        (_eon(names["eon_number"]), (parse_address(names["token"]), parse_address(names["wallet"])))
        for names in asked
    ]
    wallets: dict[int, set[selectors.WalletKey]] = defaultdict(set)
    for eon, wallet in keys:
        wallets[eon].add(wallet)
    read = {}
    for eon, some in wallets.items():
        with suppress(selectors.ArchivedError):
            states = partial(selectors.wallet_states, some, eon, most=MANY_TRANSFERS)
            read[eon] = replica.read(states, eon)
    found = (read.get(eon, {}).get(wallet) for eon, wallet in keys)
    return [None if state is None else _state(*state) for state in found]


def _eon(number: str) -> int:
    return min(int(number[:80]), selectors.MAX_NUMBER)


def _state(told: int, history: selectors.WalletHistory) -> Found:
    return render.wallet_state(history), {POSITION_HEADER: str(told)}


def _integer(name: str, text: str) -> int:
    if not INTEGER.fullmatch(text.strip()):
        raise ValidationError({name: [ErrorDetail("A valid integer is required.", code="invalid")]})
    return int(text)


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_whois",
    manual_parameters=[TOKEN, WALLET],
    responses={200: serializers.AdmissionSerializer, 404: detail("There is no such wallet.")},
)
@api_view(["GET"])
def whois(request: Request, token: str, wallet: str) -> Response:
    """How a wallet registered."""
    found = find_registration(token, wallet)
    if found is None:
        raise NotFound
    return Response(found[0])


def find_registration(token: str, wallet: str) -> Found | None:
    """The answer of `whois`; None if there is no such wallet."""
    return find_registrations([{"token": token, "wallet": wallet}])[0]


def find_registrations(asked: Sequence[Names]) -> list[Found | None]:
    """What `find_registration` gives for several requests."""
    keys = [(parse_address(names["token"]), parse_address(names["wallet"])) for names in asked]
    wallets = selectors.find_wallets(set(keys))
    found = map(wallets.get, keys)
    return [None if wallet is None else (render.admission(wallet), {}) for wallet in found]


LEFT = _path("left_token", "a token's address, with or without 0x")
RIGHT = _path("right_token", "another token's address, with or without 0x")
NO_TOKEN = {404: detail("There is no such token.")}
DIGITS = re.compile(r"[0-9]{1,78}")


def _tokens(*addresses: str) -> list[Token]:
    found = [selectors.find_token(parse_address(address)) for address in addresses]
    tokens = [token for token in found if token is not None]
    if len(tokens) < len(addresses):
        raise NotFound("There is no such token.")
    return tokens


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_orderbook",
    manual_parameters=[
        LEFT,
        RIGHT,
        _query("eon_number", "the latest one if absent, malformed or in the future", openapi.TYPE_INTEGER),
    ],
    responses={200: serializers_swaps.OrderBookSerializer, **NO_TOKEN, **NOT_READY},
)
@api_view(["GET"])
def order_book(request: Request, left_token: str, right_token: str) -> Response:
    """Order book: what is on offer between two tokens, by price. Sell orders give the left token for the right one,
    buy orders the right for the left one. Both begin with the highest price in right per left."""
    left, right = _tokens(left_token, right_token)
    eon = chain_status().eon
    wanted = request.query_params.get("eon_number", "")
    if DIGITS.fullmatch(wanted) and int(wanted) <= eon:
        eon = int(wanted)
    return Response(market.books.get(left, right, eon))


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_matches",
    manual_parameters=[
        LEFT,
        RIGHT,
        _query("start_time", "UNIX seconds, inclusive; now if absent", openapi.TYPE_INTEGER),
        _query("end_time", "UNIX seconds, inclusive; now if absent", openapi.TYPE_INTEGER),
    ],
    responses={
        200: serializers_swaps.MatchSerializer(many=True),
        400: text("A time is not an integer."),
        **NO_TOKEN,
    },
)
@api_view(["GET"])
def matches(request: Request, left_token: str, right_token: str) -> Response:
    """Trades between two tokens in a range of time, in their order; at most the first 10,000."""
    left, right = _tokens(left_token, right_token)
    now = int(timezone.now().timestamp())
    times = []
    for name in ("start_time", "end_time"):
        text = request.query_params.get(name, str(now))
        if not INTEGER.fullmatch(text.strip()):
            return Response(f"{name} is a number of seconds.", status=400)
        times.append(datetime.fromtimestamp(max(0, min(int(text), LAST_SECOND)), tz=UTC))
    start, end = times
    return Response(market.matches(left, right, start, end + timedelta(seconds=1, microseconds=-1)))


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_transactions",
    manual_parameters=[
        _query("tx_id", "the transaction's UUID"),
        _query("eon_number", "the eon", openapi.TYPE_INTEGER),
        _query("nonce", "the nonce"),
        *(_query(flag, "true or false", openapi.TYPE_BOOLEAN) for flag in listing.FLAGS),
        _query(
            "search",
            "terms split by blanks and commas, each to be found in an address or token of either side",
        ),
        _query(
            "ordering",
            f"comma list of {', '.join(listing.ORDERINGS)}; - before a name for descending order; many transactions"
            " are ordered by id, tx_id, wallet and time alone",
        ),
        _query(
            "limit",
            f"rows of a page, at most {listing.MAX_PAGE}; if absent 10, or for a tx_id all",
            openapi.TYPE_INTEGER,
        ),
        _query("offset", "rows to skip", openapi.TYPE_INTEGER),
        _query(
            cursors.PARAMETER,
            "instead of `offset`: empty for the first page, then as in the links; pages of any depth cost the same,"
            " and `count` is null",
        ),
    ],
    responses={200: serializers.TransactionPageSerializer, 400: refusals([], "invalid", TOO_MANY_ROWS)},
)
@api_view(["GET"])
def transactions(request: Request) -> Response:
    """Transactions in short form, by pages."""
    eon = request.query_params.get("eon_number", "")
    if DIGITS.fullmatch(eon):
        return replica.read(lambda: _page(request), int(eon))
    return _page(request)


def _page(request: Request) -> Response:
    if cursors.PARAMETER in request.query_params:
        page = listing.cursor_pages(request)
        return page.respond(request, render.page(page.rows))
    pages = listing.TransactionPages()
    if request.query_params.get("tx_id"):
        pages.default_limit = listing.ROWS_OF_AN_ORDER
    rows = pages.read(listing.transactions(request.query_params), request)
    return pages.get_paginated_response(render.page(rows))


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_transaction",
    manual_parameters=[_path("transaction_id", "the row's id", openapi.TYPE_INTEGER)],
    responses={200: serializers.TransactionSerializer, 404: detail("There is no such transaction.")},
)
@api_view(["GET"])
def transaction(request: Request, transaction_id: str) -> Response:
    """A transaction in full, with the proof of its delivery once there is one."""
    row = selectors.transfer(int(transaction_id[:80]))
    if row is None:
        raise NotFound
    return Response(render.transaction(row, selectors.delivered([row]).get(row.pk)))


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    operation_id="audit_recovery",
    manual_parameters=[TOKEN, _path("wallet", "the owner's address, with or without 0x; registered or not")],
    responses={
        200: serializers.RecoveryBundleSerializer,
        404: detail("There is no such token."),
        **NOT_READY,
    },
)
@api_view(["GET"])
def recovery_bundle(request: Request, token: str, wallet: str) -> Response:
    """Recovery bundle: all that is needed to get the money of an address out of a halted contract without the hub,
    in one document to keep. It is served at any time and used by `python -m nocust recover`."""
    address = parse_address(wallet)
    found = selectors.find_token(parse_address(token))
    if found is None:
        raise NotFound
    return Response(recovery.bundle(found, address, selectors.find_wallet(found.address, address)))
