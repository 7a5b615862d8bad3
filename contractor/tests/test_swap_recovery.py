"""Owners of orders get their money out of a halted contract, with nothing but their bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from contractor import follower
from contractor.tests.challenger import Player
from contractor.tests.conftest import Hub, signer
from contractor.tests.exchange import POOL, UNIT
from contractor.tests.test_halting import Rescue, signer_key
from contractor.tests.test_swap_disputes import (
    STORIES,
    Scene,
)
from nocust import recover

BALANCES = {
    "partly filled at a better price": (60, 200),
    "complete at a better price": (0, 350),
    "complete in the second eon": (60, 130),
    "cancelled in the second eon": (60, 130),
    "frozen and left": (60, 130),
    "bought for less": (30, 300),
    "carried over three eons": (90, 30),
}
"""In units of ether and of the token, when eon 3 ended; a stranger deposited one wei more into the last ones."""


def balance(hub: Hub, player: Player) -> int:
    """What a holder has on chain, outside the contract."""
    if player.wallet.token.trail == 0:
        return hub.node.balance(player.address)
    return int(hub.node.token.functions.balanceOf(player.text).call())


def test_allotments_of_orders_are_recovered_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happened to the orders after the eon before the final checkpoint."""
    hub.node.fund(signer(3900).address)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: signer_key(3900))
    scene = Scene(hub, {name: STORIES[name] for name in BALANCES})
    scene.play()
    scene.next_eon()
    scene.play()
    scene.next_eon()
    hub.node.mine_to_era(7, 1)  # no checkpoint is made in eon 6
    follower.step()
    assert hub.status.halted
    rescue = Rescue(hub, tmp_path)
    hub.node.ask("evm_setAutomine", True)
    try:
        for name, units in BALANCES.items():
            dealer = scene.dealer(name)
            wei = int(name == "carried over three eons")
            for player, amount in zip((dealer.debit, dealer.credit), units, strict=True):
                check_paid_once(rescue, player, amount * UNIT + wei)
        given, got = (sum(units[place] for units in BALANCES.values()) for place in (1, 0))
        check_paid_once(rescue, scene.market.debit, POOL - given * UNIT)
        check_paid_once(rescue, scene.market.credit, (len(BALANCES) * 100 - got) * UNIT)
    finally:
        hub.node.ask("evm_setAutomine", False)


def check_paid_once(rescue: Rescue, player: Player, amount: int) -> None:
    bundle = rescue.bundle(player.address, player.wallet, player.wallet.token)
    before = balance(rescue.hub, player)
    assert rescue.recover(bundle) == (recover.PAID if amount else recover.REFUSED), rescue.said
    assert balance(rescue.hub, player) == before + amount
    assert rescue.recover(bundle) == recover.REFUSED
