"""HTTP and websockets on one port.

HTTP runs as WSGI in a fixed set of threads, because each of those keeps its database connection: under Django's
own ASGI handler psycopg2 opens one a request and a burst exhausts PostgreSQL.
"""

import os
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")

from django.conf import settings

from operator_api.keys import operator_key
from operator_api.wsgi import application as wsgi_application
from synchronizer.consumers import StreamConsumer

operator_key()  # a key that is missing or wrong stops the start, not the first transfer

application = ProtocolTypeRouter(
    {
        "http": WSGIMiddleware(cast(Any, wsgi_application), workers=settings.HTTP_THREADS),
        "websocket": URLRouter([re_path(r"^ws/?$", StreamConsumer.as_asgi())]),
    }
)
