"""Refusing what the hub could not sign, before it is worked on."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from ledger import directory
from ledger.store import HubNotReadyError, chain_status
from restoration import holds

SIGNED = ("/admission", "/transfer", "/withdrawal", "/swap")
"""Where the hub signs, or acts for a wallet, by how the path begins."""
REMEMBERED_SECONDS = 1.0
DETAIL = "The hub was restored from a backup: nothing new is accepted until the operator has checked what was lost."

_known = (False, 0.0)
_newest = 0
"""The newest hold that this process has heard of."""


def held() -> bool:
    """Whether nothing may be signed in the latest eon; asked once a second. The database's triggers refuse what
    slips through.

    With a new hold the process forgets its wallets: after a failover that it lived through, the row and trail of
    one whose registration was lost may be somebody else's.
    """
    global _known, _newest  # noqa: PLW0603  (one for all threads; a lost race asks once more)
    barred, until = _known
    now = time.monotonic()
    if now >= until:
        try:
            newest, barred = holds.newest(), holds.bars(chain_status().eon)
        except HubNotReadyError:
            newest, barred = _newest, False
        if newest != _newest:
            directory.clear()
            _newest = newest
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
