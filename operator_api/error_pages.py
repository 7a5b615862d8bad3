"""`docs/errors.md`: the catalogue of error codes with the endpoints that answer with them, as swagger has them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from drf_yasg import openapi

from operator_api.error_advice import ADVICE
from operator_api.error_codes import ErrorCode
from operator_api.swagger import EVERYWHERE, WITH_BODY, SchemaGenerator

HEAD = """# Errors

Written by `./run.sh manage errors` from `operator_api/error_codes.py`, `operator_api/error_advice.py` and swagger;
do not edit it.

A refusal (400) is a list `[{"message", "code"}]` for a business check, `{"field": [{"message", "code"}]}` for a
field and `{"non_field_errors": [{"message", "code"}]}` for several fields together. Other errors are `{"detail"}`,
except 403: `{"code", "message"}`. Sentences may change, codes do not.
"""

FRAMEWORK = {
    "required": "a field is missing",
    "null": "a field is null",
    "blank": "a field is empty",
    "invalid": "a field has the wrong type or form",
    "min_value": "a number is too small",
    "max_value": "a number is too large",
    "max_length": "a text is too long",
    "not_a_list": "a field is no list",
    "too_many_rows": "so many transactions match that they are not searched, ordered or counted in this way",
    "unique": "the wallet has used this nonce in this eon already",
}
"""Codes of field checks; all of them are for the client's programmer."""

ELSEWHERE = {
    "404": "There is no such thing, or no such URL.",
    "405": "The URL does not take this method.",
    "500": "The hub has a bug; nothing was done. Tell the operator.",
    "503": f"`{ErrorCode.HUB_NOT_READY.code}`, `{ErrorCode.DATABASE_READ_ONLY.code}` (`code` beside `detail`),"
    " or the database does not answer. Send the same again, signed as it"
    f" is: if it was written it is refused as known (`unique`, `{ErrorCode.WALLET_ALREADY_ADMITTED.code}`,"
    f" `{ErrorCode.SWAP_ALREADY_FROZEN.code}`, `{ErrorCode.SWAP_ALREADY_CLOSED.code}`).",
}
CODE = re.compile(r"`([A-Z_]+)`")

Places = dict[ErrorCode, dict[str, list[str]]]


def document() -> openapi.Swagger:
    """The API's documentation."""
    return SchemaGenerator(openapi.Info(title="", default_version="v1")).get_schema(public=True)


def places(swagger: Any) -> Places:
    """By code and status, the endpoints that answer with it."""
    found: Places = defaultdict(lambda: defaultdict(list))
    for path, item in sorted(swagger.paths.items()):
        for method, operation in item.operations:
            for status, response in operation.responses.items():
                for name in CODE.findall(response.description):
                    found[ErrorCode[name]][status].append(f"{method.upper()} {path}")
    return found


def page() -> str:
    """The text of `docs/errors.md`."""
    found = places(document())
    lines = ["| code | meaning | status | endpoints | what to do |", "|---|---|---|---|---|"]
    for code in sorted(ErrorCode, key=lambda code: code.code):
        statuses = sorted(found[code])
        endpoints = sorted({place for status in statuses for place in found[code][status]})
        where = "<br>".join(f"`{endpoint}`" for endpoint in endpoints)
        row = [f"`{code.code}`", code.value, ", ".join(statuses), where, ADVICE[code]]
        lines.append(_row(row))
    lines += ["", "## Codes of fields", "", "| code | meaning |", "|---|---|"]
    lines += [_row([f"`{code}`", meaning]) for code, meaning in FRAMEWORK.items()]
    lines += ["", "## Other statuses", "", "| status | meaning |", "|---|---|"]
    general = {status: response.description for status, response in {**EVERYWHERE, **WITH_BODY}.items()}
    lines += [_row([status, meaning]) for status, meaning in sorted({**general, **ELSEWHERE}.items())]
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
