"""Refusing what the hub could not sign, before it is worked on."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from ledger.store import HubNotReadyError, chain_status
from restoration import holds

SIGNED = ("/admission", "/transfer", "/withdrawal", "/swap")
"""Where the hub signs, or acts for a wallet, by how the path begins."""
REMEMBERED_SECONDS = 1.0
DETAIL = "The hub was restored from a backup: nothing new is accepted until the operator has checked what was lost."

_known = (False, 0.0)


def held() -> bool:
    """Whether nothing may be signed in the latest eon; asked once a second. The database's triggers refuse what
    slips through."""
    global _known  # noqa: PLW0603  (one for all threads; a lost race asks once more)
    barred, until = _known
    now = time.monotonic()
    if now >= until:
        try:
            barred = holds.bars(chain_status().eon)
        except HubNotReadyError:
            barred = False
        _known = barred, now + REMEMBERED_SECONDS
    return barred


Handler = Callable[[HttpRequest], HttpResponseBase]


def hold(get_response: Handler) -> Handler:
    """Answers 503 to requests that ask for a signature while the hub is held."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if (
            request.method in {"POST", "PUT", "PATCH", "DELETE"}
            and request.path.startswith(SIGNED)
            and held()
        ):
            return JsonResponse({"detail": DETAIL}, status=503)
        return get_response(request)

    return middleware


def forget() -> None:
    """Ask again at the next request."""
    global _known  # noqa: PLW0603
    _known = (False, 0.0)
