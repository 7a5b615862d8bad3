"""The analytics endpoints (`spec/http-api.md` §3.9)."""

from __future__ import annotations

from drf_yasg.utils import swagger_auto_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import selectors, serializers

TAGS = ["analytics"]


@swagger_auto_schema(method="get", tags=TAGS, responses={200: serializers.WalletFiguresSerializer})
@api_view(["GET"])
def wallets(request: Request) -> Response:
    """Registered wallets."""
    return Response(selectors.wallets())


@swagger_auto_schema(method="get", tags=TAGS, responses={200: serializers.FiguresSerializer})
@api_view(["GET"])
def transactions(request: Request) -> Response:
    """Transfers and orders. An order counts once for each of its eons."""
    return Response(selectors.transactions())


@swagger_auto_schema(method="get", tags=TAGS, responses={200: serializers.ChallengeFiguresSerializer})
@api_view(["GET"])
def challenges(request: Request) -> Response:
    """Challenges made to the operator on chain."""
    return Response(selectors.challenges())


@swagger_auto_schema(method="get", tags=TAGS, responses={200: serializers.FiguresSerializer})
@api_view(["GET"])
def deposits(request: Request) -> Response:
    """Deposits that were applied."""
    return Response(selectors.deposits())


@swagger_auto_schema(method="get", tags=TAGS, responses={200: serializers.FiguresSerializer})
@api_view(["GET"])
def withdrawals(request: Request) -> Response:
    """Withdrawal requests that were paid."""
    return Response(selectors.withdrawals())
