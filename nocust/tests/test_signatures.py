from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nocust.agreements import ActiveState, verify_active_state, verify_active_state_agreement
from nocust.errors import InvalidAmount, InvalidKey, InvalidLength, InvalidSignature, NocustError
from nocust.messages import active_state_hash, admission_hash
from nocust.signatures import (
    CURVE_ORDER,
    Signer,
    check_signature,
    is_valid,
    parse_signature,
    private_key_address,
    recover,
    sign,
)
from nocust.tests.strategies import hashes, junk

KEY = bytes.fromhex("4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d")
ADDRESS = bytes.fromhex("90f8bf6a479f320ead074411a4b0e7944ea8c9c1")
MESSAGE = bytes(range(32))
SIGNATURE = sign(MESSAGE, KEY)


def twin(signature: bytes) -> bytes:
    """The other signature of the same message and key: N - s and the other v."""
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


@given(hashes, st.integers(1, CURVE_ORDER - 1))
@settings(deadline=None)
def test_signing_recovers_the_signer(message: bytes, key: int) -> None:
    signer = Signer(key.to_bytes(32, "big"))
    signature = signer.sign(message)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= CURVE_ORDER // 2
    assert signature == sign(message, key.to_bytes(32, "big"))
    assert recover(message, signature) == recover(message, twin(signature)) == signer.address
    assert parse_signature(signature.hex()) == parse_signature("0x" + signature.hex().upper()) == signature


@given(hashes, st.binary(min_size=65, max_size=65))
def test_arbitrary_bytes_never_belong_to_the_address(message: bytes, signature: bytes) -> None:
    assert not is_valid(message, signature, ADDRESS)


@given(junk)
def test_is_valid_never_raises(value: Any) -> None:
    assert is_valid(MESSAGE, value, ADDRESS) is False
    assert is_valid(value, SIGNATURE, ADDRESS) is False
    assert is_valid(MESSAGE, SIGNATURE, value) is False


@given(st.integers(0, 64), st.integers(1, 255))
def test_a_changed_byte_makes_a_signature_invalid(position: int, change: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[position] ^= change
    assert not is_valid(MESSAGE, bytes(changed), ADDRESS)


def _with(r: int | None = None, s: int | None = None, v: int | None = None) -> bytes:
    parts = (
        SIGNATURE[:32] if r is None else r.to_bytes(32, "big"),
        SIGNATURE[32:64] if s is None else s.to_bytes(32, "big"),
        SIGNATURE[64:] if v is None else bytes((v,)),
    )
    return b"".join(parts)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE[:64],
        SIGNATURE + b"\x00",
        *(_with(v=v) for v in (0, 1, 26, 29, 30, 31, 255)),
        *(_with(r=r) for r in (0, CURVE_ORDER, 2**256 - 1)),
        *(_with(s=s) for s in (0, CURVE_ORDER, 2**256 - 1)),
    ],
)
def test_malformed_signatures(signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        check_signature(signature)
    with pytest.raises(InvalidSignature):
        recover(MESSAGE, signature)
    with pytest.raises(InvalidSignature):
        parse_signature(signature.hex())
    assert not is_valid(MESSAGE, signature, ADDRESS)


def test_r_that_is_no_point_of_the_curve() -> None:
    signature = _with(r=5)
    assert check_signature(signature) == signature
    with pytest.raises(InvalidSignature):
        recover(MESSAGE, signature)


@pytest.mark.parametrize(
    "key", [b"", bytes(32), bytes(31) + b"\x01\x00", CURVE_ORDER.to_bytes(32, "big"), "00", None]
)
def test_invalid_keys(key: Any) -> None:
    with pytest.raises(InvalidKey):
        private_key_address(key)


def test_a_signer_does_not_show_its_key() -> None:
    signer = Signer(KEY)
    assert signer.address == ADDRESS == private_key_address(KEY)
    assert KEY.hex() not in repr(signer)
    with pytest.raises(InvalidLength):
        signer.sign(b"short")


def _state(**changes: Any) -> ActiveState:
    fields: dict[str, Any] = {
        "contract": bytes(19) + b"\x01",
        "token": bytes(19) + b"\x02",
        "wallet": ADDRESS,
        "trail": 3,
        "eon": 4,
        "tx_set_root": bytes(31) + b"\x05",
        "spent": 6,
        "gained": 7,
    }
    return ActiveState(**(fields | changes))


def test_agreement_needs_both_signatures() -> None:
    operator = Signer(bytes(31) + b"\x01")
    state = _state()
    own, other = sign(state.hash(), KEY), operator.sign(state.hash())
    digest = verify_active_state_agreement(
        state, wallet_signature=twin(own), operator=operator.address, operator_signature=other
    )
    assert digest == state.hash()
    for wallet_signature, operator_signature in ((own, own), (other, other), (other, own)):
        with pytest.raises(InvalidSignature):
            verify_active_state_agreement(
                state,
                wallet_signature=wallet_signature,
                operator=operator.address,
                operator_signature=operator_signature,
            )


@pytest.mark.parametrize(
    "change",
    [
        {"contract": bytes(20)},
        {"token": bytes(20)},
        {"wallet": bytes(20)},
        {"trail": 2},
        {"eon": 5},
        {"tx_set_root": bytes(32)},
        {"spent": 5},
        {"gained": 8},
    ],
)
def test_every_field_of_a_state_is_signed(change: dict[str, Any]) -> None:
    signature = sign(_state().hash(), KEY)
    verify_active_state(_state(), signature, ADDRESS)
    with pytest.raises(InvalidSignature):
        verify_active_state(_state(**change), signature, ADDRESS)


@pytest.mark.parametrize(
    "change",
    [
        *({"trail": trail} for trail in (-1, 2**64, None, True)),
        *({"eon": eon} for eon in (-1, 2**256, "1")),
        *({"tx_set_root": root} for root in (b"", "00" * 32, bytes(33))),
        {"wallet": bytes(32)},
    ],
)
def test_states_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(NocustError):
        _state(**change).hash()
    for counter in ("spent", "gained"):
        for amount in (-1, 2**256, 1.0):
            with pytest.raises(InvalidAmount):
                _state(**{counter: amount}).hash()


def test_admission_is_the_empty_state() -> None:
    state = _state(tx_set_root=bytes(32), spent=0, gained=0)
    assert admission_hash(state.contract, state.token, ADDRESS, 3, 4) == state.hash()
    assert state.hash() != active_state_hash(state.contract, state.token, ADDRESS, 0, 4, bytes(32), 0, 0)
