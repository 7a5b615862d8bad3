"""Transfers and delegated withdrawals."""

from __future__ import annotations

from drf_yasg.utils import swagger_auto_schema
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from auditor.render import receipt_of
from auditor.serializers import TransferReceiptSerializer
from ledger.directory import find_owner
from ledger.engine import Refusal
from operator_api import limits
from operator_api.error_codes import ErrorCode
from operator_api.rest import JSONParser, refusal_error, refuse
from operator_api.swagger import STOPPED, not_ready, refusals, text, unsigned_terms
from tos.permissions import SignedTerms
from transactor import services
from transactor.serializers import (
    DelegatedWithdrawalSerializer,
    TransferSerializer,
    read_transfer,
)


class TransferView(APIView):
    """Transfers."""

    permission_classes = [SignedTerms]

    @swagger_auto_schema(
        request_body=TransferSerializer,
        responses={
            201: TransferReceiptSerializer,
            400: refusals(
                [
                    ErrorCode.TOKEN_NOT_REGISTERED,
                    ErrorCode.WALLET_NOT_ADMITTED,
                    ErrorCode.DEBIT_CREDIT_WALLET_ADDRESS_MATCH,
                    ErrorCode.DEBIT_CREDIT_TOKEN_ADDRESS_MISMATCH,
                    ErrorCode.EON_NUMBER_OUT_OF_SYNC,
                    ErrorCode.DEBIT_WALLET_EXCEEDED_SLA,
                    ErrorCode.CREDIT_WALLET_EXCEEDED_SLA,
                    ErrorCode.DEBIT_WALLET_OVERSPENDING,
                    ErrorCode.DEBIT_WALLET_BALANCE_MARKER_EXCEED_BALANCE,
                    ErrorCode.DEBIT_WALLET_CANNOT_ADD_TRANSACTION,
                    ErrorCode.CREDIT_WALLET_CANNOT_ADD_TRANSACTION,
                    ErrorCode.INVALID_DEBIT_BALANCE_SIGNATURE,
                    ErrorCode.INVALID_DEBIT_SIGNATURE,
                    *STOPPED,
                    ErrorCode.INVALID_ADDRESS,
                ],
                "unique",
                "required",
                "null",
                "invalid",
                "min_value",
                "max_length",
            ),
            403: unsigned_terms("the sender"),
            503: not_ready(),
        },
    )
    def post(self, request: Request) -> Response:
        """Transfer an amount to another wallet of the same token. The answer is countersigned and durable."""
        command = read_transfer(request.data)
        with limits.of_address(command.sender.address):
            outcome = services.transfer(command)
            if isinstance(outcome, Refusal):
                raise refusal_error(outcome)
        return Response(receipt_of(outcome), status=201)


class DelegatedWithdrawalView(APIView):
    """Delegated withdrawals."""

    parser_classes = [FormParser, MultiPartParser, JSONParser]

    @swagger_auto_schema(
        request_body=DelegatedWithdrawalSerializer,
        responses={
            200: text('"Ok": the hub sends the request to the contract.'),
            400: refusals(
                [
                    ErrorCode.WALLET_NOT_ADMITTED,
                    ErrorCode.EON_NUMBER_OUT_OF_SYNC,
                    ErrorCode.INVALID_EXPIRY,
                    ErrorCode.DEBIT_WALLET_OVERSPENDING,
                    ErrorCode.DEBIT_WALLET_CANNOT_ADD_TRANSACTION,
                    ErrorCode.INVALID_WITHDRAWAL_SIGNATURE,
                    ErrorCode.WITHDRAWAL_ALREADY_REQUESTED,
                    *STOPPED,
                    ErrorCode.INVALID_ADDRESS,
                ],
                "required",
                "null",
                "blank",
                "invalid",
                "min_value",
                "max_value",
                "max_length",
            ),
            503: not_ready(),
        },
    )
    def post(self, request: Request) -> Response:
        """Have the operator request a withdrawal on chain that the owner authorised."""
        serializer = DelegatedWithdrawalSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        owner = find_owner(values["token"], values["wallet"])
        if owner is None:
            raise refuse(ErrorCode.WALLET_NOT_ADMITTED)
        with limits.of_address(owner.address):
            outcome = services.delegate_withdrawal(
                owner, values["amount"], values["expiry"], values["signature"]
            )
            if isinstance(outcome, Refusal):
                raise refusal_error(outcome)
        return Response("Ok")
