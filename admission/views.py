"""Registration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_yasg.utils import swagger_auto_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from admission import services
from admission.direct import render
from admission.serializers import (
    AdmissionSerializer,
    AdmittedSerializer,
    BulkAdmissionSerializer,
    BulkAdmittedSerializer,
)
from admission.services import Admission
from operator_api import limits
from operator_api.error_codes import ErrorCode
from operator_api.rest import object_error, refuse
from operator_api.swagger import STOPPED, not_ready, refusals

REFUSALS = [
    ErrorCode.TOKEN_NOT_REGISTERED,
    ErrorCode.WALLET_BLACKLISTED,
    ErrorCode.WALLET_ALREADY_ADMITTED,
    ErrorCode.INVALID_ADMISSION_SIGNATURE,
    ErrorCode.INVALID_TOS_SIGNATURE,
    ErrorCode.TOS_NOT_PUBLISHED,
    ErrorCode.INVALID_ADDRESS,
    *STOPPED,
]


def _admit(values: dict[str, Any]) -> Sequence[Admission]:
    """Admit what a serializer checked; what changed since then is an error across fields, too."""
    admissions = values["admissions"]
    try:
        with limits.of_address(*(admission.address for admission in admissions)):
            return services.admit(admissions, values["eon"], values["config"])
    except services.StoppedError as error:
        raise refuse(error.code) from None
    except services.AdmissionError as error:
        raise ValidationError({"non_field_errors": object_error(error.code).detail}) from None


def _check_open() -> None:
    """Refuse before anything is checked: a hub that is behind would find signatures for the right eon wrong."""
    try:
        services.check_open()
    except services.StoppedError as error:
        raise refuse(error.code) from None


class AdmissionView(APIView):
    """Registration of one wallet."""

    @swagger_auto_schema(
        request_body=AdmissionSerializer,
        responses={
            201: AdmittedSerializer,
            400: refusals(REFUSALS, "required", "null", "blank", "invalid", "max_length"),
            503: not_ready(),
        },
    )
    def post(self, request: Request) -> Response:
        """Register an address in a token. It is admitted at once; REGISTERED_WALLET is sent to its stream."""
        _check_open()
        serializer = AdmissionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        (admission,) = _admit(serializer.validated_data)
        return Response(render(admission), status=201)


class BulkAdmissionView(APIView):
    """Registration of several wallets."""

    @swagger_auto_schema(
        request_body=BulkAdmissionSerializer,
        responses={
            201: BulkAdmittedSerializer,
            400: refusals(
                [*REFUSALS, ErrorCode.TOO_MANY_ADMISSION_REQUESTS],
                "required",
                "null",
                "blank",
                "invalid",
                "max_length",
                "not_a_list",
            ),
            503: not_ready(),
        },
    )
    def post(self, request: Request) -> Response:
        """Register several wallets: all that are not registered yet, or none if one entry is wrong."""
        _check_open()
        serializer = BulkAdmissionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        admissions = _admit(serializer.validated_data)
        return Response({"admissions": [render(admission) for admission in admissions]}, status=201)
