"""Reads compiled contracts from `contracts/artifacts/`. Needs nothing but the standard library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ARTIFACTS = Path(__file__).resolve().parent / "artifacts"


@dataclass(frozen=True)
class Artifact:
    """One compiled contract.

    `bytecode` creates the contract when the encoded constructor arguments follow it. `deployed_bytecode` is the
    code on the chain, except that the 32-byte words at `immutable_references` (offsets in bytes) are zero here.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes
    immutable_references: tuple[int, ...]
    compiler: str
    settings: dict[str, Any]
    input_sha256: str

    def matches(self, code: bytes) -> bool:
        """Whether `code`, read from a chain, is this contract with any values of its immutables."""
        if len(code) != len(self.deployed_bytecode):
            return False
        blank = bytearray(code)
        for offset in self.immutable_references:
            blank[offset : offset + 32] = bytes(32)
        return bytes(blank) == self.deployed_bytecode


@cache
def load(name: str) -> Artifact:
    """The artifact of the contract `name`. Raises FileNotFoundError if there is none."""
    data = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return Artifact(
        name=data["contractName"],
        abi=data["abi"],
        bytecode=bytes.fromhex(data["bytecode"]),
        deployed_bytecode=bytes.fromhex(data["deployedBytecode"]),
        immutable_references=tuple(data["immutableReferences"]),
        compiler=data["compiler"],
        settings=data["settings"],
        input_sha256=data["inputSha256"],
    )
