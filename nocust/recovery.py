"""Getting a wallet's money out of a halted commit-chain (``spec/contract.md`` §4), with nothing but its bundle.

A recovery bundle is one JSON document that a hub gives for a wallet at any time. `read_bundle` checks all that can
be checked without a node: the proofs lead to the checkpoints they name, the call data say what the proofs say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nocust.addresses import parse_address
from nocust.balances import verify_account_allotment
from nocust.encoding import check_bytes, check_hashes, hex_to_bytes, keccak, parse_amount, u64, u256
from nocust.errors import InvalidValue, NocustError

VERSION = 1
ALL_FUNDS = "recoverAllFunds"
PARENT_CHAIN_FUNDS = "recoverOnlyParentChainFunds"
_ALL_FUNDS_TYPES = "address,address,bytes32[2],uint64,bytes32[],bytes32[],uint256[],uint256[2],uint256[3]"
_HEAD_WORDS = 13

T = TypeVar("T")


class InvalidBundle(InvalidValue):
    """The document is no recovery bundle, or contradicts itself; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllotmentProof:
    """A wallet's leaf in the checkpoint of `eon`, with its path. Amounts in smallest units."""

    eon: int
    trail: int
    left: int
    right: int
    active_state_checksum: bytes
    passive_checksum: bytes
    passive_amount: int
    passive_marker: int
    allotment_chain: Sequence[bytes]
    membership_chain: Sequence[bytes]
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Way:
    """What to call while the contract's lastSubmissionEon() is `last_submission_eon`: the proof is then that of
    the final checkpoint, whose root is `root`."""

    last_submission_eon: int
    root: bytes
    proof: AllotmentProof
    calldata: bytes

    @property
    def allotment(self) -> int:
        """What the checkpoint allots, in smallest units."""
        return self.proof.right - self.proof.left


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked recovery bundle. `parent_chain_calldata` pays what needs no proof; calling it twice pays once.
    `last_submission_eon` is what the contract's was when the bundle was made."""

    contract: bytes
    chain_id: int
    token: bytes
    wallet: bytes
    ways: tuple[Way, ...]
    parent_chain_calldata: bytes
    last_submission_eon: int

    def way(self, last_submission_eon: int) -> Way | None:
        """The way that fits the contract's state, or None."""
        return next((way for way in self.ways if way.last_submission_eon == last_submission_eon), None)

    def is_of(self, last_submission_eon: int) -> bool:
        """Whether a way would be here for this state of the contract if the final checkpoint knew the wallet: a
        bundle tells of the two that may be final when it is needed."""
        return self.last_submission_eon <= last_submission_eon <= self.last_submission_eon + 1


# ---- calls ------------------------------------------------------------------------------------------------------


def selector(name: str, types: str) -> bytes:
    """The first four bytes of a call."""
    return keccak(f"{name}({types})".encode())[:4]


def recover_all_funds_call(token: bytes, wallet: bytes, proof: AllotmentProof) -> bytes:
    """Call data that pay the wallet its allotment and what the parent chain knows of it, once. Anybody may send
    them. Raises InvalidValue."""
    tails = [_hashes(proof.allotment_chain), _hashes(proof.membership_chain), _numbers(proof.values)]
    offsets, end = [], 32 * _HEAD_WORDS
    for tail in tails:
        offsets.append(u256(end))
        end += len(tail)
    head = [
        _address(token),
        _address(wallet),
        check_bytes(proof.active_state_checksum),
        check_bytes(proof.passive_checksum),
        bytes(24) + u64(proof.trail),
        *offsets,
        u256(proof.left),
        u256(proof.right),
        u256(0),
        u256(proof.passive_amount),
        u256(proof.passive_marker),
    ]
    return selector(ALL_FUNDS, _ALL_FUNDS_TYPES) + b"".join([*head, *tails])


def recover_parent_chain_funds_call(token: bytes, wallet: bytes) -> bytes:
    """Call data that pay deposits and requests that no final checkpoint knows; for wallets without a proof."""
    return selector(PARENT_CHAIN_FUNDS, "address,address") + _address(token) + _address(wallet)


def _address(address: bytes) -> bytes:
    return bytes(12) + check_bytes(address, 20)


def _hashes(hashes: Sequence[bytes]) -> bytes:
    check_hashes(hashes)
    return u256(len(hashes)) + b"".join(hashes)


def _numbers(numbers: Sequence[int]) -> bytes:
    return u256(len(numbers)) + b"".join(map(u256, numbers))


# ---- reading a bundle -------------------------------------------------------------------------------------------


def read_bundle(document: Any) -> Bundle:
    """The bundle that a parsed JSON document holds. Raises InvalidBundle when a part is missing, a proof does not
    lead to its checkpoint or call data differ from it."""
    if not isinstance(document, Mapping):
        raise InvalidBundle("a recovery bundle is a JSON object")
    if document.get("version") != VERSION:
        raise InvalidBundle(
            f"bundles of version {VERSION} are understood, this one is {document.get('version')!r}"
        )
    contract, token, wallet = (
        _field(document, name, parse_address) for name in ("contract", "token", "wallet")
    )
    parent_chain = _calldata(_field(document, "parent_chain", _mapping))
    if parent_chain != recover_parent_chain_funds_call(token, wallet):
        raise InvalidBundle("parent_chain: the call data are not those of this wallet")
    token_trail = _field(document, "token_trail", _integer)
    ways = tuple(
        _read_way(entry, contract, token, wallet, token_trail) for entry in _field(document, "ways", _list)
    )
    chain_id, last = (_field(document, name, _integer) for name in ("chain_id", "last_submission_eon"))
    return Bundle(contract, chain_id, token, wallet, ways, parent_chain, last)


def _read_way(entry: Any, contract: bytes, token: bytes, wallet: bytes, token_trail: int) -> Way:
    fields = _mapping(entry)
    proof = _field(fields, "merkle_proof", _read_proof)
    root = _field(fields, "merkle_root", _hash)
    last = _field(fields, "last_submission_eon", _integer)
    where = f"checkpoint {proof.eon}"
    if last != proof.eon + 1:
        raise InvalidBundle(f"{where}: is not the one before checkpoint {last}")
    try:
        verify_account_allotment(
            contract,
            token,
            wallet,
            proof.passive_checksum,
            proof.passive_amount,
            proof.passive_marker,
            proof.active_state_checksum,
            trail=proof.trail,
            token_trail=token_trail,
            root=root,
            chain=proof.allotment_chain,
            membership_chain=proof.membership_chain,
            values=proof.values,
            left=proof.left,
            right=proof.right,
        )
        call = recover_all_funds_call(token, wallet, proof)
    except NocustError as error:
        raise InvalidBundle(f"{where}: the proof is wrong: {error}") from error
    if _calldata(fields) != call:
        raise InvalidBundle(f"{where}: the call data differ from the proof")
    return Way(last, root, proof, call)


def _read_proof(value: Any) -> AllotmentProof:
    fields = _mapping(value)
    return AllotmentProof(
        eon=_field(fields, "eon_number", _integer),
        trail=_field(fields, "trail", _integer),
        left=_field(fields, "left", parse_amount),
        right=_field(fields, "right", parse_amount),
        active_state_checksum=_field(fields, "active_state_checksum", _hash),
        passive_checksum=_field(fields, "passive_checksum", _hash),
        passive_amount=_field(fields, "passive_amount", parse_amount),
        passive_marker=_field(fields, "passive_marker", parse_amount),
        allotment_chain=[_hash(node) for node in _field(fields, "allotment_chain", _list)],
        membership_chain=[_hash(node) for node in _field(fields, "membership_chain", _list)],
        values=[parse_amount(value) for value in _field(fields, "values", _list)],
    )


def _field(fields: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> T:
    if name not in fields:
        raise InvalidBundle(f"{name} is missing")
    try:
        return read(fields[name])
    except InvalidBundle:
        raise
    except NocustError as error:
        raise InvalidBundle(f"{name}: {error}") from error


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidBundle("an object is needed")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidBundle("a list is needed")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidBundle("a whole number is needed")
    return value


def _hash(value: Any) -> bytes:
    return hex_to_bytes(value, 32)


def _calldata(fields: Mapping[str, Any]) -> bytes:
    text = fields.get("calldata")
    if not isinstance(text, str) or not text.startswith("0x") or len(text) % 2:
        raise InvalidBundle("calldata: hexadecimal text with 0x is needed")
    return _field(fields, "calldata", lambda value: hex_to_bytes(value, len(text) // 2 - 1))
