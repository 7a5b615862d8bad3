import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nocust import encoding
from nocust.addresses import address_hash, check_address, parse_address, to_checksum
from nocust.encoding import check_amount, hex_to_bytes, keccak, parse_amount, u8, u32, u64, u256
from nocust.errors import (
    InvalidAddress,
    InvalidAmount,
    InvalidHex,
    InvalidInteger,
    InvalidLength,
    NocustError,
)
from nocust.signatures import parse_signature
from nocust.tests.strategies import addresses, amounts, junk

CHECKSUMMED = (
    "0x90F8bf6A479f320ead074411a4B0e7944Ea8c9C1",
    "0x9561C133DD8580860B6b7E504bC5Aa500f0f06a7",
    "0xe982E462b094850F12AF94d21D470e21bE9D0E9C",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
)


def test_keccak_is_the_ethereum_variant() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@pytest.mark.parametrize(("encode", "bits"), [(u8, 8), (u32, 32), (u64, 64), (u256, 256)])
def test_integers_keep_their_width_and_bounds(encode: Callable[[int], bytes], bits: int) -> None:
    assert encode(0) == bytes(bits // 8)
    assert encode(2**bits - 1) == b"\xff" * (bits // 8)
    refused: list[Any] = [-1, 2**bits, 10**5000, True, 1.0, "1", None]
    for value in refused:
        with pytest.raises(InvalidInteger):
            encode(value)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, 0),
        (2**256 - 1, 2**256 - 1),
        ("0", 0),
        ("007", 7),
        (" 12\n", 12),
        ("1.5e+21", 15 * 10**20),
        ("1.500000000000000000001e+21", 1500000000000000000001),
        ("1E3", 1000),
        ("1e0", 1),
        ("0e5", 0),
        ("0" * 100 + "1", 1),
        (str(2**256 - 1), 2**256 - 1),
    ],
)
def test_amounts_of_the_wire(value: str | int, amount: int) -> None:
    assert parse_amount(value) == amount


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "+1",
            "-1",
            "-0",
            "1.0",
            "0.5",
            ".5",
            "5.",
            "1e-3",
            "10e-1",
            "1e",
            "e5",
            "1_000",
            "1 0",
            "0x10",
        ),
        *(
            "NaN",
            "Infinity",
            "\uff11",
            "²",
            "1e999999999",
            "0e999999999",
            "1e" + "9" * 200,
            "9" * 81,
            "1" * 5000,
        ),
        *(str(2**256), "1e78", "1.5e+21.0"),
        *(-1, 2**256, True, False, 1.0, 1e21, None, b"1", [], {}),
    ],
)
def test_amounts_refused(value: Any) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(value)


def test_numbers_too_long_to_print_are_refused() -> None:
    for value in (10**5000, -(10**5000)):
        with pytest.raises(InvalidAmount):
            parse_amount(value)
        with pytest.raises(InvalidInteger):
            u256(value)


@given(st.integers(0, 10**78), st.integers(0, 77))
def test_exponent_notation_means_the_same_number(value: int, places: int) -> None:
    digits = str(value).zfill(places + 1)
    text = f"{digits[:-places]}.{digits[-places:]}e+{places}" if places else f"{value}e0"
    if value < 2**256:
        assert parse_amount(text) == value
    else:
        with pytest.raises(InvalidAmount):
            parse_amount(text)


@given(amounts)
def test_decimal_text_round_trip(amount: int) -> None:
    assert parse_amount(str(amount)) == parse_amount(amount) == check_amount(amount) == amount
    assert int.from_bytes(u256(amount), "big") == amount


@given(junk)
def test_parsers_raise_nothing_but_nocust_errors(value: Any) -> None:
    for parse in (
        parse_amount,
        parse_address,
        parse_signature,
        check_amount,
        check_address,
        to_checksum,
        address_hash,
        keccak,
        u64,
        u256,
        encoding.check_bytes,
        encoding.check_hashes,
    ):
        with contextlib.suppress(NocustError):
            parse(value)
    with contextlib.suppress(NocustError):
        hex_to_bytes(value, 4)


def test_hex_has_one_length_and_an_optional_prefix() -> None:
    assert hex_to_bytes("0xDEadbeef", 4) == hex_to_bytes("deadbeef", 4) == bytes.fromhex("deadbeef")
    for text in ("deadbee", "deadbeef00", "0x", ""):
        with pytest.raises(InvalidLength):
            hex_to_bytes(text, 4)
    for text in ("deadbeeg", "de ad be", "dé" * 4):
        with pytest.raises(InvalidHex):
            hex_to_bytes(text, 4)


@pytest.mark.parametrize("text", CHECKSUMMED)
def test_checksum_of_known_addresses(text: str) -> None:
    for spelling in (text, text[2:], text.lower(), text[2:].upper()):
        assert to_checksum(parse_address(spelling)) == text


@given(addresses)
def test_addresses_round_trip(address: bytes) -> None:
    assert parse_address(to_checksum(address)) == parse_address(address) == address
    assert address_hash(address) == keccak(address)


@pytest.mark.parametrize(
    "value", ["", "0x", "00" * 19, "00" * 21, "zz" * 20, b"", bytes(19), bytes(21), None, 0]
)
def test_addresses_refused(value: Any) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(value)
