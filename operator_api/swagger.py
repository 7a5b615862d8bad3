"""The generated documentation of the REST endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_yasg import openapi
from drf_yasg.generators import OpenAPISchemaGenerator
from drf_yasg.views import get_schema_view

from operator_api.error_codes import ErrorCode

DESCRIPTION = """
Custody-free off-chain payments. Amounts are decimal strings in the token's smallest unit, times UNIX seconds,
addresses in bodies hexadecimal with or without `0x`, signatures 130 hexadecimal digits (r, s, v) without `0x`.

Errors of a field are `{"field": [{"message", "code"}]}`, of several fields together
`{"non_field_errors": [{"message", "code"}]}`, of a business check `[{"message", "code"}]`; everything else is
`{"detail"}`.
""".strip()


class SchemaGenerator(OpenAPISchemaGenerator):
    """Paths from the root, whatever prefix they share."""

    def determine_path_prefix(self, paths: list[str]) -> str:
        return ""


schema_view = get_schema_view(
    openapi.Info(title="NOCUST OPERATOR API", default_version="v1", description=DESCRIPTION),
    public=True,
    permission_classes=[],
    generator_class=SchemaGenerator,
)

_ERROR = openapi.Schema(
    type=openapi.TYPE_OBJECT,
    properties={
        "message": openapi.Schema(type=openapi.TYPE_STRING),
        "code": openapi.Schema(type=openapi.TYPE_STRING),
    },
)


def refusals(codes: Iterable[ErrorCode], *framework: str) -> openapi.Response:
    """The documented 400 of an endpoint: its codes of the catalogue and of the field checks."""
    lines = [f"* `{code.code}`: {code.value}" for code in codes] + [f"* `{code}`" for code in framework]
    return openapi.Response(
        "\n".join(["Refused. Codes:", *lines]), schema=openapi.Schema(type=openapi.TYPE_ARRAY, items=_ERROR)
    )


def detail(description: str) -> openapi.Response:
    """A documented error whose body is {"detail"}."""
    schema: Any = openapi.Schema(
        type=openapi.TYPE_OBJECT, properties={"detail": openapi.Schema(type=openapi.TYPE_STRING)}
    )
    return openapi.Response(description, schema=schema)
