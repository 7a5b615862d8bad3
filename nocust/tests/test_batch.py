"""Signatures verified together against the same ones verified one by one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nocust import batch as batches
from nocust.batch import Batch, KnownKeys, Library, sign_all
from nocust.errors import InvalidKey, InvalidLength
from nocust.signatures import CURVE_ORDER, Signer, is_valid, key_address, recover_key, sign, signing_digest
from nocust.tests.strategies import hashes
from nocust.tests.test_signatures import twin

SIGNERS = [Signer(bytes([number]) * 32) for number in range(1, 6)]
P = 2**256 - 2**32 - 977
"""The prime of the curve's field."""


def key_of(signer: Signer) -> bytes:
    return recover_key(bytes(32), signer.sign(bytes(32)))


KEYS = KnownKeys()
for each in SIGNERS:
    KEYS.add(each.address, key_of(each))


@pytest.fixture(scope="module")
def library() -> Library:
    if not batches.is_available():
        pytest.skip("the library is not built: see .hub/install.log")
    return Library(batches.library_file())


@dataclass(frozen=True)
class Claim:
    """What a signature is said to be of, and whose."""

    message: bytes
    signature: bytes
    address: bytes


def number(signature: bytes, position: int) -> int:
    return int.from_bytes(signature[position : position + 32], "big")


def with_r(signature: bytes, r: int) -> bytes:
    return r.to_bytes(32, "big") + signature[32:]


def with_s(signature: bytes, s: int) -> bytes:
    return signature[:32] + s.to_bytes(32, "big") + signature[64:]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda signature: signature,
    "high s": twin,
    "the other v": lambda signature: signature[:64] + bytes((55 - signature[64],)),
    "high s alone": lambda signature: with_s(signature, CURVE_ORDER - number(signature, 32)),
    "next s": lambda signature: with_s(signature, number(signature, 32) % (CURVE_ORDER - 1) + 1),
    "next r": lambda signature: with_r(signature, number(signature, 0) % (CURVE_ORDER - 1) + 1),
    "r is 5, of no point": lambda signature: with_r(signature, 5),
    "r is zero": lambda signature: with_r(signature, 0),
    "s is zero": lambda signature: with_s(signature, 0),
    "r beyond the order": lambda signature: with_r(signature, CURVE_ORDER + 1),
    "s is the order": lambda signature: with_s(signature, CURVE_ORDER),
    "v is 0": lambda signature: signature[:64] + b"\0",
    "v is 29": lambda signature: signature[:64] + b"\x1d",
    "too short": lambda signature: signature[:64],
}


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    signer, message = draw(st.sampled_from(SIGNERS)), draw(hashes)
    signature = CHANGES[draw(st.sampled_from(sorted(CHANGES)) | st.just("none"))](signer.sign(message))
    said = draw(st.just(message) | st.just(message) | hashes)
    address = draw(st.just(signer) | st.just(signer) | st.sampled_from(SIGNERS)).address
    return Claim(said, signature, address)


def taken(claimed: list[Claim], library: Library | None, keys: KnownKeys = KEYS) -> bool:
    batch = Batch(library, keys)
    at_once = [batch.is_valid(claim.message, claim.signature, claim.address) for claim in claimed]
    return batch.holds() and all(at_once)


def valid(claimed: list[Claim]) -> bool:
    return all(is_valid(claim.message, claim.signature, claim.address) for claim in claimed)


@given(st.lists(claims(), max_size=6))
@example([])
@settings(deadline=None, max_examples=300)
def test_together_as_one_by_one(library: Library, claimed: list[Claim]) -> None:
    assert taken(claimed, library) == taken(claimed, None) == valid(claimed)


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_among_good_ones(library: Library, change: str) -> None:
    message = secrets.token_bytes(32)
    good = [Claim(message, signer.sign(message), signer.address) for signer in SIGNERS]
    for place in range(len(good)):
        signature = CHANGES[change](good[place].signature)
        claimed = [*good[:place], Claim(message, signature, good[place].address), *good[place + 1 :]]
        assert taken(claimed, library) == valid(claimed) == (change in ("none", "high s"))


@pytest.mark.parametrize("count", [1, 2, 3, 43, 44, 45, 87, 88, 89, 200, 1000])
def test_any_number_and_any_place(library: Library, count: int) -> None:
    """44 signatures of different keys are where the algorithm changes (88 points)."""
    good, keys = [], KnownKeys()
    for _ in range(count):
        signer, message = Signer(secrets.token_bytes(32)), secrets.token_bytes(32)
        keys.add(signer.address, key_of(signer))
        good.append(Claim(message, signer.sign(message), signer.address))
    assert taken(good, library, keys)
    for place in {0, count // 2, count - 1}:
        wrong = Claim(bytes(32), good[place].signature, good[place].address)
        assert not taken([*good[:place], wrong, *good[place + 1 :]], library, keys)


def test_errors_that_cancel_each_other_out(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """With known factors two digests could be moved so that the sum stays right."""
    digests, signatures = [], [SIGNERS[0].sign(bytes([each]) * 32) for each in (1, 2)]
    for direction, signature, message in zip((1, -1), signatures, (b"\1" * 32, b"\2" * 32), strict=True):
        moved = int.from_bytes(signing_digest(message), "big") + direction * 1000 * number(signature, 32)
        digests.append((moved % CURVE_ORDER).to_bytes(32, "big"))
    claimed = b"".join(digests), b"".join(signatures), 2 * key_of(SIGNERS[0])
    assert not any(library.are_valid(*claimed) for _ in range(20))
    monkeypatch.setattr(os, "urandom", lambda length: (bytes(15) + b"\1") * (length // 16))
    assert library.are_valid(*claimed)


def test_keys_that_are_none_are_refused(library: Library) -> None:
    message = bytes(32)
    signature, key = SIGNERS[0].sign(message), key_of(SIGNERS[0])
    digest = signing_digest(message)
    assert library.are_valid(digest, signature, key)
    off_the_curve = key[:63] + bytes((key[63] ^ 1,))
    for wrong in (off_the_curve, P.to_bytes(32, "big") + key[32:], bytes(64), b"\xff" * 64):
        assert not library.are_valid(digest, signature, wrong)


def test_an_unknown_key_is_found_at_once(library: Library) -> None:
    signer, message, keys = SIGNERS[0], b"\1" * 32, KnownKeys()
    signature = signer.sign(message)
    batch = Batch(library, keys)
    assert not batch.is_valid(bytes(32), signature, signer.address)
    assert keys.get(signer.address) is None
    assert batch.is_valid(message, signature, signer.address)
    assert batch.holds()
    key = keys.get(signer.address)
    assert key is not None
    assert key_address(key) == signer.address
    assert not batch.is_valid(bytes(32), signature, signer.address)
    assert batch.holds()
    assert batch.is_valid(message, signature, signer.address)
    later = Batch(library, keys)
    assert later.is_valid(bytes(32), signature, signer.address)  # until it is asked
    assert not later.holds()


def test_malformed_arguments_are_no_exceptions(library: Library) -> None:
    batch = Batch(library, KEYS)
    address = SIGNERS[0].address
    signature = SIGNERS[0].sign(bytes(32))
    assert not batch.is_valid(b"short", signature, address)
    assert not batch.is_valid(bytes(32), b"", address)
    assert not batch.is_valid(bytes(32), signature, b"no address")
    assert batch.is_valid(bytes(32), signature, address)
    assert batch.holds()


def test_without_a_library_nothing_is_put_off() -> None:
    batch = Batch(None, KnownKeys())
    signature = SIGNERS[0].sign(bytes(32))
    assert batch.is_valid(bytes(32), signature, SIGNERS[0].address)
    assert not batch.is_valid(b"\1" * 32, signature, SIGNERS[0].address)
    assert batch.holds()


def test_keys_that_are_not_asked_for_are_forgotten() -> None:
    keys = KnownKeys(most=6)
    for each in range(1000):
        keys.add(each.to_bytes(2, "big"), b"key")
        assert keys.get(b"\0\0") == b"key"
        assert keys.get(max(each - 1, 0).to_bytes(2, "big")) == b"key"
    known = [each for each in range(1000) if each.to_bytes(2, "big") in keys.addresses()]
    assert 3 <= len(known) <= 6
    for each in range(100):  # what is known takes no other's place
        keys.add(b"\0\0", bytes([each]))
    assert len(keys.addresses()) == len(known)
    assert keys.get(b"\0\0") == b"\x63"


def test_threads_share_the_library(library: Library) -> None:
    def work(seed: int) -> bool:
        messages = [bytes([seed, each]) * 16 for each in range(60)]
        signed = [
            Claim(message, signer.sign(message), signer.address)
            for message, signer in zip(messages, 12 * SIGNERS, strict=True)
        ]
        wrong = replace(signed[0], message=b"\xff" * 32)
        return taken(signed, library) and not taken([*signed, wrong], library)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))


def test_whose_signature_is_not_valid_spoils_one_batch_only(library: Library) -> None:
    keys = KnownKeys()
    forged, other = good(64)[0], good(64)[-1]
    for claim in (forged, other):
        keys.add(claim.address, recover_key(claim.message, claim.signature))
    forged = replace(forged, message=b"\xff" * 32)
    batch = Batch(library, keys)
    assert batch.is_valid(forged.message, forged.signature, forged.address)
    assert batch.is_valid(other.message, other.signature, other.address)
    assert not batch.holds()
    verify = batch.verifier()
    assert not verify(forged.message, forged.signature, forged.address)
    assert verify(other.message, other.signature, other.address)
    for _ in range(2):
        again = Batch(library, keys)
        assert not again.is_valid(forged.message, forged.signature, forged.address)
        assert again.is_valid(other.message, other.signature, other.address)
        assert again.holds()
    assert taken([good(64)[0]], library, keys)
    assert keys.addresses() == {forged.address, other.address}


def good(count: int) -> list[Claim]:
    signers = [SIGNERS[number // 2 % len(SIGNERS)] for number in range(count)]
    messages = [number.to_bytes(32, "big") for number in range(1, count + 1)]
    return [
        Claim(message, signer.sign(message), signer.address)
        for message, signer in zip(messages, signers, strict=True)
    ]


def asked(library: Library | None, claimed: list[Claim]) -> Batch:
    keys = KnownKeys()
    for signer in SIGNERS:
        keys.add(signer.address, key_of(signer))
    batch = Batch(library, keys)
    for claim in claimed:
        batch.is_valid(claim.message, claim.signature, claim.address)
    return batch


@pytest.mark.parametrize("wrong", [{0}, {70}, {127}, {3, 64, 65}, set(range(0, 128, 5)), set(range(128))])
def test_the_bad_ones_are_found(library: Library, wrong: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = good(128)
    for place in wrong:
        claimed[place] = replace(claimed[place], message=b"\xff" * 32)
    batch = asked(library, claimed)
    assert not batch.holds()
    alone: list[bytes] = []
    sums: list[int] = []
    real = library.are_valid

    def count_one(message: bytes, signature: bytes, address: bytes) -> bool:
        alone.append(message)
        return is_valid(message, signature, address)

    def count_sum(digests: bytes, signatures: bytes, keys: bytes) -> bool:
        sums.append(len(digests) // 32)
        return real(digests, signatures, keys)

    monkeypatch.setattr(batches, "is_valid", count_one)
    monkeypatch.setattr(library, "are_valid", count_sum)
    verify = batch.verifier()
    for place, claim in enumerate(claimed):
        assert verify(claim.message, claim.signature, claim.address) == (place not in wrong)
    assert sum(sums) <= batches.MOST_AGAIN * len(claimed)
    assert len(alone) < 16 or len(wrong) > 1


def test_nothing_else_passes_for_verified(library: Library) -> None:
    """A claim that was not in a part that holds is verified on its own."""
    claimed = good(64)
    claimed[5] = replace(claimed[5], message=b"\xff" * 32)
    verify = asked(library, claimed).verifier()
    last = claimed[-1]
    assert verify(last.message, last.signature, last.address)
    assert not verify(last.message, last.signature, claimed[0].address)
    assert not verify(claimed[0].message, last.signature, last.address)
    assert not verify(last.message, claimed[0].signature, last.address)
    assert asked(None, claimed).verifier()(last.message, last.signature, last.address)


@given(st.lists(hashes, max_size=5), st.integers(1, CURVE_ORDER - 1))
@settings(deadline=None)
def test_signed_together_as_one_by_one(library: Library, messages: list[bytes], key: int) -> None:
    private = key.to_bytes(32, "big")
    expected = [sign(message, private) for message in messages]
    assert sign_all(messages, private, library) == sign_all(messages, private, None) == expected


@pytest.mark.parametrize("key", [bytes(32), CURVE_ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_what_is_no_key_signs_nothing(library: Library, key: bytes) -> None:
    for each in (library, None):
        with pytest.raises(InvalidKey):
            sign_all([bytes(32)], key, each)


def test_what_has_not_its_length_is_not_read(library: Library) -> None:
    signature, key = SIGNERS[0].sign(bytes(32)), key_of(SIGNERS[0])
    digest = signing_digest(bytes(32))
    for arguments in (
        (digest[:31], signature, key),
        (digest, signature[:64], key),
        (2 * digest, signature, key),
    ):
        with pytest.raises(InvalidLength):
            library.are_valid(*arguments)
    for digests, private in ((digest, b"short"), (digest[:5], bytes(32))):
        with pytest.raises(InvalidLength):
            library.sign(digests, private)
