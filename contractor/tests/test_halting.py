"""A hub made to cheat loses: it is challenged, the contract halts, and every holder gets its money back, once.

The cheating is done to the database's rows behind the hub's back; no part of the hub can do it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor import recovery
from contractor import checkpoints, disputes, follower
from contractor.chain import chain
from contractor.models import EthereumTransaction
from contractor.tests.challenger import Player
from contractor.tests.conftest import ROOT, DevelopmentNode, Hub, signer
from contractor.tests.court import OPEN_ERA, settle
from heartbeat.tests.drill import Drill
from ledger import store
from ledger.engine import Refusal
from ledger.models import Challenge, Token, Wallet
from ledger.sql import execute
from nocust import recover
from nocust.addresses import to_checksum
from nocust.signatures import Signer

DEPOSIT = 100


@pytest.fixture
def trio(hub: Hub) -> list[Player]:
    """Three wallets with an allotment each in checkpoint 3, where the first paid the second 10."""
    made = [Player.register(hub, signer(3000 + number)) for number in range(3)]
    for player in made:
        player.deposit(DEPOSIT)
    hub.settle()
    hub.go_to(3, OPEN_ERA)
    made[0].pay(made[1], 10)
    hub.settle(4)
    return made


def shift(victim: Player, thief: Player, amount: int, column: str = "opening") -> None:
    """Take from one account of the latest eon and give to another, behind the ledger's back."""
    execute("SET session_replication_role = replica")  # no trigger stops it
    eon = victim.hub.status.eon
    for player, change, field in ((victim, -amount, column), (thief, amount, "opening")):
        changed = execute(
            f"UPDATE ledger_account SET {field} = {field} + %s WHERE wallet_id = %s AND eon_number = %s",  # noqa: S608
            [change, player.wallet.pk, eon],
        )
        assert changed == 1
    execute("SET session_replication_role = origin")


def check_halted(hub: Hub, stranger: Signer, player: Player, other: Player) -> None:
    """The hub knows, and takes nothing new."""
    settle(hub, 1)
    assert hub.status.halted
    assert chain().halted()
    from admission import services as admission
    from transactor.services import delegate_withdrawal

    player.owner.enter(hub.status.eon)
    (outcome,) = store.execute([player.owner.transfer(other.owner.owner, 1)])
    assert isinstance(outcome, Refusal)
    assert outcome.code == "CHAIN_HALTED"
    with pytest.raises(admission.StoppedError) as stopped:
        hub.register(stranger)
    assert stopped.value.code.code == "CHAIN_HALTED"
    refusal = delegate_withdrawal(player.owner.owner, 1, hub.node.block + 10, bytes(65))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "CHAIN_HALTED"


class Rescue:
    """Owners with their bundles and the command, on a node that mines by itself."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.said: list[str] = []

    def bundle(self, address: bytes, wallet: Wallet | None, token: Token | None = None) -> Path:
        path = self.folder / f"{address.hex()}.json"
        path.write_text(json.dumps(recovery.bundle(token or self.hub.ether, address, wallet)))
        return path

    def recover(self, bundle: Path, **options: Any) -> int:
        parser = argparse.ArgumentParser()
        recover.add_arguments(parser)
        chosen = parser.parse_args([str(bundle), "--node", self.hub.node.url])
        for name, value in options.items():
            setattr(chosen, name, value)
        self.said = []
        return recover.run(chosen, self.said.append)

    def check_paid_once(self, player: Player, amount: int) -> None:
        bundle = self.bundle(player.address, player.wallet)
        before = self.hub.node.balance(player.address)
        assert self.recover(bundle) == recover.PAID, self.said
        assert self.hub.node.balance(player.address) == before + amount
        assert self.recover(bundle) == recover.REFUSED
        assert self.hub.node.balance(player.address) == before + amount


@pytest.fixture
def rescue(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rescue]:
    payer = signer(3900)  # anybody may pay for the gas
    hub.node.fund(payer.address)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: signer_key(3900))
    yield Rescue(hub, tmp_path)
    hub.node.ask("evm_setAutomine", False)


def signer_key(number: int) -> str:
    return number.to_bytes(32, "big").hex()


def everybody_is_paid(rescue: Rescue, amounts: list[tuple[Player, int]]) -> None:
    rescue.hub.node.ask("evm_setAutomine", True)
    held = rescue.hub.node.balance(bytes.fromhex(rescue.hub.node.contract.address[2:]))
    fees = sum(rescue.hub.node.contract.functions.getFees().call())
    assert held - fees == sum(amount for _, amount in amounts)
    for player, amount in amounts:
        rescue.check_paid_once(player, amount)
    assert rescue.hub.node.balance(bytes.fromhex(rescue.hub.node.contract.address[2:])) == fees


def test_a_wrong_balance_loses(
    hub: Hub, trio: list[Player], rescue: Rescue, caplog: pytest.LogCaptureFixture
) -> None:
    victim, thief, honest = trio
    shift(victim, thief, 50)
    hub.go_to(4, OPEN_ERA)
    assert victim.challenge_state(3, victim.sent(3)[-1].sender_active_state)
    settle(hub, 8)
    assert not Challenge.objects.get().rebuted
    assert "ALARM challenge lost" in caplog.text
    (answer,) = disputes.answers(Challenge.objects.get())
    assert answer.state == EthereumTransaction.State.FAILED
    hub.node.mine_to_era(5, 4)
    settle(hub, 4)
    assert EthereumTransaction.objects.get(tag="checkpoint/5").state == EthereumTransaction.State.QUEUED
    check_halted(hub, signer(3100), honest, victim)
    # checkpoint 4 is disputed, so checkpoint 3 is final: from before the payment and the theft
    everybody_is_paid(rescue, [(player, DEPOSIT) for player in trio])


def test_an_undelivered_transfer_loses(hub: Hub, trio: list[Player], rescue: Rescue) -> None:
    payer, payee, _ = trio
    transfer = payer.sent(3)[0]
    shift(payee, payer, 10, column="received")
    execute("UPDATE ledger_transfer SET voided = true WHERE id = %s", [transfer.pk])
    hub.go_to(4, OPEN_ERA)
    assert payee.challenge_delivery(payer, transfer)
    settle(hub, 8)
    assert not Challenge.objects.get().rebuted
    hub.node.mine_to_era(5, OPEN_ERA)
    check_halted(hub, signer(3100), payer, payee)
    everybody_is_paid(rescue, [(player, DEPOSIT) for player in trio])


def test_a_withheld_checkpoint_loses(
    hub: Hub, trio: list[Player], rescue: Rescue, caplog: pytest.LogCaptureFixture
) -> None:
    payer, payee, other = trio
    hub.go_to(4, OPEN_ERA)
    hub.go_to(5, OPEN_ERA)
    other.deposit(7)  # known to the parent chain only
    hub.node.mine(3)
    follower.step()
    hub.node.mine_to_era(6, 4)
    follower.step()  # no checkpoint is made in eon 6
    hub.node.mine_to_era(7, 1)
    follower.step()
    assert hub.status.halted
    assert "ALARM halted" in caplog.text
    everybody_is_paid(rescue, [(payer, DEPOSIT - 10), (payee, DEPOSIT + 10), (other, DEPOSIT + 7)])
    checkpoints.create_due_checkpoint()  # what remains of the hub goes on without harm
    settle(hub, 3)
    assert hub.status.halted


@pytest.mark.alarm("funds recovered")
def test_funds_of_unregistered_addresses_and_late_wallets_are_recovered(
    hub: Hub, trio: list[Player], rescue: Rescue, drill: Drill
) -> None:
    hub.go_to(4, OPEN_ERA)
    late = Player.register(hub, signer(3200))
    late.deposit(31)
    stranger = signer(3201)
    hub.node.fund(stranger.address)
    hub.node.deposit(stranger.address, 32)
    hub.node.mine(3)
    follower.step()
    hub.node.mine_to_era(6, 1)
    follower.step()
    assert chain().halted()
    hub.node.ask("evm_setAutomine", True)
    for address, wallet, amount in (
        (late.address, late.wallet, 31),
        (stranger.address, None, 32),
    ):
        bundle = rescue.bundle(address, wallet)
        before = hub.node.balance(address)
        assert rescue.recover(bundle) == recover.PAID, rescue.said
        assert hub.node.balance(address) == before + amount
        assert rescue.recover(bundle) == recover.REFUSED
        assert "nothing is left" in rescue.said[-1]
    settle(hub, 4)
    drill.raised("funds recovered")
    drill.passes("funds recovered", lambda: settle(hub, 1))


@pytest.mark.alarm("funds recovered")
def test_funds_of_a_wallet_that_is_younger_than_the_final_checkpoint_are_recovered(
    hub: Hub, trio: list[Player], rescue: Rescue
) -> None:
    """The newest checkpoint knows it already, the one before, which is final, does not."""
    hub.go_to(4, OPEN_ERA)
    late = Player.register(hub, signer(3200))
    late.deposit(31)
    hub.settle(4)
    hub.go_to(5, OPEN_ERA)
    hub.node.mine_to_era(7, 1)  # no checkpoint is made in eon 6
    follower.step()
    assert hub.status.halted
    hub.node.ask("evm_setAutomine", True)
    bundle = rescue.bundle(late.address, late.wallet)
    document = json.loads(bundle.read_text())
    assert [way["last_submission_eon"] for way in document["ways"]] == [6]
    assert document["last_submission_eon"] == 5
    bundle.write_text(json.dumps({**document, "ways": [], "last_submission_eon": 3}))
    assert rescue.recover(bundle, only_print=True) == recover.PAID
    assert "get a newer one" in rescue.said[0]
    rescue.check_paid_once(late, 31)


def test_a_bundle_does_nothing_while_the_chain_goes_on(hub: Hub, trio: list[Player], rescue: Rescue) -> None:
    hub.go_to(4, OPEN_ERA)
    settle(hub, 4)
    bundle = rescue.bundle(trio[0].address, trio[0].wallet)
    assert rescue.recover(bundle) == recover.REFUSED
    assert "not halted" in rescue.said[-1]
    assert rescue.recover(bundle, only_print=True) == recover.PAID
    document = json.loads(bundle.read_text())
    assert rescue.said[-1] == document["ways"][0]["calldata"]
    assert rescue.recover(bundle, only_print=True, node=None) == recover.PAID
    assert document["parent_chain"]["calldata"] in rescue.said
    assert all(way["calldata"] in rescue.said for way in document["ways"])
    assert rescue.recover(bundle, node=None) == recover.UNUSABLE
    assert rescue.recover(bundle, node="http://127.0.0.1:9/") == recover.REFUSED
    hub.go_to(5, OPEN_ERA)
    hub.go_to(6, OPEN_ERA)
    assert rescue.recover(bundle) == recover.UNUSABLE  # it is too old
    assert "get a newer bundle" in rescue.said[-1]
    bundle.write_text("{}")
    assert rescue.recover(bundle) == recover.UNUSABLE
    bundle.write_text("[" * 100_000)
    command = [sys.executable, "-m", "nocust", "recover", str(bundle), "--print"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == recover.UNUSABLE
    bundle.write_text(json.dumps(document))
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == recover.PAID
    assert document["parent_chain"]["calldata"] in done.stdout.splitlines()


def test_the_command_reads_keystores(
    hub: Hub, trio: list[Player], rescue: Rescue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eth_account import Account

    hub.node.mine_to_era(5, 1)
    follower.step()
    follower.step()
    keystore = rescue.folder / "key.json"
    key = bytes.fromhex(signer_key(3900))
    keystore.write_text(json.dumps(Account.encrypt(key, "secret", kdf="pbkdf2", iterations=10)))
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "wrong")
    bundle = rescue.bundle(trio[2].address, trio[2].wallet)
    hub.node.ask("evm_setAutomine", True)
    assert rescue.recover(bundle, keystore=keystore) == recover.UNUSABLE
    assert rescue.recover(bundle) == recover.UNUSABLE
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "secret")
    before = hub.node.balance(trio[2].address)
    assert rescue.recover(bundle, keystore=keystore) == recover.PAID, rescue.said
    assert hub.node.balance(trio[2].address) == before + DEPOSIT


def test_a_node_of_another_chain_is_refused(node: DevelopmentNode, hub: Hub, rescue: Rescue) -> None:
    document = recovery.bundle(hub.ether, signer(1).address, None)
    path = rescue.folder / "other.json"
    path.write_text(json.dumps({**document, "chain_id": 5}))
    assert rescue.recover(path) == recover.UNUSABLE
    assert "is for chain 5" in rescue.said[-1]
    assert to_checksum(signer(1).address) == document["wallet"]
