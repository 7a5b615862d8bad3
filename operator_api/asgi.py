"""HTTP and websockets on one port. HTTP runs as WSGI in a fixed set of threads (bridge.py says why), but for the
requests that come most often (direct.py)."""

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

from operator_api.bridge import Bridge
from operator_api.direct import directly
from operator_api.keys import operator_key
from operator_api.middleware_limits import RateLimits
from operator_api.origins import WelcomeOnly
from operator_api.wsgi import application as wsgi_application
from synchronizer.consumers import StreamConsumer

operator_key()  # a key that is missing or wrong stops the start, not the first transfer

_protocols = ProtocolTypeRouter(
    {
        "http": directly(
            Bridge(wsgi_application, settings.HTTP_THREADS, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        ),
        "websocket": WelcomeOnly(URLRouter([re_path(r"^ws/?$", StreamConsumer.as_asgi())])),
    }
)
application = ProxyHeadersMiddleware(cast(Any, RateLimits(_protocols)), settings.HUB_TRUSTED_PROXIES)
