"""The requests that come most often, past Django: accepted transfers, orders and registrations.

A request is answered here if it is regular and accepted. All others, refused ones among them, go on to the general
way, the bridge to Django, as if they had not been here: what is wrong with a request is found out and said there
alone. What all requests pass on the way to Django applies here, too: the limits by address of the client stand
before both ways, ids, counts and the log are those of `middleware_observing`, the hold after a restoration and the
terms are asked for by the same functions. The headers of an answer are learned: those that the general way gave to
a request with the same headers, so the first of each kind goes there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.urls import resolve

from admission import direct as registrations
from admission.services import AdmissionError
from admission.services import committer as registrar
from auditor.render import Object, receipt_of
from auditor.render_swaps import order_receipt_of
from ledger.engine import Refusal
from ledger.group_commit import committer
from ledger.orders import StoredOrder
from ledger.store import HubNotReadyError, Outcome, StoredTransfer
from operator_api import limits
from operator_api.bridge import Answer, Headers, Receive, Scope, Send, json_answer, send_answer
from operator_api.error_codes import NO_DATABASE, NO_DATABASE_DETAIL
from operator_api.middleware_observing import name_request, observer
from operator_api.pipeline import Pipeline
from operator_api.plain_input import meet, require
from restoration.middleware import held
from swapper import direct as orders
from transactor import direct as transfers

logger = logging.getLogger(__name__)

CREATED = 201
LARGEST_BODY = 65_536
"""Bytes of a regular request; an order for the most eons has a fifth."""
REMEMBERED = 1_000
"""Kinds of requests whose answers' headers are known; when there are more, all are learned again."""
IRRELEVANT = frozenset(
    {b"content-length", b"x-request-id", b"user-agent", b"referer", b"x-forwarded-for", b"x-real-ip"}
)
"""Headers that do not change those of an answer."""
OWN = frozenset({b"content-length", b"x-request-id"})
"""Headers of an answer that are its own."""

Traits = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the requests to a path are read and answered."""

    route: str
    read: Callable[[Any], Any]
    pipeline: Pipeline
    receipt: Callable[[Any], Any]

    def command(self, data: Any) -> Any:
        """The command in a parsed body. Raises one of IRREGULAR."""
        require(not held())
        return self.read(data)


def endpoints(ledger: Pipeline, registration: Pipeline) -> dict[str, Endpoint]:
    """What is answered directly, by path."""
    found = {}
    for path, read, pipeline, answer in (
        ("/transfer", transfers.read, ledger, receipt),
        ("/swap", orders.read, ledger, receipt),
        ("/admission", registrations.read_one, registration, registrations.answer_one),
        ("/admission/bulk", registrations.read, registration, registrations.answer),
    ):
        endpoint = Endpoint(resolve(f"{path}/").route, read, pipeline, answer)
        found[path] = found[f"{path}/"] = endpoint
    return found


def directly(general: Any) -> Any:
    """The ASGI application of the type "http" with the general way behind it; the general way alone while requests
    are traced, since it is Django's that are."""
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return general
    return Direct(general, Pipeline(committer, meet), Pipeline(registrar))


class Direct:
    """See the module."""

    def __init__(self, general: Any, ledger: Pipeline, registration: Pipeline) -> None:
        self._general = general
        self._note = observer()
        self._learned: dict[Traits, Headers] = {}
        self._endpoints = endpoints(ledger, registration)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None or scope["method"] != "POST" or scope["query_string"] or scope.get("root_path"):
            await self._general(scope, receive, send)
            return
        began = time.perf_counter()
        traits, length, given = traits_of(scope)
        lines = self._learned.get(traits)
        if lines is None or length > LARGEST_BODY:
            await self._general(scope, receive, self._learning(traits, send))
            return
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            answer = await self._answer(endpoint, message.get("body", b""))
            if answer is not None:
                name = name_request(given)
                own = [(b"x-request-id", name.encode()), (b"content-length", b"%d" % len(answer.content))]
                self._note("POST", endpoint.route, answer.status, time.perf_counter() - began)
                await send_answer(send, Answer(answer.status, [*lines, *own], answer.content))
                return
        await self._general(scope, _again(message, receive), send)

    async def _answer(self, endpoint: Endpoint, body: bytes) -> Answer | None:
        """The answer to a regular request that was accepted; None if it is one for the general way."""
        try:
            outcome = await endpoint.pipeline.submit(endpoint.command, body)
        except (HubNotReadyError, AdmissionError):
            return None
        except NO_DATABASE as error:
            logger.error("a batch of requests without the database", exc_info=error)
            return json_answer(503, {"detail": NO_DATABASE_DETAIL})
        except Exception:
            logger.exception("a batch of requests failed")
            return json_answer(500, {"detail": "Internal error."})
        if outcome is None or isinstance(outcome, Refusal):
            return None
        return Answer(CREATED, [], orjson.dumps(endpoint.receipt(outcome)))

    def _learning(self, traits: Traits, send: Send) -> Send:
        async def learn(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == CREATED:
                if len(self._learned) >= REMEMBERED:
                    self._learned.clear()
                self._learned[traits] = [line for line in message["headers"] if line[0] not in OWN]
            await send(message)

        return learn


def traits_of(scope: Scope) -> tuple[Traits, int, str]:
    """What the headers of an answer depend on, the length of the body (0 if it is not told) and the given id."""
    traits: list[Any] = [scope["path"], scope.get("scheme")]
    length, given = 0, ""
    for line in scope["headers"]:
        name = line[0]
        if name not in IRRELEVANT:
            traits.append(line)
        elif name == b"content-length":
            length = int(line[1])
        elif name == b"x-request-id":
            given = line[1].decode("latin-1")
    return tuple(traits), length, given


def _again(message: dict[str, Any], receive: Receive) -> Receive:
    """Gives a message that was read already, and then what comes."""
    waiting = [message]

    async def again() -> dict[str, Any]:
        return waiting.pop() if waiting else await receive()

    return again


def receipt(outcome: Outcome) -> Object:
    """The answer to what was accepted; it is counted against the limit of who signed it."""
    if isinstance(outcome, StoredTransfer):
        limits.count(outcome.event.sender.address)
        return receipt_of(outcome)
    assert isinstance(outcome, StoredOrder)
    limits.count(outcome.order.debit.address)
    return order_receipt_of(outcome)
