"""`manage.py register_token`."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

import contracts
from contractor import sender
from contractor.chain import contract
from contractor.errors import NodeError
from contractor.management.commands import register_token as module
from contractor.models import EthereumTransaction
from contractor.tests.conftest import Hub
from contractor.tokens import register_token
from ledger.models import Token, Wallet
from nocust.addresses import parse_address, to_checksum
from nocust.signatures import Signer
from operator_api.models import OperatorAction


def deploy_token(hub: Hub, operator: bytes) -> Any:
    artifact = contracts.load("TestToken")
    factory = hub.node.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    sent = factory.constructor("Other", "OTH", 18, 1000).transact(
        {"from": to_checksum(operator), "gas": 2_000_000}
    )
    hub.node.mine()
    return hub.node.web3.eth.get_transaction_receipt(sent)["contractAddress"]


@pytest.fixture(autouse=True)
def _mining(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the command waits, the hub's worker sends and somebody mines."""

    def wait(_seconds: float) -> None:
        sender.step()
        hub.node.mine()

    monkeypatch.setattr("time.sleep", wait)


REASON = "asked for"


def register(*arguments: Any, reason: str = REASON, **options: Any) -> str:
    out = StringIO()
    call_command("register_token", *arguments, reason=reason, stdout=out, stderr=out, **options)
    return out.getvalue()


def notes() -> list[tuple[str, str, str]]:
    return list(OperatorAction.objects.order_by("id").values_list("action", "subject", "reason"))


def test_a_token_is_registered_on_chain_and_here(hub: Hub, operator: bytes, alice: Signer) -> None:
    hub.settle()
    address = deploy_token(hub, operator)
    text = register(address, "Other", "OTH")
    assert text.endswith(f"OTH: {address}, trail 2\n")
    token = Token.objects.get(short_name="OTH")
    assert token.trail == contract().token_trail(parse_address(address)) == 2
    assert Wallet.objects.get(token=token, trail_identifier=0).address == operator
    assert notes() == [("register token", address, REASON)]
    assert register(address, "Other", "OTH", reason="") == f"OTH: {address}, trail 2\n"
    assert len(notes()) == 1  # nothing was left to do
    assert OperatorAction.objects.get().who.startswith("manage.py by ")
    wallet = hub.register(alice, token)
    artifact = contracts.load("TestToken")
    instance = hub.node.web3.eth.contract(address=address, abi=artifact.abi)
    hub.node.send(operator, instance.functions.approve(hub.node.contract.address, 10))
    hub.node.send(operator, hub.node.contract.functions.deposit(address, to_checksum(alice.address), 10))
    hub.settle()
    assert hub.available(wallet) == 10


def test_a_token_that_the_contract_knows_already(hub: Hub, operator: bytes) -> None:
    """As after a restore of an older database."""
    hub.settle()
    address = deploy_token(hub, operator)
    hub.node.send(operator, hub.node.contract.functions.registerERC20(address))
    hub.node.mine()
    with pytest.raises(CommandError, match="say why"):
        register(address, "Other", "OTH", reason=" ")
    assert not Token.objects.filter(short_name="OTH").exists()
    assert register(address, "Other", "OTH") == f"OTH: {address}, trail 2\n"
    assert notes() == [("register token", address, REASON)]


def test_who_goes_on_after_a_time_out_is_written_down_too(hub: Hub, operator: bytes) -> None:
    hub.settle()
    address = deploy_token(hub, operator)
    with pytest.raises(CommandError, match="say why"):
        register(address, "Other", "OTH", reason="")
    assert not EthereumTransaction.objects.filter(kind="registerERC20", state="queued").exists()
    for reason in ("first", "second"):  # the second finds it queued
        with pytest.raises(CommandError, match="not mined in -1 s"):
            register(address, "Other", "OTH", timeout=-1.0, reason=reason)
    assert notes() == [("register token", address, "first")]
    assert register(address, "Other", "OTH", reason="third").endswith("trail 2\n")
    assert [reason for _, _, reason in notes()] == ["first", "third"]


def test_an_outage_while_waiting_is_waited_for(
    hub: Hub, operator: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.settle()
    address = deploy_token(hub, operator)
    calls = iter(range(100))

    def flaky(*arguments: Any) -> Any:
        if next(calls) == 1:
            raise NodeError("gone")
        return register_token(*arguments)

    monkeypatch.setattr(module, "register_token", flaky)
    text = register(address, "Other", "OTH")
    assert "gone; trying again" in text
    assert text.endswith("trail 2\n")


def test_what_can_not_be_is_refused(hub: Hub, operator: bytes) -> None:
    with pytest.raises(CommandError, match="address"):
        register("0x12", "Bad", "BAD")
    with pytest.raises(CommandError, match="no token contract"):
        register("0x" + "11" * 20, "None", "NON")
    address = deploy_token(hub, operator)
    with pytest.raises(CommandError, match="not mined in -1 s"):
        register(address, "Other", "OTH", timeout=-1.0)
