"""What clients send, at its edges."""

from __future__ import annotations

import io

import pytest
from rest_framework.exceptions import ErrorDetail, ParseError
from rest_framework.exceptions import ValidationError as Invalid

from operator_api.input_fields import AmountInput, SignatureText
from operator_api.rest import JSONParser


def test_amounts_as_json_integers_keep_every_digit() -> None:
    body = JSONParser().parse(
        io.BytesIO(b'{"amount": 115792089237316195423570985008687907853269984665640564039457}')
    )
    assert AmountInput().to_internal_value(body["amount"]) == int(
        "115792089237316195423570985008687907853269984665640564039457"
    )


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b'{"a": Infinity}', b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b"\xff"]
)
def test_what_is_not_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ParseError):
        JSONParser().parse(io.BytesIO(body))


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "blank"), ("0" * 131, "max_length"), (12, "invalid"), (None, "invalid"), ([], "invalid")],
)
def test_signatures_that_are_no_text_of_130_digits(text: object, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        SignatureText().to_internal_value(text)
    (detail,) = refused.value.detail
    assert isinstance(detail, ErrorDetail)
    assert detail.code == code


def test_a_signature_that_is_not_hexadecimal_signs_nothing() -> None:
    assert SignatureText().to_internal_value("zz" * 65) == b""
    assert SignatureText().to_internal_value("ab" * 65) == b"\xab" * 65
