"""A client of a running hub: what a wallet's software does over HTTP, without a browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from ledger.engine import Owner, Transfer
from nocust.addresses import parse_address, to_checksum
from nocust.messages import terms_of_service_digest
from operator_api.simulation.wallets import SimulatedWallet, transfer_body

TIMEOUT = 30
"""Seconds to wait for an answer."""


class HubRefusedError(Exception):
    """The hub answered with an error; `status` is HTTP's, `body` the parsed JSON or text."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body

    @property
    def code(self) -> str:
        """The first machine code in the body, or an empty string."""
        body = self.body
        while isinstance(body, dict | list) and body:
            if isinstance(body, dict) and "code" in body:
                return str(body["code"])
            body = next(iter(body.values())) if isinstance(body, dict) else body[0]
        return ""


@dataclass(frozen=True, slots=True)
class Proof:
    """An allotment as the hub proves it."""

    left: int
    right: int
    body: dict[str, Any]


class HubClient:
    """One session with a hub. All calls raise HubRefusedError, and requests' exceptions when there is no answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer of a 2xx."""
        response = self.session.request(method, f"{self.url}/{path}", json=body, timeout=TIMEOUT)
        try:
            parsed = response.json()
        except ValueError:
            parsed = response.text[:1000]
        if not response.ok:
            raise HubRefusedError(response.status_code, parsed)
        return parsed

    @property
    def eon(self) -> int:
        """The hub's latest eon."""
        return int(self.call("GET", "audit/")["latest"]["eon_number"])

    def terms_digest(self) -> bytes:
        """What a wallet signs to accept the latest terms."""
        terms = self.call("GET", "tos/latest")
        return terms_of_service_digest(
            bytes.fromhex(terms["terms_of_service_digest"]), bytes.fromhex(terms["privacy_policy_digest"])
        )

    def register(self, wallets: list[SimulatedWallet]) -> None:
        """Register wallets in bulk and learn their trails."""
        digest, eon = self.terms_digest(), self.eon
        for start in range(0, len(wallets), 20):
            part = wallets[start : start + 20]
            entries = [wallet.registration(eon, digest) for wallet in part]
            self.call("POST", "admission/bulk/", {"admissions": entries})
            for wallet in part:
                wallet.trail = self.registration(wallet)["trail_identifier"]
                wallet.enter(eon)

    def registration(self, wallet: SimulatedWallet) -> Any:
        """A wallet's registration as the hub has it."""
        place = f"{to_checksum(wallet.token)}/{to_checksum(wallet.address)}"
        return self.call("GET", f"audit/{place}/whois")

    def state(self, wallet: SimulatedWallet, eon: int) -> Any:
        """A wallet's state in an eon."""
        place = f"{to_checksum(wallet.token)}/{to_checksum(wallet.address)}"
        return self.call("GET", f"audit/{eon}/{place}/")

    def send(self, transfer: Transfer) -> Any:
        """Post a signed transfer; the receipt."""
        return self.call("POST", "transfer/", transfer_body(transfer))

    def pay(
        self, sender: SimulatedWallet, to: Owner, amount: int, marker: int = 0, nonce: int | None = None
    ) -> Any:
        """Sign and post a transfer in the sender's eon, which remembers it; the receipt."""
        transfer = sender.transfer(to, amount, marker, nonce)
        receipt = self.send(transfer)
        sender.accepted(transfer, int(receipt["position"]))
        return receipt

    def proof(self, wallet: SimulatedWallet, eon: int) -> Proof | None:
        """A wallet's allotment in the checkpoint of an eon, if there is one."""
        body = self.state(wallet, eon)["merkle_proof"]
        return None if body is None else Proof(int(body["left"]), int(body["right"]), body)

    def tokens(self) -> list[bytes]:
        """Addresses of the tokens the hub trades in; the first is the contract's own: Ether."""
        return [parse_address(token["address"]) for token in self.call("GET", "audit/tokens/")]
