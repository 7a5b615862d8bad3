"""HTTP and websockets on one port. HTTP runs as WSGI in a fixed set of threads (bridge.py says why), but for the
requests that come most often (direct.py, direct_reads.py)."""

# ruff: noqa: E402  (Django is set up before its models are imported)

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")

import django
from django.conf import settings

django.setup(set_prefix=False)

from admission.services import committer as registrar
from ledger.group_commit import GroupCommitter
from operator_api.bridge import Bridge
from operator_api.direct import Direct
from operator_api.direct_protocol import DirectProtocol
from operator_api.direct_reads import Readers, reading_directly
from operator_api.keys import operator_key
from operator_api.middleware_limits import RateLimits
from operator_api.origins import WelcomeOnly
from operator_api.pipeline import Pipeline
from operator_api.plain_input import meet
from operator_api.wsgi import application as wsgi_application
from synchronizer.consumers import StreamConsumer

operator_key()  # a key that is missing or wrong stops the start, not the first transfer

_direct = Direct(
    reading_directly(
        Bridge(wsgi_application, settings.HTTP_THREADS, settings.DATA_UPLOAD_MAX_MEMORY_SIZE), Readers()
    ),
    Pipeline(GroupCommitter(), meet),
    Pipeline(registrar, threads=2),
)
_limits = RateLimits(
    ProtocolTypeRouter(
        {
            "http": _direct,
            "websocket": WelcomeOnly(URLRouter([re_path(r"^ws/?$", StreamConsumer.as_asgi())])),
        }
    )
)
_direct.limits = _limits.writes
application = ProxyHeadersMiddleware(cast(Any, _limits), settings.HUB_TRUSTED_PROXIES)


class HubProtocol(DirectProtocol):
    """The HTTP connections of the hub's server."""

    direct = _direct
