"""Errors to Sentry and traces by OpenTelemetry, for those who set SENTRY_DSN or OTEL_EXPORTER_OTLP_ENDPOINT.
The packages are in requirements-tracing.txt; without these variables none of them is imported.

Neither is told anything private: no bodies, no headers, no local variables, no values in SQL statements.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from operator_api.logs import request_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

_provider: Any = None


def start() -> None:
    """Set up what the environment asks for. Raises ImproperlyConfigured when its packages are missing."""
    if settings.SENTRY_DSN:
        _start_sentry()
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise _missing("OTEL_EXPORTER_OTLP_ENDPOINT") from None
        trace(OTLPSpanExporter())


def _missing(name: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} needs the packages of requirements-tracing.txt")


def _start_sentry() -> None:
    try:
        import sentry_sdk
        from sentry_sdk.integrations.celery import CeleryIntegration
        from sentry_sdk.integrations.django import DjangoIntegration
    except ImportError:
        raise _missing("SENTRY_DSN") from None
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        server_name=settings.SERVER_NAME,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        default_integrations=True,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        traces_sample_rate=0.0,
        before_send=_strip,
    )


def _strip(event: Any, _hint: Any) -> Any:
    """What is sent of an error: where and what, not who asked with which body."""
    request = event.get("request")
    if request is not None:
        event["request"] = {key: request[key] for key in ("method", "url") if key in request}
    event.pop("user", None)
    if found := request_id.get():
        event.setdefault("tags", {})["request_id"] = found
    return event


def trace(exporter: SpanExporter, at_once: bool = False) -> None:
    """Trace requests, tasks and SQL statements from now on; spans go to the exporter, in batches or each at
    once."""
    global _provider  # noqa: PLW0603 (a process has one)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    _provider = TracerProvider(
        resource=Resource.create({"service.name": "nocust-hub", "service.instance.id": settings.SERVER_NAME}),
        sampler=ParentBased(TraceIdRatioBased(settings.TRACES_SHARE)),
    )
    processor = SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter)
    _provider.add_span_processor(processor)
    options: dict[str, Any] = {"tracer_provider": _provider}
    requests, tasks, statements = _instrumentors()
    requests.instrument(**options, response_hook=_name_request)
    tasks.instrument(**options)
    # The wheel is called psycopg2-binary, which the instrumentation does not take for psycopg2.
    statements.instrument(**options, skip_dep_check=True)
    logger.info("requests, tasks and statements are traced")


def _instrumentors() -> tuple[Any, Any, Any]:
    """Those of requests, tasks and statements; there is one each in a process."""
    from opentelemetry.instrumentation import celery, django, psycopg2

    made: list[Any] = [django.DjangoInstrumentor, celery.CeleryInstrumentor, psycopg2.Psycopg2Instrumentor]
    return made[0](), made[1](), made[2]()


def stop() -> None:
    """Trace no more, for tests."""
    global _provider  # noqa: PLW0603
    for instrumentor in _instrumentors():
        instrumentor.uninstrument()
    if _provider is not None:
        _provider.shutdown()
        _provider = None


def _name_request(span: Any, _request: Any, response: Any) -> None:
    if span is not None and span.is_recording():
        span.set_attribute("hub.request_id", response.get("X-Request-ID", ""))
