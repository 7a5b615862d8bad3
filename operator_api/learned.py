"""Headers of answers, learned: those that the general way gave to a request with the same headers, so that no
middleware is written twice for what passes Django by."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, Generic, TypeVar

from operator_api.bridge import Headers, Send

REMEMBERED = 1_000
"""Kinds of requests whose answers' headers are known; when there are more, all are learned again."""
RELEVANT = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"cookie",
        b"host",
        b"origin",
        b"transfer-encoding",
        b"x-csrftoken",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-http-method-override",
        b"x-requested-with",
    }
)
"""Headers of a request that those of its answer may depend on: what Django, its middleware and the REST framework
read. Others, such as those by which proxies trace requests, may differ each time."""
OWN = frozenset({b"content-length", b"x-request-id"})
"""Headers of an answer that are its own."""

Kind = tuple[Any, ...]
"""What the headers of an answer depend on."""

Form = TypeVar("Form")


class Learned(Generic[Form]):
    """The headers of the general way's answers with a status, but for an answer's own, in the form that they are
    sent in, by the kind of request."""

    def __init__(self, status: int, own: Set[bytes], form: Callable[[Headers], Form]) -> None:
        self._status = status
        self._own = own
        self._form = form
        self._known: dict[Kind, Form] = {}

    def get(self, kind: Kind) -> Form | None:
        """Those of an answer to a request of this kind; None if there was none yet."""
        return self._known.get(kind)

    def learning(self, kind: Kind, send: Send) -> Send:
        """What sends the general way's answer to a request of this kind, and learns from it."""

        async def learn(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == self._status:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[kind] = self._form(
                    [line for line in message["headers"] if line[0] not in self._own]
                )
            await send(message)

        return learn


def kind_of(path: str, scheme: str, headers: Headers) -> tuple[Kind, str]:
    """What the headers of an answer depend on, and the request's X-Request-ID or an empty text."""
    kind: list[Any] = [path, scheme]
    given = ""
    for line in headers:
        name = line[0]
        if name in RELEVANT:
            kind.append(line)
        elif name == b"x-request-id":
            given = line[1].decode("latin-1")
    return tuple(kind), given
