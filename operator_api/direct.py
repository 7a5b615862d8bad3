"""The requests that come most often, past Django and ASGI: accepted transfers, orders and registrations.

A request is answered here if it is regular and accepted. All others, refused ones among them, go on to the general
way, the bridge to Django, as if they had not been here: what is wrong with a request is found out and said there
alone. `direct_protocol.py` takes the requests from the server and writes the answers. What all requests pass on the
way to Django applies here, too: the limits by address of the client are the same buckets, ids, counts and the log
are those of `middleware_observing`, the hold after a restoration and the terms are asked for by the same functions.
The headers of an answer are learned: those that the general way gave to a request with the same headers, so the
first of each kind goes there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import orjson
from django.conf import settings
from django.urls import resolve
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from admission import direct as registrations
from admission.services import AdmissionError
from auditor.render import Object, receipt_of
from auditor.render_swaps import order_receipt_of
from ledger.engine import Refusal
from ledger.orders import StoredOrder
from ledger.store import HubNotReadyError, Outcome, StoredTransfer
from operator_api import limits
from operator_api.bridge import Answer, Headers, Receive, Scope, Send, json_answer
from operator_api.error_codes import no_database
from operator_api.learned import OWN, Learned, kind_of
from operator_api.limits import Buckets
from operator_api.middleware_observing import observer_in_loop
from operator_api.pipeline import Pipeline, Result
from operator_api.plain_input import require
from restoration.middleware import held
from swapper import direct as orders
from transactor import direct as transfers

logger = logging.getLogger(__name__)

CREATED = 201
DOUBT_SECONDS = 60.0
"""For which a client's requests are decided apart from others' after one with a signature that was not valid."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the requests to a path are read and answered."""

    path: str
    route: str
    read: Callable[[Any], Any]
    pipeline: Pipeline
    receipt: Callable[[Any], Any]

    def command(self, data: Any) -> Any:
        """The command in a parsed body. Raises one of IRREGULAR."""
        require(not held())
        return self.read(data)

    def submit(self, body: bytes, done: Callable[[Result], None], apart: bool) -> None:
        """Have a request's body read, its command decided and written, `apart` from those of others or with them;
        `done` is told, in the event loop."""
        self.pipeline.submit(self.command, body, done, apart)

    def answer(self, result: Result) -> Answer | None:
        """The answer to a request with this result; None if it is one for the general way."""
        if result is None or isinstance(result, Refusal | HubNotReadyError | AdmissionError):
            return None
        if isinstance(result, Exception):
            if body := no_database(result):
                logger.error("a batch of requests without the database", exc_info=result)
                return json_answer(503, body)
            logger.error("a batch of requests failed", exc_info=result)
            return json_answer(500, {"detail": "Internal error."})
        return Answer(CREATED, [], orjson.dumps(self.receipt(result)))


def endpoints(ledger: Pipeline, registration: Pipeline) -> dict[bytes, Endpoint]:
    """What is answered directly, by path."""
    found = {}
    for name, read, pipeline, answer in (
        ("/transfer", transfers.read, ledger, receipt),
        ("/swap", orders.read, ledger, receipt),
        ("/admission", registrations.read_one, registration, registrations.answer_one),
        ("/admission/bulk", registrations.read, registration, registrations.answer),
    ):
        for path in (name, f"{name}/"):
            found[path.encode()] = Endpoint(path, resolve(path).route, read, pipeline, answer)
    return found


class Direct:
    """See the module. As an ASGI application it is the general way, from whose answers it learns."""

    def __init__(self, general: Any, ledger: Pipeline, registration: Pipeline) -> None:
        self._general = general
        self._proxies = cast(Any, ProxyHeadersMiddleware(_nowhere, settings.HUB_TRUSTED_PROXIES))
        self.learned = Learned(CREATED, OWN, written)
        self._server: tuple[Headers, bytes] = [], b""
        self.note = observer_in_loop()
        self.limits: Buckets | None = None
        """The limits of writes by address of the client."""
        self._doubted = Buckets(1 / DOUBT_SECONDS, 1)
        self.endpoints = endpoints(ledger, registration)
        if settings.OTEL_EXPORTER_OTLP_ENDPOINT:  # it is Django's requests that are traced
            self.endpoints.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.encode() in self.endpoints and scope["method"] == "POST" and not scope["query_string"]:
            kind, _ = kind_of(path, scope["scheme"], scope["headers"])
            send = self.learned.learning(kind, send)
        await self._general(scope, receive, send)

    def doubts(self, client: str) -> bool:
        """Whether the client's requests are to be decided apart. A batch with a signature that is not valid is
        verified again, for which others should not wait, nor for the next that one client thinks up."""
        return self._doubted.is_empty(client)

    def note_result(self, client: str, result: Result) -> None:
        """Remember a client whose request was refused for its signatures."""
        if isinstance(result, Refusal) and result.code.endswith("_SIGNATURE"):
            self._doubted.take(client)

    def server_lines(self, headers: Headers) -> bytes:
        """The server's own headers, which are another list each second."""
        known, text = self._server
        if known is not headers:
            text = written(headers)
            self._server = headers, text
        return text

    def origin(self, scope: Scope) -> Scope:
        """The scope with client and scheme as trusted proxies in front tell them."""
        if not any(name.startswith(b"x-forwarded-") for name, _ in scope["headers"]):
            return scope
        found = dict(scope)
        with suppress(StopIteration):
            self._proxies(found, None, None).send(None)
        return found


async def _nowhere(*_: Any) -> None:
    """The application behind the proxies' headers, when they alone are wanted."""


def written(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are sent."""
    return b"".join(b"%s: %s\r\n" % line for line in lines)


def receipt(outcome: Outcome) -> Object:
    """The answer to what was accepted; it is counted against the limit of who signed it."""
    if isinstance(outcome, StoredTransfer):
        limits.count(outcome.event.sender.address)
        return receipt_of(outcome)
    assert isinstance(outcome, StoredOrder)
    limits.count(outcome.order.debit.address)
    return order_receipt_of(outcome)
