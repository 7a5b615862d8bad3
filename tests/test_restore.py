"""The restore drill: a hub whose database is set back to the past, while its wallets hold what it signed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from nocust.addresses import to_checksum
from operator_api.simulation.chain_client import ChainClient
from operator_api.simulation.hub_client import HubClient, HubRefusedError
from operator_api.simulation.traffic import Traffic
from operator_api.simulation.wallets import SimulatedWallet
from tests.production import Hub, Services

pytestmark = pytest.mark.stack

DEPOSIT = 10**15


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with Services(blocks_per_eon=720) as running:  # no eon ends by itself while a hub starts
        yield running


@pytest.fixture
def hub(services: Services) -> Iterator[Hub]:
    made = Hub(services.folder, services.variables() | {"HUB_SERVER_PROCESSES": "1"})
    try:
        yield made
    finally:
        made.end()


class Players:
    """Four wallets of a hub, the first two with money."""

    def __init__(self, hub: Hub, services: Services) -> None:
        chain = ChainClient(services.node_url, services.contract, services.operator.key)
        self.services = services
        self.traffic = Traffic(HubClient(hub.url), chain, services.contract, 4, seed=11)
        self.traffic.register()
        self.traffic.deposit(DEPOSIT)
        self.payer, self.payee = self.traffic.wallets[0], self.traffic.wallets[1]

    @property
    def eon(self) -> int:
        return self.traffic.hub.eon

    def pay(self) -> None:
        if self.payer.eon != self.eon:
            self.payer.enter(self.eon)
        self.traffic.hub.pay(self.payer, self.payee.owner, 1)

    def submitted(self) -> int:
        return int(self.traffic.chain.contract.functions.lastSubmissionEon().call())

    def next_eon(self) -> int:
        """Go on to the next eon, and wait for its checkpoint; that eon."""
        eon = self.services.next_eon()
        self.traffic.wait(f"eon {eon}", lambda: self.eon >= eon, 60)
        self.traffic.wait(f"checkpoint {eon}", lambda: self.submitted() >= eon, 120)
        return eon

    def held_state(self, wallet: SimulatedWallet) -> dict[str, Any]:
        """The newest state of a wallet with the operator's signature, as its owner keeps it."""
        rows = self.traffic.hub.state(wallet, wallet.eon)["transactions"]
        state = rows[-1]["sender_active_state"]
        return {
            "token": to_checksum(wallet.token),
            "address": to_checksum(wallet.address),
            "eon_number": wallet.eon,
            "trail_identifier": wallet.trail,
            "updated_spendings": str(state["updated_spendings"]),
            "updated_gains": str(state["updated_gains"]),
            "tx_set_hash": state["tx_set_hash"],
            "operator_signature": state["operator_signature"],
        }

    def refused(self) -> str:
        """Why a payment is refused now."""
        with pytest.raises(HubRefusedError) as refused:
            self.pay()
        assert refused.value.status == 503
        return str(refused.value.body["detail"])

    def deposits(self) -> int:
        """How many deposits the hub knows of the payer."""
        eon = self.eon
        return sum(len(self.traffic.hub.state(self.payer, e)["deposits"]) for e in range(1, eon + 1))


def restore(hub: Hub, file: Path) -> str:
    """Replace the database; the hub has ended."""
    said = hub.done("restore", str(file))
    assert "The hub is held since" in said
    assert "signs nothing until" in said
    return said


@pytest.mark.timeout(1800)
def test_the_drill(hub: Hub, services: Services, tmp_path: Path) -> None:
    hub.done("migrate")
    hub.start()
    players = Players(hub, services)
    players.pay()
    first = players.eon
    before_loss = tmp_path / "before-the-loss"
    hub.done("backup", str(before_loss))
    assert before_loss.stat().st_mode & 0o077 == 0
    players.pay()
    assert players.next_eon() == first + 1
    players.pay()
    late = tmp_path / "late"
    hub.done("backup", str(late))
    assert "The hub runs on this host" in hub.command("restore", str(late)).stderr

    # What the hub signs and the chain does from here on is in no backup.
    players.pay()
    lost = players.held_state(players.payer)
    (tmp_path / "states.json").write_text(json.dumps([lost]))
    players.traffic.deposit(DEPOSIT)
    players.traffic.wait("the second deposit", lambda: players.deposits() == 2, 60)
    hub.end()

    older_backup_contradicts_the_chain(hub, before_loss, first)
    later_backup_catches_up_and_goes_on(hub, players, late, tmp_path / "states.json", first + 1)


def older_backup_contradicts_the_chain(hub: Hub, file: Path, eon: int) -> None:
    """A transfer of a closed eon was lost, so the submitted checkpoint cannot be made again: nothing can be
    decided, and the hub does not start."""
    said = restore(hub, file)
    assert f"checkpoint {eon + 1}" in said
    assert "is not made again yet" in said
    refused = hub.command()
    assert refused.returncode == 1
    assert "what was signed in the eon before was lost" in refused.stderr
    for decision in ("--accept-loss", "--nothing-lost"):
        undecided = hub.command("after-restore", decision)
        assert undecided.returncode != 0
        assert "it cannot be decided yet" in undecided.stderr


def later_backup_catches_up_and_goes_on(
    hub: Hub, players: Players, file: Path, states: Path, eon: int
) -> None:
    """Only transfers of the latest eon were lost: the chain gives back the deposit, the wallet's state shows what
    the hub signed, and nothing is signed in that eon any more."""
    restore(hub, file)
    hub.start()
    assert "nothing new is accepted" in players.refused()
    players.traffic.wait("the deposit", lambda: players.deposits() == 2, 30)
    said = hub.done("after-restore", "--states", str(states))
    assert f"nothing of eon {eon - 1} was lost" in said
    assert "1 of 1 states are not in the ledger" in said
    assert "the hub signed spent 2, gained 0; the ledger has spent 1, gained 0 at most" in said
    assert "Decided" not in said

    decided_in = players.eon
    said = hub.done("after-restore", "--accept-loss")
    assert f"signs again from eon {decided_in + 1} on" in said
    assert "nothing new is accepted" in players.refused()
    traffic = players.traffic
    players.next_eon()
    players.traffic.wait("a signature", lambda: pays(players), 30)
    assert players.payer.spent == 1
    assert lost_sum(players, eon) == 0
    players.next_eon()
    assert "The hub is not held" in hub.done("after-restore")
    assert requests.get(f"{hub.url}audit/", timeout=30).status_code == 200
    assert not traffic.chain.contract.functions.hasMissedCheckpointSubmission().call()


def pays(players: Players) -> bool:
    """Whether a payment is accepted; it is not for the moment in which the servers have not noticed the new eon."""
    try:
        players.pay()
    except HubRefusedError as error:
        if error.status != 503:
            raise
        return False
    return True


def lost_sum(players: Players, eon: int) -> int:
    """What the payee has of that eon beyond what the restored ledger knew: nothing, which is the loss."""
    rows = players.traffic.hub.state(players.payee, eon)["transactions"]
    return sum(int(row["amount"]) for row in rows) - 1
