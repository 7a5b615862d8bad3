"""How JSON goes in and out, and how errors look (`spec/http-api.md` §2)."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import orjson
from django.http import HttpRequest
from rest_framework import parsers, renderers, serializers
from rest_framework.exceptions import APIException, ErrorDetail, ParseError, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler as default_handler

from operator_api.error_codes import ErrorCode, no_database

if TYPE_CHECKING:
    from ledger.engine import Refusal

logger = logging.getLogger(__name__)

LONG_INTEGER = re.compile(rb"[\[:,\s]-?\d{19}")
"""What may be a JSON integer beyond 64 bits."""


class JSONRenderer(renderers.JSONRenderer):
    """JSON by orjson: UTF-8, no spaces."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str)


class JSONParser(parsers.JSONParser):
    """JSON with integers of any size, as amounts may be. Raises ParseError for what is not JSON."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read()
        try:
            # orjson checks the document, its depth included, which Python's own parser survives no better than the
            # stack does; but it reads integers beyond 64 bits as floats.
            parsed = orjson.loads(body)
            return json.loads(body) if LONG_INTEGER.search(body) else parsed
        except (ValueError, RecursionError) as error:
            raise ParseError(f"JSON parse error - {error}") from None


def validated(serializer: serializers.Serializer[Any], data: Any) -> Any:
    """The values of a request's body by a serializer that is made once: it keeps nothing of what it validates, and
    to make one for each request costs more than to validate one. Raises DRF's ValidationError."""
    if data is None:
        type(serializer)(data=None).is_valid(raise_exception=True)
    return serializer.run_validation(data)


def refuse(code: ErrorCode | str, message: str = "") -> ValidationError:
    """The error of a business check: a list with one {message, code}."""
    name, explanation = (code.code, code.value) if isinstance(code, ErrorCode) else (code, "")
    return ValidationError([ErrorDetail(message or explanation, code=name)])


def object_error(code: ErrorCode, message: str = "") -> serializers.ValidationError:
    """The error of a check across fields, to be raised in a serializer's `validate`."""
    return serializers.ValidationError(message or code.value, code=code.code)


def refusal_error(refusal: Refusal) -> ValidationError:
    """The error of a refused command. `unique` is a check across fields, as clients know it."""
    if refusal.code == "unique":
        error = refuse(refusal.code, refusal.message)
        error.detail = {"non_field_errors": error.detail}
        return error
    if refusal.code in ErrorCode.__members__ and not refusal.message:
        return refuse(ErrorCode[refusal.code])
    return refuse(refusal.code, refusal.message)


def check_maintenance() -> None:
    """For writes that need nothing of the chain. Raises the refusal while the operator takes nothing new."""
    from ledger.models import ChainStatus

    if ChainStatus.objects.filter(maintenance=True).exists():
        raise refuse(ErrorCode.HUB_MAINTENANCE)


class ServiceUnavailable(APIException):
    """The hub cannot serve this now; try again."""

    status_code = 503
    default_detail = ErrorCode.HUB_NOT_READY.value
    default_code = ErrorCode.HUB_NOT_READY.code


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Validation errors with their codes; everything else as {"detail"}."""
    from ledger.store import HubNotReadyError
    from operator_api.limits import TooManyRequests

    if isinstance(error, HubNotReadyError):
        error = ServiceUnavailable()
    response = default_handler(error, context)
    if response is not None and isinstance(error, ValidationError):
        response.data = error.get_full_details()
    if response is not None and isinstance(error, TooManyRequests):
        for name, value in error.headers.items():
            response[name] = value
    return response


def not_found(request: HttpRequest, exception: Exception | None = None) -> Any:
    """404 of an unknown route, as JSON."""
    return _plain(404, {"detail": "Not found."})


def server_error(request: HttpRequest) -> Any:
    """500, without a word on what went wrong inside; 503 if it was that the database does not answer, or takes no
    writes."""
    body = no_database(sys.exception())
    return _plain(500, {"detail": "Internal error."}) if body is None else _plain(503, body)


def _plain(status: int, body: dict[str, str]) -> Any:
    from django.http import JsonResponse

    return JsonResponse(body, status=status)
