"""Terms of service."""

from __future__ import annotations

from drf_yasg.utils import swagger_auto_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nocust.addresses import to_checksum
from operator_api import limits
from operator_api.error_codes import ErrorCode
from operator_api.rest import check_maintenance
from operator_api.swagger import read_only, refusals
from tos import services
from tos.serializers import SignedTermsSerializer, SignTermsSerializer, TermsSerializer


class LatestTerms(APIView):
    """The latest terms of service."""

    @swagger_auto_schema(responses={200: TermsSerializer})
    def get(self, request: Request) -> Response:
        """Digests of the latest terms of service and privacy policy."""
        config = services.latest()
        if config is None:
            return Response({"privacy_policy_digest": "", "terms_of_service_digest": ""})
        return Response(
            {
                "privacy_policy_digest": config.privacy_policy_digest,
                "terms_of_service_digest": config.terms_of_service_digest,
                "time": int(config.time.timestamp()),
            }
        )


class SignTerms(APIView):
    """Signing the terms of service again."""

    @swagger_auto_schema(
        request_body=SignTermsSerializer,
        responses={
            201: SignedTermsSerializer,
            400: refusals(
                [
                    ErrorCode.LATEST_TOS_ALREADY_SIGNED,
                    ErrorCode.WALLET_NOT_ADMITTED,
                    ErrorCode.INVALID_TOS_SIGNATURE,
                    ErrorCode.TOS_NOT_PUBLISHED,
                    ErrorCode.INVALID_ADDRESS,
                    ErrorCode.HUB_MAINTENANCE,
                ],
                "required",
            ),
            503: read_only(),
        },
    )
    def post(self, request: Request) -> Response:
        """Store an address's signature of the latest terms."""
        check_maintenance()
        serializer = SignTermsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        with limits.of_address(values["address"]):
            services.remember(values["address"], values["config"], values["tos_signature"])
        return Response(
            {"address": to_checksum(values["address"]).removeprefix("0x"), "tos_signature": None}, status=201
        )
