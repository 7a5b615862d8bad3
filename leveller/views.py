"""The operator's service level agreement."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_yasg.utils import swagger_auto_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from leveller.models import Agreement
from leveller.selectors import valid_agreement
from leveller.services import AgreementError, subscribe
from nocust.addresses import parse_address, to_checksum
from operator_api import limits
from operator_api.error_codes import ErrorCode
from operator_api.rest import check_maintenance, object_error
from operator_api.swagger import detail, read_only, refusals


class TermsSerializer(serializers.Serializer[Any]):
    """What an agreement costs and where to pay."""

    token = serializers.CharField()
    recipient = serializers.CharField()
    cost = serializers.CharField(help_text="decimal, smallest unit of the token")
    limit = serializers.IntegerField(help_text="transactions an eon without an agreement")

    class Meta:
        ref_name = "ServiceLevelTerms"


class AgreementSerializer(serializers.Serializer[Any]):
    """An agreement: when it ends (UNIX seconds) and the transfer that paid for it."""

    expiry = serializers.IntegerField(read_only=True)
    transfer_id = serializers.IntegerField(min_value=0, max_value=2**63 - 1)

    class Meta:
        ref_name = "ServiceLevelAgreement"


def _render(agreement: Agreement) -> dict[str, int]:
    return {"expiry": int(agreement.expiry.timestamp()), "transfer_id": agreement.transfer_id}


class TermsView(APIView):
    """The terms of the agreement."""

    @swagger_auto_schema(responses={200: TermsSerializer})
    def get(self, request: Request) -> Response:
        """What an agreement costs."""
        return Response(
            {
                "token": to_checksum(settings.SLA_TOKEN_ADDRESS),
                "recipient": to_checksum(settings.SLA_RECIPIENT_ADDRESS),
                "cost": str(settings.SLA_PRICE),
                "limit": settings.SLA_THRESHOLD,
            }
        )


class AgreementView(APIView):
    """An address's agreement."""

    @swagger_auto_schema(responses={200: AgreementSerializer, 404: detail("No valid agreement.")})
    def get(self, request: Request, wallet: str) -> Response:
        """The agreement that has not expired."""
        agreement = valid_agreement(parse_address(wallet))
        if agreement is None:
            raise NotFound
        return Response(_render(agreement))

    @swagger_auto_schema(
        request_body=AgreementSerializer,
        responses={
            201: AgreementSerializer,
            400: refusals(
                [
                    ErrorCode.TRANSFER_DOES_NOT_EXIST,
                    ErrorCode.TRANSFER_MADE_TO_WRONG_WALLET,
                    ErrorCode.TRANSFER_MADE_WITH_WRONG_TOKEN,
                    ErrorCode.TRANSFER_MADE_BY_OTHER_WALLET,
                    ErrorCode.TRANSFER_AMOUNT_TOO_LOW,
                    ErrorCode.SLA_ALREADY_EXISTS_FOR_TRANSFER,
                    ErrorCode.SLA_STILL_VALID_FOR_WALLET,
                    ErrorCode.HUB_MAINTENANCE,
                ],
                "required",
                "invalid",
            ),
            503: read_only(),
        },
    )
    def post(self, request: Request, wallet: str) -> Response:
        """Buy an agreement with a transfer made by this address."""
        check_maintenance()
        serializer = AgreementSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        address = parse_address(wallet)
        try:
            with limits.of_address(address):
                agreement = subscribe(address, serializer.validated_data["transfer_id"])
        except AgreementError as error:
            raise serializers.ValidationError({"non_field_errors": object_error(error.code).detail}) from None
        return Response(_render(agreement), status=201)
