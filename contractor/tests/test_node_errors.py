"""What nodes and gateways say when they refuse or fail, in their words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contractor import attempts
from contractor.chain import contract
from contractor.errors import ChainError, NodeError, NodeRefusedError, RevertedError
from contractor.tests import proxy
from contractor.tests.conftest import Hub
from contractor.tests.proxy import Broken, Proxy, Refused
from contractor.tests.test_sender import checkpoint


class Gateway(Broken):
    """A JSON-RPC error with an HTTP status of its own."""

    def __init__(self, status: int, message: str) -> None:
        error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}}
        super().__init__(status, json.dumps(error).encode())


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "execution reverted: z", RevertedError),
        (500, "execution reverted: z", RevertedError),
        (400, "gas required exceeds allowance (0)", NodeRefusedError),
        (429, "too many requests", NodeError),
        (500, "internal error", NodeError),
    ],
)
def test_an_error_with_a_status_of_its_own_is_understood(
    liar: Proxy, operator: bytes, status: int, message: str, kind: type[Exception]
) -> None:
    """Some gateways answer a refused call so. Taken for a node that is down, it would stop everything."""

    def fail(*_: Any) -> Any:
        raise Gateway(status, message)

    liar.fault = fail
    with pytest.raises(ChainError) as caught:
        contract().node.estimate_gas(operator, contract().address, b"")
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_reason_without_the_word_is_one(liar: Proxy, operator: bytes, status: int) -> None:
    """Some clients say that the call failed, and give the contract's reason as data alone."""
    reason = "0x08c379a0" + f"{32:064x}" + f"{1:064x}" + b"z".hex().ljust(64, "0")
    error = {"code": -32015, "message": "VM execution error.", "data": reason}

    def fail(*_: Any) -> Any:
        raise Broken(status, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode())

    liar.fault = fail
    with pytest.raises(RevertedError):
        contract().node.estimate_gas(operator, contract().address, b"")


def test_what_a_gateway_says_of_a_transaction_is_no_failure(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """It gives each error a status of its own. Taken for a node that is down, nothing else would be sent."""
    hub.settle()
    hub.node.mine_to_era(2, 3)

    def fail(*_: Any) -> Any:
        raise Gateway(500, "already known")

    liar.fault = proxy.only("eth_sendRawTransaction", fail)
    hub.beat()
    assert contract().node.failed_at is None
    assert "ALARM" not in caplog.text
    hub.settle(6)
    assert checkpoint(2).state == "confirmed"


def test_no_error_is_none(liar: Proxy, hub: Hub) -> None:
    """Some gateways name an error in each answer, null where there is none."""
    honest = liar.answer

    def answer(body: bytes) -> bytes:
        found = json.loads(honest(body))
        answers = found if isinstance(found, list) else [found]
        return json.dumps([{"error": None, **one} for one in answers] if found is answers else found).encode()

    liar.answer = answer  # type: ignore[method-assign]
    assert contract().node.head().number == hub.node.block


@pytest.mark.parametrize(
    "text",
    [
        "already known",
        "ALREADY_EXISTS: already known",
        "AlreadyKnown",
        "Known transaction",
        "Transaction with the same hash was already imported.",
        "nonce too low: next nonce 5, tx nonce 3",
        "OldNonce, Current nonce: 5, nonce of rejected tx: 3",
    ],
)
def test_what_a_node_has_already_is_no_alarm(
    hub: Hub, liar: Proxy, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """In the words of geth, erigon, Nethermind, Besu and others."""
    hub.settle()
    hub.node.mine_to_era(2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "send", lambda *_: None)
        hub.beat()
    (attempt,) = checkpoint(2).attempts.all()

    def refuse(*_: Any) -> Any:
        raise Refused(text)

    liar.fault = proxy.only("eth_sendRawTransaction", refuse)
    attempts.send(contract(), checkpoint(2), attempt)
    assert "ALARM transaction refused" not in caplog.text
