"""The generated documentation of the REST endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_yasg import openapi
from drf_yasg.generators import OpenAPISchemaGenerator
from drf_yasg.inspectors import ReferencingSerializerInspector, ViewInspector
from drf_yasg.views import get_schema_view

from operator_api.error_codes import ErrorCode

DESCRIPTION = """
Custody-free off-chain payments. Amounts are decimal strings in the token's smallest unit, times UNIX seconds,
addresses in bodies hexadecimal with or without `0x`, signatures 130 hexadecimal digits (r, s, v) without `0x`.

Errors of a field are `{"field": [{"message", "code"}]}`, of several fields together
`{"non_field_errors": [{"message", "code"}]}`, of a business check `[{"message", "code"}]`; everything else is
`{"detail"}`.

Writes and expensive reads tell in `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds)
how many more may come from one IP address; 429 says in `Retry-After` (seconds) when to come back.

Events are told through a websocket, [/ws/](/websocket/).
""".strip()


class OneOf(openapi.Schema):
    """One of several shapes. Swagger 2 has no word for it; validators know the one of JSON schema."""

    def __init__(self, description: str, *shapes: dict[str, Any]) -> None:
        super().__init__(type=openapi.TYPE_OBJECT, description=description)
        del self["type"]
        self["oneOf"] = list(shapes)


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT = {"type": "string"}
_ERROR = _object(message=_TEXT, code=_TEXT)
_ERRORS = {"type": "array", "items": _ERROR, "minItems": 1}
_DETAIL = _object(detail=_TEXT)


def _nested(depth: int) -> dict[str, Any]:
    """Errors by field; those of an object in a field, or of each in a list, are such an object again: empty if the
    one in the list is right."""
    inside: list[dict[str, Any]] = [_ERRORS]
    if depth:
        deeper = _nested(depth - 1)
        inside += [deeper, {"type": "array", "items": {"anyOf": [_ERRORS, deeper]}, "minItems": 1}]
    return {"type": "object", "additionalProperties": {"anyOf": inside}}


_REFUSAL = OneOf(
    "The errors of fields, a list of errors, or why the body could not be read.",
    _ERRORS,
    {**_nested(2), "minProperties": 1},
    _DETAIL,
)


def refusals(codes: Iterable[ErrorCode], *framework: str) -> openapi.Response:
    """The documented 400 of an endpoint: its codes of the catalogue and of the field checks."""
    lines = [f"* `{code.code}`: {code.value}" for code in codes] + [f"* `{code}`" for code in framework]
    return openapi.Response("\n".join(["Refused. Codes:", *lines]), schema=_REFUSAL)


def detail(description: str) -> openapi.Response:
    """A documented error whose body is {"detail"}."""
    schema: Any = openapi.Schema(
        type=openapi.TYPE_OBJECT,
        properties={"detail": openapi.Schema(type=openapi.TYPE_STRING)},
        required=["detail"],
    )
    return openapi.Response(description, schema=schema)


def text(description: str) -> openapi.Response:
    """A documented answer that is a JSON string."""
    return openapi.Response(description, schema=openapi.Schema(type=openapi.TYPE_STRING))


STOPPED = [
    ErrorCode.CHAIN_HALTED,
    ErrorCode.CHAIN_FORKED,
    ErrorCode.CHAIN_BEHIND,
    ErrorCode.HUB_MAINTENANCE,
]
"""Why nothing new is accepted from anybody."""


def not_ready() -> openapi.Response:
    """The documented 503 of an endpoint that writes what depends on where the chain stands."""
    return _unavailable(ErrorCode.HUB_NOT_READY, ErrorCode.DATABASE_READ_ONLY)


def read_only() -> openapi.Response:
    """The documented 503 of another endpoint that writes."""
    return _unavailable(ErrorCode.DATABASE_READ_ONLY)


def _unavailable(*codes: ErrorCode) -> openapi.Response:
    return detail("\n".join(f"* `{code.code}`: {code.value}" for code in codes))


def unsigned_terms(who: str) -> openapi.Response:
    """The documented 403 of an endpoint for those who signed the terms of service."""
    code = ErrorCode.INVALID_TOS_SIGNATURE
    schema: Any = openapi.Schema(
        type=openapi.TYPE_OBJECT,
        properties={name: openapi.Schema(type=openapi.TYPE_STRING) for name in ("code", "message")},
        required=["code", "message"],
    )
    return openapi.Response(f"`{code.code}`: {who} has not signed the terms of service.", schema=schema)


_SECONDS = {"Retry-After": {"type": "integer", "description": "seconds"}}
# The server reads a request's body, or refuses to, before it looks at the method: a GET may have one.
EVERYWHERE = {
    "406": detail("The client takes no JSON."),
    "408": detail("The head or the body did not arrive in time."),
    "413": detail("The body is too large."),
    "429": openapi.Response(
        "Too many requests of this IP address, or of the wallet's owner.",
        schema=detail("").schema,
        headers=_SECONDS,
    ),
    "503": detail("The hub cannot serve this now, its database for one does not answer: try again."),
}
WITH_BODY = {
    "400": openapi.Response("The body could not be read.", schema=_REFUSAL),
    "415": detail("The body is neither JSON nor a form."),
}
WITH_NAMES = {"404": detail("What the path names does not exist.")}


class NullableInspector(ReferencingSerializerInspector):
    """A nested object that may be null is said to be: what stands beside a reference counts for nothing."""

    def field_to_swagger_object(
        self, field: Any, swagger_object_type: Any, use_references: bool, **kwargs: Any
    ) -> Any:
        found = super().field_to_swagger_object(field, swagger_object_type, use_references, **kwargs)
        if not isinstance(found, openapi.SchemaRef) or not field.allow_null:
            return found
        nullable = openapi.Schema(type=openapi.TYPE_OBJECT, x_nullable=True)
        del nullable["type"]
        nullable["allOf"] = [found]
        return nullable


ViewInspector.field_inspectors = [
    NullableInspector if inspector is ReferencingSerializerInspector else inspector
    for inspector in ViewInspector.field_inspectors
]


class SchemaGenerator(OpenAPISchemaGenerator):
    """Paths from the root, whatever prefix they share; errors common to all endpoints are added here."""

    def determine_path_prefix(self, paths: list[str]) -> str:
        return ""

    def get_schema(self, request: Any = None, public: bool = False) -> openapi.Swagger:
        swagger = super().get_schema(request, public)
        for name, path in swagger.paths.items():
            for method, operation in path.operations:
                common = EVERYWHERE if method == "get" else {**WITH_BODY, **EVERYWHERE}
                if "{" in name:
                    common = {**common, **WITH_NAMES}
                for status, response in common.items():
                    operation.responses.setdefault(status, response)
        return swagger


schema_view = get_schema_view(
    openapi.Info(title="NOCUST OPERATOR API", default_version="v1", description=DESCRIPTION),
    public=True,
    permission_classes=[],
    generator_class=SchemaGenerator,
)
