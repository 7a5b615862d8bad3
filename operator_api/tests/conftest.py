"""What the tests of the direct way share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from pytest_django import Settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from admission.services import RegistrationCommitter
from ledger.group_commit import GroupCommitter
from operator_api.direct import Direct
from operator_api.direct_protocol import DirectProtocol
from operator_api.middleware_limits import RateLimits
from operator_api.pipeline import Pipeline
from operator_api.plain_input import meet
from operator_api.simulation.play import Play
from operator_api.tests.direct_server import Counting, Server
from operator_api.tests.server import serving
from restoration import middleware as restoration


@pytest.fixture
def server(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Server]:
    """A server whose parameter, if it has one, are the proxies that it trusts."""
    settings.HUB_TRUSTED_PROXIES = getattr(request, "param", [])
    restoration.forget()
    general, committer = Counting(), GroupCommitter()
    lines = Pipeline(committer, meet), Pipeline(RegistrationCommitter(), threads=2)
    direct = Direct(general, *lines)
    limits = RateLimits(direct)
    direct.limits = limits.writes
    application = ProxyHeadersMiddleware(cast(Any, limits), settings.HUB_TRUSTED_PROXIES)
    protocol = type("Protocol", (DirectProtocol,), {"direct": direct})
    with serving(application, http=protocol) as port:
        yield Server(port, general, committer, direct, limits)
    for line in lines:
        line.close()
    restoration.forget()


@pytest.fixture
def play() -> Play:
    return Play()
