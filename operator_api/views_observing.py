"""The endpoints for those who run the hub."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, JsonResponse
from drf_yasg.utils import swagger_auto_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from operator_api import health, metrics, status
from operator_api.swagger import detail

TAGS = ["operation"]
LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


class _Fields(serializers.Serializer[Any]):
    """The shape of an answer, for swagger."""


class BlocksSerializer(_Fields):
    head = serializers.IntegerField(help_text="newest block seen")
    confirmed = serializers.IntegerField(help_text="newest block whose events are applied")
    node = serializers.IntegerField(allow_null=True, help_text="newest block of the node")
    behind = serializers.IntegerField(help_text="blocks of the node that are not read")
    eon_first = serializers.IntegerField(help_text="first block of the eon")
    eon_length = serializers.IntegerField()
    newest_seen_seconds_ago = serializers.FloatField()

    class Meta:
        ref_name = "StatusBlocks"


class StandingAlarmSerializer(_Fields):
    subject = serializers.CharField()
    severity = serializers.ChoiceField(["warning", "critical"])
    meaning = serializers.CharField()
    cases = serializers.IntegerField()
    since = serializers.IntegerField(help_text="UNIX seconds")
    runbook = serializers.CharField()

    class Meta:
        ref_name = "StatusAlarm"


class StatusSerializer(_Fields):
    server = serializers.CharField()
    time = serializers.IntegerField(help_text="UNIX seconds")
    state = serializers.ChoiceField(["starting", "running", "behind", "forked", "halted", "maintenance"])
    halted = serializers.BooleanField()
    forked = serializers.BooleanField()
    behind = serializers.BooleanField()
    maintenance = serializers.BooleanField()
    eon = serializers.IntegerField(allow_null=True)
    checkpoint = serializers.IntegerField(allow_null=True, help_text="newest eon with a checkpoint")
    blocks = BlocksSerializer(allow_null=True)
    alarms = StandingAlarmSerializer(many=True)
    heartbeats = serializers.DictField(
        child=serializers.FloatField(), help_text="seconds since each periodic task ended"
    )
    queues = serializers.DictField(child=serializers.FloatField(), help_text="what waits, by kind")

    class Meta:
        ref_name = "Status"


class HealthSerializer(_Fields):
    status = serializers.ChoiceField(["ok", "unavailable"])
    problems = serializers.DictField(child=serializers.CharField(), help_text="in words, by what is not well")

    class Meta:
        ref_name = "Health"


@swagger_auto_schema(
    method="get",
    tags=TAGS,
    responses={200: StatusSerializer, 503: detail("PostgreSQL does not answer.")},
)
@api_view(["GET"])
def hub_status(request: Request) -> Response:
    """What the hub is doing: eon and blocks, alarms that stand, ages of its periodic tasks, sizes of its queues."""
    try:
        return Response(status.document())
    except (DatabaseError, InterfaceError):
        return Response({"detail": "PostgreSQL does not answer."}, status=503)


@swagger_auto_schema(method="get", tags=TAGS, responses={200: HealthSerializer})
@api_view(["GET"])
def live(request: Request) -> Response:
    """Whether this process answers. It asks nobody else: restart it when it does not."""
    return Response({"status": "ok", "problems": {}})


@swagger_auto_schema(method="get", tags=TAGS, responses={200: HealthSerializer, 503: HealthSerializer})
@api_view(["GET"])
def ready(request: Request) -> Response:
    """Whether this process can serve everything: PostgreSQL and Redis answer, migrations are applied, and the chain
    has been read and is not too far ahead. Send it no traffic while it can't."""
    found = health.problems()
    return Response(
        {"status": "unavailable" if found else "ok", "problems": found}, status=503 if found else 200
    )


def prometheus(request: HttpRequest) -> HttpResponse:
    """Metrics, for those whom HUB_METRICS allows: everybody (`on`), or who asks from this host and through no proxy
    (`local`)."""
    allowed = settings.HUB_METRICS == "on" or (settings.HUB_METRICS == "local" and _is_local(request))
    if not allowed:
        return JsonResponse({"detail": "Not found."}, status=404)
    if request.method not in {"GET", "HEAD"}:
        return JsonResponse({"detail": f'Method "{request.method}" not allowed.'}, status=405)
    text, kind = metrics.render()
    return HttpResponse(text, content_type=kind)


def _is_local(request: HttpRequest) -> bool:
    meta = request.META
    return meta.get("REMOTE_ADDR") in LOOPBACK and not any(name in meta for name in FORWARDED)
