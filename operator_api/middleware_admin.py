"""Sessions and accounts for the admin alone: requests of the API pay nothing for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponseBase

Handler = Callable[[HttpRequest], HttpResponseBase]


def admin_only(get_response: Handler) -> Handler:
    """Middleware. Forgery is checked by the admin's views themselves, each of which Django wraps."""
    if not settings.HUB_ADMIN_PATH:
        raise MiddlewareNotUsed
    prefix = f"/{settings.HUB_ADMIN_PATH}/"
    with_account = cast(Handler, SessionMiddleware(AuthenticationMiddleware(MessageMiddleware(get_response))))

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return with_account(request) if request.path_info.startswith(prefix) else get_response(request)

    return middleware
