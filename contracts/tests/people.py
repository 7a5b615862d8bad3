"""The development accounts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nocust.signatures import Signer

VECTORS = Path(__file__).parents[2] / "tests" / "data" / "vectors.json"


@dataclass(frozen=True)
class Person:
    """Somebody with an account on the node. `address` is 0x text, `raw` its 20 bytes."""

    address: str
    raw: bytes
    signer: Signer

    def sign(self, message: bytes) -> tuple[bytes, bytes, int]:
        """(r, s, v) over a message hash."""
        signature = self.signer.sign(message)
        return signature[:32], signature[32:64], signature[64]


def vectors() -> dict[str, Any]:
    """The committed vectors."""
    parsed: dict[str, Any] = json.loads(VECTORS.read_text())
    return parsed


def _people() -> list[Person]:
    found = []
    for entry in vectors()["meta"]["accounts"]:
        signer = Signer(bytes.fromhex(entry["private_key"]))
        found.append(Person("0x" + signer.address.hex(), signer.address, signer))
    return found


PEOPLE = _people()
OPERATOR, ALICE, BOB, CAROL, DAVE, ERIN, MALLORY = PEOPLE[:7]
