"""HTTP and websockets on one port.

HTTP runs as WSGI in a fixed set of threads, because each of those keeps its database connection: under Django's
own ASGI handler psycopg2 opens one a request and a burst exhausts PostgreSQL.
"""

import os

from a2wsgi import WSGIMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "operator_api.settings")

from operator_api.wsgi import application as wsgi_application  # noqa: E402  (needs the settings named above)

from django.conf import settings  # noqa: E402
from synchronizer.consumers import StreamConsumer  # noqa: E402  (needs the apps loaded)

application = ProtocolTypeRouter(
    {
        "http": WSGIMiddleware(wsgi_application, workers=settings.HTTP_THREADS),
        "websocket": URLRouter([re_path(r"^ws/?$", StreamConsumer.as_asgi())]),
    }
)
