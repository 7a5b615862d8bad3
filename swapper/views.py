"""Orders (`spec/http-api.md` §3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_yasg import openapi
from drf_yasg.utils import swagger_auto_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from auditor import render_swaps as render
from auditor import serializers_swaps as shapes
from ledger.engine import OrderCommand, Refusal
from ledger.orders import StoredOrder
from operator_api import limits
from operator_api.error_codes import ErrorCode
from operator_api.rest import refusal_error
from operator_api.swagger import STOPPED, detail, not_ready, refusals, unsigned_terms
from swapper import selectors, serializers, services
from tos.permissions import SignedTerms

ROW = openapi.Parameter(
    "row",
    openapi.IN_PATH,
    "id of any of the order's rows; the answer names the row of the eon that the order is in",
    required=True,
    type=openapi.TYPE_INTEGER,
)


def _endings(shape: type[Any], *codes: ErrorCode) -> dict[int, Any]:
    """The answers to a request that ends an order: its own shape, and the codes of its refusals."""
    return {
        200: shape,
        400: refusals([*codes, *STOPPED], "required", "null", "invalid"),
        404: detail("There is no such order."),
        503: not_ready(),
    }


class OrderView(APIView):
    """New orders."""

    permission_classes = [SignedTerms]

    @swagger_auto_schema(
        request_body=serializers.OrderSerializer,
        responses={
            201: shapes.SwapReceiptSerializer,
            400: refusals(
                [
                    ErrorCode.TOKEN_NOT_REGISTERED,
                    ErrorCode.WALLET_NOT_ADMITTED,
                    ErrorCode.INVALID_ADDRESS,
                    ErrorCode.INVALID_DEBIT_AMOUNT,
                    ErrorCode.INVALID_CREDIT_AMOUNT,
                    ErrorCode.SWAPPING_DISABLED,
                    ErrorCode.TOO_MANY_FUTURE_SIGNATURES,
                    ErrorCode.WRONG_NUMBER_OF_SIGNATURES,
                    ErrorCode.DEBIT_CREDIT_WALLET_ADDRESS_MISMATCH,
                    ErrorCode.DEBIT_CREDIT_TOKEN_ADDRESS_MATCH,
                    ErrorCode.TOKEN_PAIR_BLOCKED,
                    ErrorCode.EON_NUMBER_OUT_OF_SYNC,
                    ErrorCode.DEBIT_WALLET_CANNOT_ADD_TRANSACTION,
                    ErrorCode.CREDIT_WALLET_CANNOT_ADD_TRANSACTION,
                    ErrorCode.DEBIT_WALLET_OVERSPENDING,
                    ErrorCode.DEBIT_WALLET_BALANCE_AMOUNT_MISMATCH,
                    ErrorCode.CREDIT_WALLET_BALANCE_NOT_ZERO,
                    ErrorCode.INVALID_DEBIT_BALANCE_SIGNATURE,
                    ErrorCode.INVALID_CREDIT_BALANCE_SIGNATURE,
                    ErrorCode.INVALID_DEBIT_SIGNATURE,
                    ErrorCode.INVALID_CREDIT_SIGNATURE,
                    ErrorCode.INVALID_CREDIT_FULFILLMENT_SIGNATURE,
                    ErrorCode.INVALID_FUTURE_DEBIT_SIGNATURE,
                    ErrorCode.INVALID_FUTURE_CREDIT_SIGNATURE,
                    ErrorCode.INVALID_FUTURE_CREDIT_FULFILLMENT_SIGNATURE,
                    *STOPPED,
                ],
                "unique",
                "required",
                "null",
                "invalid",
                "min_value",
                "max_length",
            ),
            403: unsigned_terms("the owner"),
            503: not_ready(),
        },
    )
    def post(self, request: Request) -> Response:
        """Place an order: all of a wallet's balance for an amount in the owner's empty wallet of another token. Its
        first eon's states are countersigned and durable. Signatures of later eons are verified afterwards: an order
        goes on in an eon only if they are good."""
        order = serializers.read_order(request.data)
        with limits.of_address(order.debit.address):
            stored = _done(services.place(order))
        return Response(render.order_receipt_of(stored), status=201)


class EndView(APIView):
    """Something about an order that exists."""

    def _end(
        self, request: Request, row: str, read: Callable[[selectors.KnownOrder, Any], OrderCommand]
    ) -> StoredOrder:
        order = selectors.find_order(int(row[:80]))
        if order is None:
            raise NotFound("There is no such order.")
        command = read(order, request.data)
        with limits.of_address(order.debit.address):
            return _done(services.end(command))


class FreezeView(EndView):
    """Orders taken off the market."""

    @swagger_auto_schema(
        request_body=serializers.FreezingSerializer,
        manual_parameters=[ROW],
        responses=_endings(
            shapes.SwapFreezeSerializer,
            ErrorCode.SWAP_ALREADY_FULFILLED,
            ErrorCode.SWAP_ALREADY_FROZEN,
            ErrorCode.SWAP_ALREADY_VOIDED,
            ErrorCode.SWAP_ALREADY_CLOSED,
            ErrorCode.INVALID_FREEZING_SIGNATURE,
        ),
    )
    def put(self, request: Request, row: str) -> Response:
        """Freeze an order: it is not matched any more and can be cancelled. What was matched until then is told."""
        return Response(render.freezing_of(self._end(request, row, serializers.read_freezing)))


class CancelView(EndView):
    """Orders ended before they are filled."""

    @swagger_auto_schema(
        request_body=serializers.CancellationSerializer,
        manual_parameters=[ROW],
        responses=_endings(
            shapes.SwapCancellationSerializer,
            ErrorCode.SWAP_NOT_FROZEN,
            ErrorCode.SWAP_ALREADY_CLOSED,
            ErrorCode.WRONG_NUMBER_OF_DEBIT_SIGNATURES,
            ErrorCode.WRONG_NUMBER_OF_CREDIT_SIGNATURES,
            ErrorCode.EON_NUMBER_OUT_OF_SYNC,
            ErrorCode.INVALID_DEBIT_SIGNATURE,
            ErrorCode.INVALID_CREDIT_SIGNATURE,
            ErrorCode.INVALID_FUTURE_DEBIT_SIGNATURE,
            ErrorCode.INVALID_FUTURE_CREDIT_SIGNATURE,
        ),
    )
    def put(self, request: Request, row: str) -> Response:
        """Cancel a frozen order: the rest and what was matched can be spent at once."""
        return Response(render.cancellation_of(self._end(request, row, serializers.read_cancellation)))


class FinalizeView(EndView):
    """Orders ended after they were filled."""

    @swagger_auto_schema(
        request_body=serializers.FinalizationSerializer,
        manual_parameters=[ROW],
        responses=_endings(
            shapes.SwapFinalizationSerializer,
            ErrorCode.SWAP_NOT_FULFILLED,
            ErrorCode.SWAP_ALREADY_FROZEN,
            ErrorCode.SWAP_ALREADY_VOIDED,
            ErrorCode.SWAP_ALREADY_CLOSED,
            ErrorCode.WRONG_NUMBER_OF_CREDIT_SIGNATURES,
            ErrorCode.EON_NUMBER_OUT_OF_SYNC,
            ErrorCode.INVALID_CREDIT_SIGNATURE,
            ErrorCode.INVALID_FUTURE_CREDIT_SIGNATURE,
        ),
    )
    def put(self, request: Request, row: str) -> Response:
        """Finalise a filled order: its wallets can be used again in this eon."""
        return Response(render.finalization_of(self._end(request, row, serializers.read_finalization)))


def _done(outcome: StoredOrder | Refusal) -> StoredOrder:
    if isinstance(outcome, Refusal):
        raise refusal_error(outcome)
    return outcome
