"""Who may transact."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from nocust.addresses import parse_address
from nocust.errors import NocustError
from operator_api.error_codes import ErrorCode
from tos.services import may_transact


class SignedTerms(BasePermission):
    """The sender in the body has signed the terms of service. A body without a readable sender passes here and
    fails in validation."""

    def has_permission(self, request: Request, view: Any) -> bool:
        body = request.data
        wallet = body.get("wallet") if isinstance(body, dict) else None
        text = wallet.get("address") if isinstance(wallet, dict) else None
        if not isinstance(text, str):
            return True
        try:
            address = parse_address(text)
        except NocustError:
            return True
        if not may_transact(address):
            code = ErrorCode.INVALID_TOS_SIGNATURE
            raise PermissionDenied({"code": code.code, "message": code.value})
        return True
